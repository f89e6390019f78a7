"""The corpus of odd and broken videos, made once a session and only as far as it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from video_corpus import write_case


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the path of a corpus file by name, making it on first use."""
    folder = tmp_path_factory.mktemp("corpus")
    return lambda name: write_case(name, folder)
