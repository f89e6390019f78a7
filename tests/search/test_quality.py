"""Quality on labelled queries: figures by hand, videos by any name, hostile lines refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from finecut.bundle.load import Bundle
from finecut.errors import UsageError
from finecut.search.candidates import video_scores
from finecut.search.engine import Searcher
from finecut.search.labelled import VideoNames, read_queries
from finecut.search.quality import quality
from search.library import make_library


def write(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_figures_of_the_issue(searcher: Searcher, tmp_path: Path):
    file = write(
        tmp_path / "q.jsonl",
        {"query": "green", "video": "a.mp4", "start_s": 4, "end_s": 15},
        "",
        {"query": "white", "video": "sub/b.mp4"},
        {"query": "red", "video": "d.mp4", "start_s": 0.0, "end_s": 3.5},
    )
    figures = quality(searcher, file)
    assert list(figures) == ["n_queries", "n_gallery", "recall", "rerank", "moments"]
    assert (figures["n_queries"], figures["n_gallery"]) == (3, 4)
    for stage in ("recall", "rerank"):
        assert list(figures[stage]) == ["r_at_1", "r_at_5", "r_at_10", "mdr", "mnr"]
        assert figures[stage]["r_at_1"] == round(200 / 3, 4)
        assert figures[stage]["r_at_5"] == figures[stage]["r_at_10"] == 100.0
        assert figures[stage]["mdr"] == 1.0
    assert figures["moments"] == {"r_at_1_iou_0.5": 50.0, "miou": 50.0}
    assert "moments" not in quality(searcher, [{"query": "white", "video": "b.mp4"}])


def test_recall_is_the_plain_loop(searcher: Searcher):
    index = searcher.index
    queries = ["red", "a white screen", "cyan and magenta", "a dog", "gray"]
    tokens = [asked.tokens for asked in searcher.encode_texts(queries)]
    scores = video_scores(index, tokens)
    assert scores.shape == (5, 4)
    for q, asked in enumerate(tokens):
        for video in range(4):
            rows = np.flatnonzero(index.clips.video == video)
            best = max(float(asked.recall @ index.recall_matrix()[row]) for row in rows)
            assert np.isclose(scores[q, video], best, atol=1e-6)


def test_beyond_the_candidates_recall_decides(searcher: Searcher):
    """With one candidate the rest keeps the order of stage 1."""
    queries = [{"query": q, "video": f"{v}.mp4"} for q in ("red", "cyan") for v in "abcd"]
    narrow = quality(searcher, queries, recall_k=1)
    assert narrow["rerank"] == narrow["recall"]


def test_the_rank_of_the_served_answer(searcher: Searcher):
    for query in ("red", "green and blue", "magenta"):
        served = [m.video_id for m in searcher.search(query, k=100, recall_k=100)]
        order = list(dict.fromkeys(served))
        for rank, video_id in enumerate(order, 1):
            figures = quality(searcher, [{"query": query, "video": video_id}], recall_k=100)
            assert abs(figures["rerank"]["mnr"] - rank) <= 1.5  # ties are shared there
        top = quality(searcher, [{"query": query, "video": order[0]}], recall_k=100)
        assert top["rerank"]["mnr"] == 1.0


def test_videos_by_any_name(searcher: Searcher):
    index = searcher.index
    names = VideoNames(index.videos)
    path = index.videos[1].paths[0]
    detour = str(Path(path).parent / ".." / "sub" / "b.mp4")
    for name in (path, detour, "b.mp4", "sub/b.mp4", index.videos[1].video_id):
        assert names.find(name, "line 1") == 1


def test_an_ambiguous_name(bundle: Bundle, tmp_path: Path):
    videos = {"x/a.mp4": [["red"]], "y/a.mp4": [["blue"]]}
    searcher = Searcher.open(make_library(tmp_path, videos, bundle), bundle=bundle)
    file = write(tmp_path / "q.jsonl", "", {"query": "red", "video": "a.mp4"})
    with pytest.raises(UsageError, match=r"q\.jsonl, line 2: 2 videos are called 'a\.mp4' \(.*x/a"):
        quality(searcher, file)
    assert quality(searcher, [{"query": "red", "video": "x/a.mp4"}])["recall"]["r_at_1"] == 100


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[" * 50_000, "line 1 is not JSON"),
        ("[]", "line 1 must be an object, got list"),
        ("3", "line 1 must be an object, got int"),
        ({"query": "x"}, r"line 1 lacks \['video'\]"),
        ({"query": "x", "video": "a.mp4", "colour": 1}, r"line 1 has the unknown \['colour'\]"),
        ({"query": 3, "video": "a.mp4"}, "line 1: query must be text, got 3"),
        ({"query": " ", "video": "a.mp4"}, "line 1: query must be text"),
        ({"query": "\u0000", "video": "a.mp4"}, "line 1: The query is empty"),
        ({"query": "x" * 3000, "video": "a.mp4"}, "line 1: The query has 3000 characters"),
        ({"query": "x", "video": None}, "line 1: video must be text, got None"),
        ({"query": "x", "video": "zz.mp4"}, "line 1: there is no video 'zz.mp4'"),
        ({"query": "x", "video": "/"}, "line 1: there is no video '/'"),
        (
            {"query": "x", "video": "a.mp4", "start_s": 1},
            "line 1: start_s and end_s must be seconds",
        ),
        ({"query": "x", "video": "a.mp4", "start_s": 2, "end_s": 2}, "0 <= start_s < end_s"),
        ({"query": "x", "video": "a.mp4", "start_s": -1, "end_s": 2}, "0 <= start_s < end_s"),
        ({"query": "x", "video": "a.mp4", "start_s": "1", "end_s": "2"}, "got '1' and '2'"),
        ({"query": "x", "video": "a.mp4", "start_s": 0, "end_s": 10**400}, "0 <= start_s < end_s"),
        ('{"query": "x", "video": "a.mp4", "start_s": NaN, "end_s": 2}', "got nan and 2"),
        ('{"query": "x", "video": "a.mp4", "start_s": 0, "end_s": 1e999}', "got 0 and inf"),
        ('{"query": "' + "x" * 100_001 + '"}', "line 1 is over 100000 bytes long"),
    ],
)
def test_lines_that_are_none(searcher: Searcher, tmp_path: Path, line: object, message: str):
    with pytest.raises(UsageError, match=message):
        quality(searcher, write(tmp_path / "q.jsonl", line))


def test_a_file_that_is_none(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_queries(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_queries(tmp_path)
    with pytest.raises(UsageError, match="holds no query; expected lines like"):
        read_queries(write(tmp_path / "q.jsonl", "", "  "))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(UsageError, match="line 1 is not JSON"):
        read_queries(tmp_path / "b.jsonl")


def test_a_byte_order_mark_is_no_problem(tmp_path: Path):
    (tmp_path / "q.jsonl").write_bytes(b'\xef\xbb\xbf{"query": "a", "video": "b"}\r\n')
    assert read_queries(tmp_path / "q.jsonl")[0].query == "a"


def test_no_query_at_all(searcher: Searcher):
    with pytest.raises(UsageError, match="There is no query"):
        quality(searcher, [])
    with pytest.raises(UsageError, match="recall_k must be at least 1, got 0"):
        quality(searcher, [{"query": "x", "video": "a.mp4"}], recall_k=0)
