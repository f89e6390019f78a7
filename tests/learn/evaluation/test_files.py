"""What is read and written: TREC runs, results, graded relevance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finecut import metrics, metrics_pooled
from finecut.errors import FinecutError, UsageError
from finecut.learn.evaluation import ranking
from finecut.learn.evaluation.avs import evaluate_run_file
from finecut.learn.evaluation.graded import graded_figures, read_gains
from finecut.learn.evaluation.result import read_result, write_result
from finecut.learn.evaluation.trec import topic_names, write_trec

VIDEOS = ["a", "my clip.mp4", "c%"]


def test_a_run_file_gives_the_same_ranking_to_other_tools(tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 30)) * 1e-9  # differences a decimal score would lose
    videos, right = [f"v{i}" for i in range(30)], np.arange(20)
    monkeypatch.setattr(ranking, "CHUNK_CELLS", 70)
    write_trec(tmp_path / "x.run", topic_names(videos, right), videos, lambda rows: scores[rows])
    run = metrics_pooled.read_run((tmp_path / "x.run").read_text().splitlines())
    assert len(run) == 20
    qrels = {f"v{i}#0": {f"v{i}": (1, 1)} for i in range(20)}
    precise = metrics_pooled.average_precision_per_topic(qrels, run)
    assert list(precise.values()) == pytest.approx(list(1 / metrics.ranks(scores, right)))


def test_names_in_a_run_are_one_word_and_its_depth_is_bounded(tmp_path: Path) -> None:
    names = topic_names(VIDEOS, np.array([1, 2]))
    write_trec(tmp_path / "deep" / "x.run", names, VIDEOS, lambda _: np.eye(3)[:2], depth=2)
    lines = (tmp_path / "deep" / "x.run").read_text().splitlines()
    assert lines[0] == "my%20clip.mp4#0 Q0 a 1 2 finecut"
    assert lines[2] == "c%25#0 Q0 my%20clip.mp4 1 2 finecut" and len(lines) == 4


def test_a_run_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.run"
    path.write_text("old")

    def broken(_: slice) -> np.ndarray:
        raise RuntimeError("no scores")

    with pytest.raises(RuntimeError, match="no scores"):
        write_trec(path, ["t"], VIDEOS, broken)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_results_are_read_back_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results" / "x.json"
    write_result(path, {"t2v": {"r_at_1": 1.5}})
    assert read_result(path) == {"t2v": {"r_at_1": 1.5}}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(path, {"x": float("nan")})
    assert read_result(path)
    path.write_text("[1]")
    with pytest.raises(UsageError, match="holds list, expected a result"):
        read_result(path)
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UsageError, match="cannot be read"):
            read_result(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_both_forms_of_graded_relevance_say_the_same(tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(3)
    right = np.array([0, 1, 1, 2])
    gains = rng.integers(0, 3, (4, 3)).astype(float)
    gains[2] = 0  # a sentence without an answer
    scores = rng.normal(size=(4, 3))
    np.save(tmp_path / "g.npy", gains)
    lines = [
        f"{topic} 0 {['a', 'my%20clip.mp4', 'c%25'][v]} {gains[q, v]}"
        for q, topic in enumerate(topic_names(VIDEOS, right))
        for v in range(3)
    ]
    (tmp_path / "g.qrels").write_text("\n".join(lines))
    monkeypatch.setattr(ranking, "CHUNK_CELLS", 6)
    kept = gains.any(axis=1)
    for name in ("g.npy", "g.qrels"):
        rows = read_gains(tmp_path / name, VIDEOS, right)
        found = graded_figures(lambda r: scores[r], rows, (4, 3))
        assert found["ndcg"] == pytest.approx(metrics.ndcg(scores[kept], gains[kept]))
        assert found["ndcg_at_10"] == found["ndcg"] and found["queries"] == kept.sum()
        assert found["mAP"] == pytest.approx(
            metrics.mean_average_precision(scores[kept], gains[kept] > 0)
        )


def test_relevance_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    right = np.array([0, 1])
    np.save(tmp_path / "g.npy", np.zeros((3, 3)))
    with pytest.raises(UsageError, match=r"expected gains \[Q, G\] = \[2, 3\], got float64"):
        read_gains(tmp_path / "g.npy", VIDEOS, right)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UsageError, match="expected a matrix"):
        read_gains(tmp_path / "o.npy", VIDEOS, right)
    for line in ("a#0 0 d 1", "z#0 0 a 1", "a#0 a 1", "a#0 0 a much"):
        (tmp_path / "g.txt").write_text(f"a#0 0 a 1\n{line}\n")
        with pytest.raises(UsageError, match=r"g\.txt:2: expected `topic 0 video gain`"):
            read_gains(tmp_path / "g.txt", VIDEOS, right)
    with pytest.raises(UsageError, match="no sentence a relevant video"):
        graded_figures(lambda _: np.eye(3), lambda _: np.zeros((3, 3)), (3, 3))


QRELS = "1501 0 s1 1 1\n1501 0 s2 1 0\n1501 0 s3 2 1\n1501 0 s4 2 -1\n1502 0 s1 1 1\n"


def avs(tmp_path: Path, run: str, qrels: str = QRELS) -> tuple[Path, Path]:
    (tmp_path / "x.run").write_text(run)
    (tmp_path / "q.txt").write_text(qrels)
    return tmp_path / "x.run", tmp_path / "q.txt"


def test_avs_runs_are_scored_as_the_pooled_metrics_do(tmp_path: Path) -> None:
    run, qrels = avs(tmp_path, "501 Q0 s2 1 9.0 me\n501 Q0 s1 2 8.0 me\n501 Q0 s3 3 7.0 me\n")
    found = evaluate_run_file(run, qrels)
    judged = metrics_pooled.read_qrels(QRELS.splitlines())
    scored = {"1501": {"s2": 9.0, "s1": 8.0, "s3": 7.0}}
    assert found["xinfAP"] == pytest.approx(metrics_pooled.xinf_ap(judged, scored))
    assert found["infAP"] == pytest.approx(metrics_pooled.inf_ap(judged, scored))
    assert found["map"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["topics"] == 1 and found["topics_missing"] == ["1502"]
    assert set(found["per_topic"]) == {"1501"}


def test_avs_topics_can_be_chosen(tmp_path: Path) -> None:
    run, qrels = avs(tmp_path, "1501 Q0 s1 1 1 me\n1502 Q0 s9 1 1 me\n")
    (tmp_path / "topics.txt").write_text("502 a red car\n")
    found = evaluate_run_file(run, qrels, tmp_path / "topics.txt")
    assert set(found["per_topic"]) == {"1502"} and found["xinfAP"] == 0.0
    (tmp_path / "topics.txt").write_text("77 a red car\n")
    with pytest.raises(UsageError, match="none of its 1 topics is judged"):
        evaluate_run_file(run, qrels, tmp_path / "topics.txt")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("1501 s1 1\n", r"x\.run: run line 1"),
        ("1501 Q0 s1 1 nan me\n", "not finite"),
        ("99 Q0 s1 1 1 me\n", "no topic in common"),
        ("501 Q0 s1 1 1 me\n1501 Q0 s1 1 1 me\n", "judged under one number"),
    ],
)
def test_a_broken_avs_run_is_refused(run: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FinecutError, match=message):
        evaluate_run_file(*avs(tmp_path, run))
