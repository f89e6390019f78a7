"""`finecut duplicates` on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Library, Run
from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from search.films import FPS, film, write_film


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copies")
    shown = film(5, 9)
    write_film(root / "videos" / "whole.mp4", shown)
    write_film(root / "videos" / "part.mp4", shown[3 * FPS :], size=(96, 72))
    write_film(root / "videos" / "other.mp4", film(6, 6))
    bundle = Bundle.load(make_color_bundle(root / "colors"), threads=1)
    build_index([root / "videos"], root / "index", bundle, workers=1)
    return root / "index"


def test_groups_with_evidence(index: Path, call: Run):
    done = call("duplicates", "--index", index)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "1. 2 copies" and lines[1].endswith("whole.mp4")
    assert lines[2].endswith("part.mp4") and "96x72" in lines[2]
    assert "part.mp4 0:00.0-0:0" in lines[3] and "100% of the shorter, alike 0.9" in lines[3]
    assert "1 groups; all but the first of each take" in done.err


def test_json(index: Path, call: Run):
    (group,) = call("duplicates", "--index", index, "--json").json["groups"]
    assert [Path(one["paths"][0]).name for one in group["videos"]] == ["whole.mp4", "part.mp4"]
    (pair,) = group["pairs"]
    assert {pair["first"], pair["second"]} == {one["video_id"] for one in group["videos"]}
    assert abs(abs(pair["offset_s"]) - 3) < 0.5 and pair["share"] > 0.8


def test_settings(index: Path, call: Run, library: Library):
    assert call("duplicates", "--index", index, "--threshold", 1).out == "No copies found.\n"
    assert call("duplicates", "--index", library.index).out == "No copies found.\n"
    assert call("duplicates", "--index", index, "--share", 2).code == 2


def test_indexing_notes_copies_and_search_answers_one(index: Path, call: Run, tmp_path: Path):
    colors = str(index.parent / "colors")
    built = call("index", index.parent / "videos", "--index", tmp_path / "i", "--bundle", colors)
    assert built.code == 0
    assert "2 videos are copies of one another: see finecut duplicates" in built.err
    found = call("search", "red", "--index", tmp_path / "i", "--json").json["results"]
    names = [Path(one["video"]).name for one in found]
    assert names.count("other.mp4") and ("whole.mp4" in names) != ("part.mp4" in names)
    every = call("search", "red", "--index", tmp_path / "i", "--show-duplicates", "--json").json
    assert len({one["video"] for one in every["results"]}) == 3
