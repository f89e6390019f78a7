"""One bundle and one small library that most search tests share; neither is to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.search.engine import Searcher
from search.library import make_library

VIDEOS = {
    "a.mp4": [["red"] * 4, ["green"] * 3, ["green"] * 8],
    "sub/b.mp4": [["blue", "blue", "white", "blue"]],
    "c.mp4": [["black|yellow"] * 2, ["gray"]],
    "d.mp4": [["cyan"] * 3, ["magenta"] * 2, ["cyan"] * 5],
}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(make_color_bundle(tmp_path_factory.mktemp("b") / "colors"), threads=1)


@pytest.fixture(scope="session")
def library(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of `VIDEOS`: 9 clips of 4 videos."""
    return make_library(
        tmp_path_factory.mktemp("library"),
        VIDEOS,
        bundle,
        heights={"a.mp4": 1080, "sub/b.mp4": 720},
        recorded={"a.mp4": 1_700_000_000.0, "c.mp4": 1_600_000_000.0},
    )


@pytest.fixture(scope="session")
def searcher(library: Path, bundle: Bundle) -> Searcher:
    return Searcher.open(library, bundle=bundle)
