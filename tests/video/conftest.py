"""The corpus of odd and broken videos, made once a session and only as far as it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from video_corpus import write_case


@pytest.fixture(scope="session")
def corpus(corpus_folder: Path) -> Callable[[str], Path]:
    """Gives the path of a corpus file by name, making it on first use."""
    return lambda name: write_case(name, corpus_folder)
