"""Confidence falls with rank, and the verdict does not depend on how many moments are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from finecut.bundle.load import Bundle
from finecut.search.engine import Searcher
from search.library import make_library

VIDEOS = {
    "red.mp4": [["red", "red"], ["red|blue", "blue"]],
    "blue.mp4": [["blue", "blue"]],
    "mixed.mp4": [["green|red", "yellow"], ["white", "black"]],
}


@pytest.mark.parametrize("query", ["red", "blue and yellow", "a dog on the beach"])
def test_verdict_and_order(query: str, bundle: Bundle, tmp_path: Path):
    searcher = Searcher.open(make_library(tmp_path, VIDEOS, bundle), bundle=bundle)
    answers = [searcher.search(query, k=k) for k in (1, 2, 5, 24)]
    assert len({answer.good_match for answer in answers}) == 1
    for answer in answers:
        sure = [moment.confidence for moment in answer]
        assert sure == sorted(sure, reverse=True)
        assert sure[0] == answers[0][0].confidence
