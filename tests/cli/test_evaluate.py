"""`finecut evaluate`, the real program: runs, similarities, TREC runs, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import Run
from finecut import metrics

FIGURES = {"r_at_1", "r_at_5", "r_at_10", "r_at_50", "RSum", "MdR", "MnR", "MIR", "mAP"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs (seeds), their videos, and a matrix."""
    from learn.evaluation.small_run import make_run, make_videos

    root = tmp_path_factory.mktemp("evaluate")
    make_videos(root / "data")
    for seed in (1, 2):
        make_run(root / f"run{seed}", seed=seed)
    rng = np.random.default_rng(0)
    np.save(root / "sims.npy", (np.eye(12) + rng.normal(size=(12, 12))).astype(np.float32))
    np.save(root / "right.npy", np.arange(12))
    np.save(root / "bank.npy", rng.normal(size=(9, 12)).astype(np.float16))
    return root


def test_a_run_gives_exactly_the_promised_object(place: Path, run: Run) -> None:
    done = run(
        "evaluate", "run1", "--data", "data", "--split", "test", "--dsl", "--qbnorm", "--json",
        cwd=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = done.json
    assert list(found)[:5] == ["t2v", "v2t", "reranked", "dsl", "qbnorm"]
    for block in (found, found["reranked"], found["dsl"], found["qbnorm"]):
        assert set(block["t2v"]) == set(block["v2t"]) == FIGURES
    assert found["standard"] is False and "not a standard run" in done.err
    assert found["method"] == "eercf" and found["seed"] == 1


def test_seeds_and_a_comparison(place: Path, call: Run) -> None:
    both = call(
        "evaluate", "run1", "run2", "--data", "data", "--no-rerank", "--output", "out/two.json",
        cwd=place,
    )  # fmt: skip
    assert both.code == 0, both.err
    assert "mean of 2 seeds ± standard deviation" in both.out and "±" in both.out.splitlines()[2]
    stored = json.loads((place / "out" / "two.json").read_text())
    assert stored["seeds"] == 2 and len(stored["ranks"]) == 2
    assert len(stored["ranks"][0]["plain"]["t2v"]) == len(stored["query_videos"]) == 10
    done = call(
        "evaluate", "run1", "--data", "data", "--against", "out/two.json", "--json", cwd=place
    )
    (first, *_) = done.json["against"]["plain"]["t2v"]
    assert first["theirs"] == pytest.approx(stored["t2v"]["r_at_1"])
    assert first["ours"] == pytest.approx(done.json["t2v"]["r_at_1"])
    assert "reranked" not in done.json["against"]  # theirs has none
    shown = call("evaluate", "run1", "--data", "data", "--against", "out/two.json", cwd=place)
    assert "against out/two.json" in shown.out


def test_similarities_without_a_model_or_torch(place: Path, run: Run) -> None:
    done = run(
        "evaluate", "--sims", "sims.npy", "--text-to-video", "right.npy", "--bank", "bank.npy",
        "--dsl", "--json", cwd=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    expected = metrics.t2v(np.load(place / "sims.npy"))
    found = done.json
    assert {name: found["t2v"][name] for name in expected} == pytest.approx(expected)
    assert found["dsl"]["temperature"] == 0.05 and found["qbnorm"]["bank_size"] == 9


def test_similarities_load_no_torch(place: Path, call: Run) -> None:
    import subprocess

    code = (
        "import sys; from finecut.cli.main import program;"
        "program()(sys.argv[1:], standalone_mode=False);"
        "print([m for m in sys.modules if m.split('.')[0] == 'torch'])"
    )
    words = ["evaluate", "--sims", "sims.npy", "--text-to-video", "right.npy"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=place, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_ranking_is_written_as_a_trec_run(place: Path, call: Run) -> None:
    done = call(
        "evaluate", "--sims", "sims.npy", "--text-to-video", "right.npy", "--trec", "x.run",
        cwd=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = (place / "x.run").read_text().splitlines()
    best = np.load(place / "sims.npy")[0].argmax()
    assert lines[0] == f"0#0 Q0 {best} 1 12 finecut-plain" and len(lines) == 144


def test_a_trec_run_is_scored(place: Path, call: Run) -> None:
    (place / "a.run").write_text("1 Q0 s2 1 9 me\n1 Q0 s1 2 8 me\n")
    (place / "qrels.txt").write_text("1 0 s1 1\n1 0 s2 0\n2 0 s1 1\n")
    done = call("evaluate", "--run", "a.run", "--qrels", "qrels.txt", cwd=place)
    assert done.code == 0 and "xinfAP" in done.out and "left out of the means: 2" in done.err
    found = call(
        "evaluate", "--run", "a.run", "--qrels", "qrels.txt", "--output", "avs.json", "--json",
        cwd=place,
    ).json  # fmt: skip
    assert found["map"] == 0.5 and found == json.loads((place / "avs.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "one of: RUN folders, --sims FILE, or --run FILE"),
        ("run1 --sims sims.npy", "one of: RUN folders"),
        ("--sims sims.npy", "needs --text-to-video"),
        ("--run a.run", "needs --qrels"),
        ("--sims none.npy --text-to-video right.npy", "none.npy: expected similarities"),
        ("--sims right.npy --text-to-video right.npy", r"matrix [Q, G]"),
        ("run1 --data data --recall-k some", "number from 1, or all; got 'some'"),
        ("run1 --data data --recall-k 0", "number from 1, or all; got '0'"),
        ("run1 run2 --data data --trec x", "--trec takes one RUN"),
        ("run1", "NOWHERE, which is not set"),
        ("data --data data", "'data' is no run"),
        ("run1 --data data --split val", "no split 'val'"),
        ("run1 --data data --beta -1", "--beta must be a number above 0, got -1"),
        ("run1 --data data --dsl-temperature nan", "--dsl-temperature must be a number above 0"),
        ("run1 --data data --protocol pairs", "--protocol must be single, multi or paragraph"),
        ("run1 --data data --bank bank.npy", "--bank cannot be used with RUN folders"),
        ("--sims sims.npy --text-to-video right.npy --qbnorm", "--qbnorm cannot be used with"),
        ("--sims sims.npy --text-to-video right.npy --beta 2", "also needs --bank FILE"),
        ("--run a.run --qrels b --dsl --trec c", "--dsl, --trec cannot be used with --run"),
        ("run1 --data data --against data/test.jsonl", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: str, message: str, place: Path, call: Run) -> None:
    done = call("evaluate", *words.split(), cwd=place)
    assert done.code == 2 and message in done.err, done.err
    assert not done.out


def test_steps_are_measured_where_the_folder_is_crosstask(place: Path, call: Run) -> None:
    from index.clips import write_video

    root = place / "crosstask"
    (root / "annotations").mkdir(parents=True)
    (root / "tasks_primary.txt").write_text("7\nPaint\nhttp://x\n2\nred,blue\n")
    (root / "annotations" / "7_a.csv").write_text("1,0,2\n2,2,4\n")
    write_video(root / "a.mp4", ["red", "blue"], seconds=2.0)
    words = ("evaluate", "run1", "--data", "crosstask", "--split", "primary")
    done = call(*words, "--output", "out/steps.json", "--json", cwd=place)
    assert done.code == 0, done.err
    assert set(done.json["crosstask"]["per_task"]) == {"7"}
    assert done.json == json.loads((place / "out" / "steps.json").read_text())
    shown = call("evaluate", "run1", "run2", *words[2:], cwd=place)
    assert "CrossTask: average recall of the steps" in shown.out and "2 seeds" in shown.out
    refused = call(*words, "--dsl", cwd=place)
    assert refused.code == 2 and "--dsl cannot be used with CrossTask and COIN" in refused.err


def test_progress_says_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from finecut.cli import evaluate

    now = [100.0]
    monkeypatch.setattr(evaluate.time, "monotonic", lambda: now[0])
    progress = evaluate.Progress()
    for done in range(0, 101, 10):  # ten a second
        progress("videos", done, 100)
        now[0] += 1.0
    progress("clips re-ranked", 1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "videos: 20/100, 10.0/s, 8 s left"
    assert len(lines) == 4 and lines[-1] == "videos: 80/100, 10.0/s, 2 s left"
