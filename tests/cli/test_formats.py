"""`finecut search --format`, `-o` and `--contact-sheet`, on the real command line."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import opentimelineio as otio
import pytest
from PIL import Image

from cli.conftest import Library, Run
from finecut.errors import UsageError
from finecut.index.store import Index
from finecut.search.contact_sheet import best_picture
from finecut.types import Moment


def test_a_format_is_all_of_stdout(library: Library, run: Run):
    done = run("search", "green", "--index", library.index, "-k", 2, "--format", "edl")
    assert done.code == 0 and done.err == ""
    timeline = otio.adapters.read_from_string(done.out, "cmx_3600", rate=25)
    first = next(iter(timeline.find_clips()))
    assert first.name == "blue-then-green.mp4"
    # The colours were filmed at 5 frames a second; green is from 4 s to 8 s.
    assert first.source_range.start_time.to_seconds() == 4
    assert first.source_range.duration.to_seconds() == 4


def test_a_file_is_written_beside_the_results(library: Library, call: Run, tmp_path: Path):
    out, sheet = tmp_path / "found.fcpxml", tmp_path / "found.jpg"
    asked = ("search", "green", "--index", library.index, "-k", 3, "-o", out)
    done = call(*asked, "--contact-sheet", sheet)
    assert done.code == 0 and "blue-then-green.mp4" in done.out
    assert done.err.count("3 moments: ") == 2
    (clip, *_) = ElementTree.parse(out).iter("asset-clip")
    assert (clip.get("start"), clip.get("duration")) == ("4s", "4s")
    with Image.open(sheet) as picture:
        left, top = 12 + 80, 30 + 12 + 60  # in the first thumbnail
        red, green, blue = picture.convert("RGB").getpixel((left, top))
        assert green > 150 > max(red, blue)
    again = call(*asked)
    assert again.code == 2 and "exists already" in again.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.fcpxml", "found.jpg"]


def test_a_page_of_thumbnails_needs_no_other_file(library: Library, call: Run, tmp_path: Path):
    page = tmp_path / "found.html"
    call("search", "green", "--index", library.index, "-k", 3, "--contact-sheet", page)
    text = page.read_text("utf-8")
    assert text.count("<img ") == text.count("data:image/jpeg;base64,") == 3
    assert text.count("file:///") == 3 and "http" not in text


def test_a_moment_found_by_words_alone_has_a_picture(library: Library):
    index = Index.open(library.index)
    (row,) = [row for row in index.videos if row.paths[0].endswith("blue-then-green.mp4")]
    for best_s, name in ((1.0, "blue"), (7.0, "green")):
        moment = Moment(row.paths[0], row.video_id, 0, 8, best_s, 0, 0, None, 0)
        red, green, blue = best_picture(index, moment).resize((1, 1)).getpixel((0, 0))
        assert (blue > 150) == (name == "blue") and (green > 150) == (name == "green") and red < 90
    gone = Moment("x.mp4", "0" * 32, 0, 8, 1, 0, 0, None, 0)
    with pytest.raises(UsageError, match=r"does not hold x\.mp4"):
        best_picture(index, gone)


def test_what_cannot_be_written_is_said(library: Library, call: Run, tmp_path: Path):
    found = ("search", "green", "--index", library.index)
    for options, message in (
        (("--format", "avi"), "A format is one of json, csv"),
        (("-o", tmp_path / "a.doc"), "the ending tells no format"),
        (("-o", tmp_path / "none" / "a.csv"), "is not a folder"),
        (("--contact-sheet", tmp_path / "a.gif"), "as .jpg or .html"),
        (("--format", "trec", "--topic", "a b"), "one word"),
    ):
        done = call(*found, *options)
        assert done.code == 2 and message in done.err, done.err
    assert not list(tmp_path.iterdir())


def test_csv_of_a_search_by_image(library: Library, call: Run, tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (20, 200, 30)).save(buffer, "PNG")
    (tmp_path / "green.png").write_bytes(buffer.getvalue())
    done = call(
        "search", "--image", tmp_path / "green.png", "--index", library.index, "--format", "csv"
    )
    assert done.out.splitlines()[1].split(",")[1].endswith("blue-then-green.mp4")
