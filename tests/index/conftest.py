"""The colour bundle, once for all tests of indexing."""

from __future__ import annotations

from pathlib import Path

import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_color_bundle(tmp_path_factory.mktemp("bundles") / "colors")


@pytest.fixture(scope="session")
def bundle(bundle_dir: Path) -> Bundle:
    return Bundle.load(bundle_dir, threads=1)
