"""Fixtures and options every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time (a find of a new seed belongs in a test of its own), and no time
# limit on one: a busy machine is slow, not broken.
settings.register_profile("finecut", deadline=None, derandomize=True)
settings.load_profile("finecut")

# Before torch is imported: its threads wait for each other by spinning, and with as many test
# processes as cores a product of two small matrices then takes minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FINECUT_LANGUAGE"] = "en"  # whatever the locale here; tests compare what is printed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        default=None,
        metavar="DIR",
        help="directory of golden files; default: $FINECUT_SHARED/golden",
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The read-only folder of real clips, features and golden files."""
    root = os.environ.get("FINECUT_SHARED")
    if not root or not Path(root).is_dir():
        pytest.skip("FINECUT_SHARED is not set to a directory: this test needs the shared data")
    return Path(root)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `video_corpus.write_case` puts its files: made once, for all tests that read them."""
    return tmp_path_factory.mktemp("corpus")
