"""One library with everything in it: pictures, words said, words shown, a transcript."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image, ImageDraw, ImageFont

from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.search.engine import Searcher

data = pytest.importorskip("skimage.data", reason='the extra "demo" is not installed')
pytest.importorskip("rapidocr_onnxruntime", reason="the extra `ocr` is not installed")

pytestmark = pytest.mark.slow
SIZE = (640, 360)


def slide(text: str) -> Image.Image:
    picture = Image.new("RGB", SIZE, (20, 40, 60))
    font = ImageFont.load_default(size=48)
    ImageDraw.Draw(picture).text((60, 140), text, font=font, fill="white")
    return picture


def write(path: Path, *pictures: Image.Image) -> None:
    """Four seconds of each picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"crf": "20", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures:
            for _ in range(20):
                container.mux(stream.encode(av.VideoFrame.from_image(picture.resize(SIZE))))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    root = tmp_path_factory.mktemp("words")
    videos = root / "videos"
    videos.mkdir()
    coffee, cat = (Image.fromarray(getattr(data, name)()) for name in ("coffee", "chelsea"))
    write(videos / "one.mp4", slide("Quarterly Budget"), coffee)
    write(videos / "two.mp4", cat)
    write(videos / "three.mp4", Image.fromarray(data.astronaut()), slide("Emergency Exit"))

    def said(name: str, words: str, encoding: str) -> None:
        cue = f"1\n00:00:01,000 --> 00:00:03,000\n{words}\n"
        (videos / name).write_bytes(cue.encode(encoding))

    said("one.zh.srt", "欢迎来到年度会议", "gb18030")
    said("two.en.srt", "look how the kitten purrs", "utf-16")
    said("three.fr.srt", "le déjà vu du matin", "latin-1")
    spoken = {"start": 4.2, "end": 6.0, "text": "please fasten your seatbelts"}
    (videos / "three.json").write_text(json.dumps({"text": spoken["text"], "segments": [spoken]}))
    bundle = Bundle.load("starter", threads=1)
    build_index([videos], root / "index", bundle, workers=1, ocr=True)
    return Searcher.open(root / "index", bundle=bundle)


@pytest.mark.parametrize(
    ("query", "video", "channel", "words", "second"),
    [
        ("年度会议", "one.mp4", "said", "欢迎来到年度会议", 1),
        ("kitten purrs", "two.mp4", "said", "look how the kitten purrs", 1),
        ("déjà vu", "three.mp4", "said", "le déjà vu du matin", 1),
        ("fasten your seatbelts", "three.mp4", "said", "please fasten your seatbelts", 4),
        ("quarterly budget", "one.mp4", "shown", "Quarterly Budget", 0),
        ("shown:emergency", "three.mp4", "shown", "Emergency Exit", 4),
    ],
)
def test_words_are_found_where_they_are(
    searcher: Searcher, query: str, video: str, channel: str, words: str, second: int
) -> None:
    best = searcher.search(query)[0]
    assert Path(best.video).name == video
    reason = best.reasons[0]
    assert (reason.channel, reason.text) == (channel, words)
    assert int(reason.start_s) == second and best.start_s <= reason.start_s < best.end_s


@pytest.mark.parametrize(
    ("query", "video", "second"),
    [("a close up of a cat", "two.mp4", 0), ("a cup of coffee on a table", "one.mp4", 4)],
)
def test_pictures_are_found_beside_words(
    searcher: Searcher, query: str, video: str, second: int
) -> None:
    best = searcher.search(query)[0]
    assert (Path(best.video).name, round(best.start_s)) == (video, second)
    assert [reason.channel for reason in best.reasons] == ["picture"]


def test_both_in_one_moment_and_one_after_the_other(searcher: Searcher) -> None:
    both = searcher.search("a cat AND said:kitten")[0]
    assert Path(both.video).name == "two.mp4"
    assert {reason.channel for reason in both.reasons} == {"picture", "said"}
    ordered = searcher.search("shown:budget THEN a cup of coffee on a table")[0]
    assert Path(ordered.video).name == "one.mp4"
    assert [round(step.start_s) for step in ordered.steps] == [0, 4]
