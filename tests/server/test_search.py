"""``/api/v1/search``: the same answers as the engine's, with what a page needs besides."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from finecut.search.engine import Searcher
from finecut.search.filters import Filters
from finecut.server.models import SEARCH_EXAMPLE, SearchAnswer

MOMENT_FIELDS = {
    "video", "video_id", "start_s", "end_s", "best_s", "score", "recall_score", "rerank_score",
    "confidence", "reasons", "steps",
}  # fmt: skip


def search(client, **params):
    answer = client.get("/api/v1/search", params=params)
    assert answer.status_code == 200, answer.text
    SearchAnswer.model_validate(answer.json())
    return answer.json()


def png(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("query", "name", "start_s", "end_s"),
    [
        ("yellow", "größe 日本 & <b>.mp4", 0, 3),
        ("a green screen", "lights.mp4", 4, 8),
        ("magenta", "old.avi", 0, 3),
    ],
)
def test_finds_the_colour_at_its_time(client, query, name, start_s, end_s):
    answer = search(client, q=query)
    names = [result["name"] for result in answer["results"]]
    assert name in names[:2]
    found = answer["results"][names.index(name)]
    assert start_s - 1 <= found["start_s"] <= found["best_s"] < found["end_s"] <= end_s + 1


def test_is_what_the_engine_answers(client, made):
    engine = Searcher.open(made.index, threads=1)
    expected = engine.search("a blue screen", k=5, recall_k=50).to_json()["results"]
    got = search(client, q="a blue screen", k=5)["results"]
    assert len(got) == len(expected) > 0
    for mine, theirs in zip(got, expected, strict=True):
        assert {name: mine[name] for name in MOMENT_FIELDS} == theirs


def test_carries_what_a_page_needs(client):
    for result in search(client, q="red")["results"]:
        assert result["strips"]
        for strip in result["strips"]:
            assert len(strip["times"]) == strip["n_frames"]
            picture = client.get(strip["url"])
            width, height = Image.open(io.BytesIO(picture.content)).size
            assert picture.headers["content-type"] == "image/jpeg"
            assert width == strip["n_frames"] * int(picture.headers["x-tile-width"])
            # The tiles have the video's own shape, to a pixel or two of rounding.
            assert abs(width / strip["n_frames"] - height * result["width"] / result["height"]) < 2
        for name in ("frame_url", "media_url", "video_url"):
            assert client.get(result[name]).status_code == 200
        evidence = result["evidence"]
        assert len(evidence["times"]) == len(evidence["frame_relevance"])
        assert all(0 <= value <= 1 for value in evidence["frame_relevance"])
        rows = evidence["patch_relevance"]
        assert len(rows) == 2 and all(len(row) == 2 for row in rows)
        assert evidence["patch_box"] == [0, 0, 1, 1]  # the colour bundle squashes frames


def test_evidence_can_be_left_out(client):
    result = search(client, q="red", evidence=False)["results"][0]
    assert result["evidence"] is None and result["strips"][0]["times"] is None


def test_says_when_nothing_matches(client):
    answer = search(client, q="a dog runs on the beach")
    assert answer["good_match"] is False
    assert answer["results"] and {r["match"] for r in answer["results"]} == {"weak"}


def test_match_words_follow_the_confidence(client):
    answer = search(client, q="yellow", k=50)
    assert answer["good_match"] is True
    order = {"weak": 0, "fair": 1, "strong": 2}
    by_confidence = sorted(answer["results"], key=lambda r: r["confidence"])
    words = [order[r["match"]] for r in by_confidence]
    assert words == sorted(words) and words[-1] == 2


def test_by_an_image(client):
    answer = client.post(
        "/api/v1/search", params={"k": 3}, files={"image": ("x.png", png((255, 255, 0)))}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] == "image"
    assert answer.json()["results"][0]["name"] == "größe 日本 & <b>.mp4"


def test_by_a_posted_sentence(client):
    answer = client.post("/api/v1/search", data={"q": "yellow"})
    assert answer.json()["results"][0]["name"] == "größe 日本 & <b>.mp4"


def test_more_like_a_moment(client, made):
    sea = made.id_of("trip/sea.mp4")
    answer = search(client, like=f"{sea}@1.0")
    assert answer["kind"] == "like"
    first = answer["results"][0]
    assert (first["name"], round(first["start_s"])) == ("lights.mp4", 8)  # where it is blue, too


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"path": "*.avi"}, {"old.avi"}),
        ({"path": "trip/*"}, {"sea.mp4", "größe 日本 & <b>.mp4"}),
        ({"path": ["*.avi", "night.mp4"]}, {"old.avi", "night.mp4"}),
        ({"min_duration_s": "10s"}, {"lights.mp4"}),
        ({"max_duration_s": "4"}, {"night.mp4", "größe 日本 & <b>.mp4"}),
        ({"max_height": "100p"}, set()),
        ({"recorded_before": "2001"}, set()),
    ],
)
def test_filters(client, params, names):
    answer = search(client, q="white", k=50, **params)
    assert {result["name"] for result in answer["results"]} == names


def test_filter_by_video(client, made):
    answer = search(client, q="white", video_id=made.id_of("old.avi"))
    assert {result["name"] for result in answer["results"]} == {"old.avi"}
    filters = Filters(video_ids=[made.id_of("old.avi")])
    expected = Searcher.open(made.index, threads=1).search("white", filters=filters)
    assert answer["gallery"] == expected.gallery


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "either `q`"),
        ({"q": "red", "like": "ab@1"}, "either `q`"),
        ({"q": "   "}, "`q` is empty"),
        ({"q": "x" * 2001}, "2001 characters, expected at most 2000"),
        ({"q": "red", "k": 0}, "`k` (query)"),
        ({"q": "red", "k": 201}, "`k` must be at most 200 here, got 201"),
        ({"q": "red", "k": "many"}, "got 'many'"),
        ({"q": "red", "recall_k": 2001}, "`recall_k` must be at most 2000"),
        ({"like": "nothing"}, "seconds (for instance"),
        ({"like": "../../etc/passwd@1"}, "seconds (for instance"),
        ({"q": "red", "min_duration_s": "long"}, "'long' is no duration"),
        ({"q": "red", "recorded_after": "soon"}, "'soon' is no date"),
        ({"q": "red", "min_height": "-3"}, "'-3' is no height"),
        ({"q": "red", "min_duration_s": "5", "max_duration_s": "4"}, "exclude all"),
    ],
)
def test_what_cannot_be_meant_is_said(client, params, said):
    answer = client.get("/api/v1/search", params=params)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_an_unknown_moment_is_not_found(client):
    answer = client.get("/api/v1/search", params={"like": f"{'0' * 32}@1"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:finecut:problem:not-found")


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and which holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        png_that_claims(60_000, 60_000),
        png_that_claims(200, 200),
    ],
    ids=["empty", "text", "torn", "svg", "bomb", "short"],
)
def test_a_file_that_is_no_image(client, content):
    answer = client.post("/api/v1/search", files={"image": ("x.png", content)})
    assert answer.status_code == 422 and "image" in answer.json()["detail"].lower()


def test_the_example_in_the_documentation_is_an_answer():
    SearchAnswer.model_validate(SEARCH_EXAMPLE)
