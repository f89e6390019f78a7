"""Where the golden files are, and the account of which of them a test has covered.

A module that proves files says so in ``COVERS``, a tuple of paths relative to the golden
directory (``laff/blocks.json``) or, where names depend on the data, of ``fnmatch`` patterns.
``test_coverage.py`` fails for a file in the directory that nobody covers, and for a pattern that
matches nothing. Inside a test, ``Account`` does the same for the entries of one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """The golden directory: ``--golden DIR``, else ``$FINECUT_SHARED/golden``."""
    chosen = request.config.getoption("--golden")
    if chosen:
        root = Path(chosen)
        if not root.is_dir():
            pytest.fail(f"--golden {chosen}: no such directory")
        return root
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        pytest.skip("FINECUT_SHARED is not set and --golden DIR is not given")
    root = Path(shared) / "golden"
    if not root.is_dir():
        pytest.fail(f"{root} is missing: a missing golden is a failure, not a skip")
    return root


def read_json(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return json.load(file)


class Account:
    """Counts the entries of one file: each must be used, and nothing may be left over."""

    def __init__(self, name: str, entries: Iterable[str]) -> None:
        self.name = name
        self.open = set(entries)
        self.total = len(self.open)

    def use(self, entry: str) -> str:
        self.open.discard(entry)
        return entry

    def close(self) -> int:
        assert self.total, f"{self.name}: no entry at all, so nothing was checked"
        assert not self.open, (
            f"{self.name}: {len(self.open)} of {self.total} entries are not checked: "
            f"{sorted(self.open)[:12]}"
        )
        return self.total
