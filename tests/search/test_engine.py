"""The searcher end to end on a small real index."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.errors import (
    BundleError,
    IndexMismatch,
    IndexNotFound,
    NotFound,
    ShapeError,
    UsageError,
    VideoError,
)
from finecut.index.store import Index
from finecut.search.candidates import find_candidates
from finecut.search.engine import Searcher
from finecut.search.filters import Filters
from search.library import frame, make_library


def names(results) -> list[str]:
    return [Path(moment.video).name for moment in results]


@pytest.mark.parametrize(
    ("query", "video", "start_s", "end_s"),
    [
        ("a green screen", "a.mp4", 4.0, 15.0),
        ("red", "a.mp4", 0.0, 4.0),
        ("yellow and black", "c.mp4", 0.0, 2.0),
        ("gray", "c.mp4", 2.0, 3.0),
        ("magenta", "d.mp4", 3.0, 5.0),
        ("a white screen", "b.mp4", 1.0, 4.0),
    ],
)
def test_a_sentence_lands_on_its_moment(searcher: Searcher, query, video, start_s, end_s):
    results = searcher.search(query)
    best = results[0]
    assert (Path(best.video).name, best.start_s, best.end_s) == (video, start_s, end_s)
    assert best.start_s <= best.best_s < best.end_s
    assert results.good_match and results.query == query
    assert results.gallery == 9 and results.elapsed_ms > 0
    assert [m.score for m in results] == sorted((m.score for m in results), reverse=True)
    assert all(0 <= m.confidence <= 1 for m in results)


@pytest.mark.parametrize("query", ["a horse eats hay", "the of and"])
def test_nothing_to_find_is_said_with_guesses_listed(searcher: Searcher, query: str):
    results = searcher.search(query)
    assert not results.good_match
    assert len(results) > 0


def test_the_white_frame_is_the_best_one(searcher: Searcher):
    best = searcher.search("white")[0]
    assert best.best_s == 2.0
    assert best.evidence is not None
    assert best.evidence.times.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert best.evidence.frame_relevance.argmax() == 2
    assert 0 <= best.evidence.frame_relevance.min() <= best.evidence.frame_relevance.max() <= 1


def test_the_matching_half_of_a_frame_is_shown(searcher: Searcher):
    evidence = searcher.search("yellow")[0].evidence
    assert evidence is not None
    assert evidence.patch_relevance.round(2).tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert searcher.search("yellow", evidence=False)[0].evidence is None


def test_several_moments_of_one_video(searcher: Searcher):
    found = [(m.start_s, m.end_s) for m in searcher.search("cyan", k=2)]
    assert found == [(0.0, 3.0), (5.0, 10.0)]
    assert set(names(searcher.search("cyan", k=2))) == {"d.mp4"}


@pytest.mark.parametrize("query", ["red", "white", "green", "yellow and black", "a dog", "cyan"])
def test_all_candidates_are_the_exhaustive_answer(searcher: Searcher, query: str):
    index, bundle = searcher.index, searcher.bundle
    tokens = bundle.encode_text([query])[0]
    everything = find_candidates(bundle, index, tokens, len(index.clips))
    one_by_one = []
    for row in range(len(index.clips)):
        alone = np.zeros(len(index.clips), bool)
        alone[row] = True
        single = find_candidates(bundle, index, tokens, 1, allowed=alone)
        one_by_one.append(float(single.rerank_scores[0]))
    assert np.allclose(np.array(one_by_one)[everything.rows], everything.rerank_scores, atol=1e-6)
    assert (np.diff(everything.rerank_scores) <= 0).all()
    assert sorted(everything.rows.tolist()) == list(range(9))


def test_without_rerank_recall_decides(searcher: Searcher):
    for moment in searcher.search("red", rerank=False):
        assert moment.rerank_score is None and moment.score == moment.recall_score
    for moment in searcher.search("red"):
        assert moment.score == moment.rerank_score


def test_a_batch_is_its_queries(searcher: Searcher):
    queries = ["red", "a horse", "yellow and black", "red"]
    for single, together in zip(
        [searcher.search(q, evidence=False) for q in queries],
        searcher.search_batch(queries),
        strict=True,
    ):
        assert [m.to_json() for m in single] == [m.to_json() for m in together]
        assert single.good_match == together.good_match
    assert searcher.search_batch([]) == []


def test_filters_narrow_the_gallery(searcher: Searcher):
    results = searcher.search("green", filters=Filters(path_glob=["c*", "d*"]))
    assert set(names(results)) == {"c.mp4", "d.mp4"}
    assert results.gallery == 5 and not results.good_match
    nothing = searcher.search("green", filters=Filters(path_glob="none*"))
    assert list(nothing) == [] and nothing.gallery == 0 and not nothing.good_match


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number, 1 to 1000, got 0"),
        ({"k": 1001}, "k must be a whole number, 1 to 1000, got 1001"),
        ({"k": True}, "k must be a whole number"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"recall_k": 0}, "recall_k must be a whole number, 1 to 100000, got 0"),
    ],
)
def test_numbers_out_of_range(searcher: Searcher, options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        searcher.search("red", **options)


@pytest.mark.parametrize("query", ["", " ", "\x00"])
def test_an_empty_query(searcher: Searcher, query: str):
    with pytest.raises(UsageError, match="The query is empty"):
        searcher.search(query)


def test_small_recall_still_gives_k_moments(searcher: Searcher):
    assert len(searcher.search("red", k=5, recall_k=1)) == 5


def test_an_image_finds_its_color(searcher: Searcher):
    from io import BytesIO

    from PIL import Image

    shown = np.kron(frame("magenta"), np.ones((4, 4, 1), np.uint8))
    picture = Image.fromarray(shown)
    file = BytesIO()
    picture.save(file, "PNG")
    for query in (shown, picture, file.getvalue()):
        results = searcher.search(query)
        best = results[0]
        assert (Path(best.video).name, best.start_s, results.query) == ("d.mp4", 3.0, "image")
        assert results.good_match


def test_images_that_are_none(searcher: Searcher):
    with pytest.raises(UsageError, match=r"A query is a sentence .* got int"):
        searcher.search(7)
    with pytest.raises(
        ShapeError, match=r"uint8 \[height, width, 3\] RGB, got float64 \[2, 2, 3\]"
    ):
        searcher.search(np.zeros((2, 2, 3)))
    with pytest.raises(VideoError, match="not an image"):
        searcher.search(b"no image")


def test_more_like_this(searcher: Searcher):
    index = searcher.index
    d = next(v.video_id for v in index.videos if v.paths[0].endswith("d.mp4"))
    results = searcher.more_like(d, 1.0)
    assert (Path(results[0].video).name, results[0].start_s) == ("d.mp4", 5.0)
    assert results.gallery == 8
    source = int(index.clips.clip_id[0])
    assert source not in [c for m in searcher.more_like(clip_id=source) for c in m.clip_ids]
    first = searcher.more_like(d)
    assert first.query.startswith(f"like {d} at ")


def test_more_like_what_is_not_there(searcher: Searcher):
    with pytest.raises(NotFound, match="There is no video 'nope'"):
        searcher.more_like("nope", 1.0)
    with pytest.raises(NotFound, match="There is no clip 99"):
        searcher.more_like(clip_id=99)
    with pytest.raises(UsageError, match="one of the two"):
        searcher.more_like()
    with pytest.raises(UsageError, match="The time must be seconds"):
        searcher.more_like("nope", float("nan"))


def test_a_vanished_file_is_no_answer(bundle: Bundle, tmp_path: Path):
    index = make_library(
        tmp_path, {"one.mp4": [["red"] * 2], "two.mp4": [["red"] * 2], "x.mp4": [["blue"]]}, bundle
    )
    searcher = Searcher.open(index, bundle=bundle)
    assert names(searcher.search("red", k=2)) == ["one.mp4", "two.mp4"]
    (tmp_path / "media" / "one.mp4").unlink()
    assert names(searcher.search("red", k=2, recall_k=1)) == ["two.mp4", "x.mp4"]


def test_a_drive_that_is_gone_is_not_searched_to_the_end(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos = {f"{i}.mp4": [["red"]] for i in range(70)}
    searcher = Searcher.open(make_library(tmp_path, videos, bundle), bundle=bundle)
    shutil.rmtree(tmp_path / "media")
    asked: list[int] = []
    real = Index.recall

    def counted(self, query, k, allowed=None):
        asked.append(k)
        return real(self, query, k, allowed)

    monkeypatch.setattr(Index, "recall", counted)
    assert list(searcher.search("red", k=1, recall_k=1)) == []
    assert asked == [1, 4, 16]


def test_a_refresh_moves_on(bundle: Bundle, tmp_path: Path):
    index = make_library(tmp_path / "a", {"one.mp4": [["red"] * 2]}, bundle)
    searcher = Searcher.open(index, bundle=bundle)
    assert not searcher.refresh()
    assert not searcher.search("blue").good_match
    before = searcher.index
    other = make_library(tmp_path / "b", {"one.mp4": [["red"]], "two.mp4": [["blue"]]}, bundle)
    shutil.rmtree(index)
    shutil.copytree(other, index)
    assert searcher.refresh()
    assert searcher.index is not before and len(before.clips) == 1
    assert names(searcher.search("blue", k=1)) == ["two.mp4"]
    shutil.rmtree(index)
    with pytest.raises(IndexNotFound):
        searcher.refresh()


def test_another_bundle_is_refused(library: Path, tmp_path: Path):
    other = Bundle.load(make_color_bundle(tmp_path / "other", name="other", sharpness=7.0))
    with pytest.raises(
        IndexMismatch, match=r"built with the bundle colors .* this bundle is other"
    ):
        Searcher.open(library, bundle=other)
    with pytest.raises(IndexMismatch, match=r"finecut index FOLDER --index .* --force"):
        Searcher.open(Index.open(library), bundle=other)


def test_the_bundle_is_found_by_the_index(library: Path, bundle: Bundle):
    assert Searcher.open(library).bundle.fingerprint == bundle.fingerprint
    assert Searcher.open(Index.open(library)).bundle.fingerprint == bundle.fingerprint


def test_a_bundle_that_is_gone(tmp_path: Path):
    made = Bundle.load(make_color_bundle(tmp_path / "gone"))
    index = make_library(tmp_path / "lib", {"a.mp4": [["red"]]}, made)
    moved = (tmp_path / "gone").rename(tmp_path / "kept")
    with pytest.raises(BundleError, match=r"was built with the bundle colors.*pass --bundle"):
        Searcher.open(index)
    assert Searcher.open(index, bundle=moved).search("red").good_match


def test_no_index(tmp_path: Path):
    with pytest.raises(IndexNotFound):
        Searcher.open(tmp_path / "nothing")


@pytest.mark.parametrize("levels", ["video", "frame"])
def test_an_index_with_fewer_levels_is_searched_by_recall(bundle: Bundle, tmp_path: Path, levels):
    videos = {"a.mp4": [["red", "red", "blue"]], "b.mp4": [["green"]]}
    searcher = Searcher.open(make_library(tmp_path, videos, bundle, levels=levels), bundle=bundle)
    best = searcher.search("red")[0]
    assert Path(best.video).name == "a.mp4" and best.rerank_score is None
    assert best.evidence is not None and best.evidence.patch_relevance is None
    clip = searcher.index.clips.clip_id[0]
    assert names(searcher.more_like(clip_id=int(clip))) == ["b.mp4"]


@pytest.mark.parametrize(
    "options",
    [
        {"rerank": "cross"},
        {"rerank": None},
        {"calibration": False},
        {"patches": False, "words": False},
        {"frame_values": True},
    ],
)
def test_every_kind_of_bundle_searches(tmp_path: Path, options: dict):
    made = Bundle.load(make_color_bundle(tmp_path / "bundle", **options))
    videos = {"a.mp4": [["red"] * 3, ["blue"] * 2], "b.mp4": [["white"]]}
    searcher = Searcher.open(make_library(tmp_path, videos, made), bundle=made)
    results = searcher.search("blue")
    assert (names(results)[0], results[0].start_s) == ("a.mp4", 3.0)
    assert results.good_match
    assert all(0 <= m.confidence <= 1 for m in results)


def test_a_cross_reranker_says_which_frame_counts(tmp_path: Path):
    made = Bundle.load(make_color_bundle(tmp_path / "bundle", rerank="cross"))
    videos = {"a.mp4": [["blue", "white", "blue"], ["gray"] * 2], "b.mp4": [["red"]]}
    searcher = Searcher.open(make_library(tmp_path, videos, made), bundle=made)
    best = searcher.search("white")[0]
    assert best.best_s == 1.0 and best.evidence is not None
    assert best.evidence.frame_relevance.argmax() == 1
    assert 0 <= best.evidence.frame_relevance.min() <= best.evidence.frame_relevance.max() <= 1
    bare = make_library(tmp_path / "bare", videos, made, levels="video")
    assert Searcher.open(bare, bundle=made).search("gray")[0].rerank_score is None


def test_an_empty_index(bundle: Bundle, tmp_path: Path):
    searcher = Searcher.open(make_library(tmp_path, {}, bundle), bundle=bundle)
    results = searcher.search("red")
    assert list(results) == [] and not results.good_match
    assert list(searcher.search(frame("red"))) == []


def test_many_threads_get_the_same_answers(library: Path, bundle: Bundle):
    searcher = Searcher.open(library, bundle=bundle)
    queries = ["red", "green", "a horse", "cyan"]
    answers: dict[str, list] = {query: [] for query in queries}

    def ask(query: str) -> None:
        for _ in range(5):
            answers[query].append([m.to_json() for m in searcher.search(query)])

    threads = [threading.Thread(target=ask, args=(query,)) for query in queries * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for query in queries:
        assert len(answers[query]) == 10
        assert all(answer == answers[query][0] for answer in answers[query])


def test_the_json_is_what_the_issue_says(searcher: Searcher):
    import json

    plain = json.loads(json.dumps(searcher.search("red").to_json()))
    assert set(plain) == {
        "query",
        "understood",
        "notes",
        "elapsed_ms",
        "good_match",
        "results",
    }
    assert set(plain["results"][0]) == {
        "video",
        "video_id",
        "start_s",
        "end_s",
        "best_s",
        "score",
        "recall_score",
        "rerank_score",
        "confidence",
        "reasons",
        "steps",
    }


def test_searching_imports_no_decoder_and_no_store():
    import subprocess
    import sys

    code = (
        "import sys; from finecut import Searcher; "
        "print([m for m in ('torch', 'av', 'lance', 'pyarrow', 'PIL', 'fastapi', 'huggingface_hub')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_known_copies_are_answered_once(bundle: Bundle, tmp_path: Path):
    videos = {"copy.mp4": [["red"] * 2], "one.mp4": [["red"] * 2], "other.mp4": [["red"] * 2]}
    index = make_library(tmp_path, videos, bundle)
    everything = Searcher.open(index, bundle=bundle)
    assert names(everything.search("red")) == ["copy.mp4", "one.mp4", "other.mp4"]
    ids = [video.video_id for video in everything.index.videos]
    (index / "cache").mkdir(exist_ok=True)
    known = {ids[0]: ids[1], ids[1]: ids[1], "gone": ids[1]}
    (index / "cache" / "copies.json").write_text(json.dumps(known))
    assert len(names(everything.search("red"))) == 2  # seen by a searcher that is open
    searcher = Searcher.open(index, bundle=bundle)
    for query in ("red", "red -blue", "red THEN red"):
        assert len(set(names(searcher.search(query))) & {"copy.mp4", "one.mp4"}) == 1
        assert "other.mp4" in names(searcher.search(query))
        assert len(names(searcher.search(query, duplicates=True))) == 3
    like = searcher.more_like(searcher.index.videos[2].video_id)
    assert len(like) == 1
    for broken in ("{", "[1]", "3"):
        (index / "cache" / "copies.json").write_text(broken)
        assert len(names(searcher.search("red"))) == 3
