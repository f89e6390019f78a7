"""Where the golden files are, and the account of which of them a test has covered.

A module that proves files says so in ``COVERS``, a tuple of paths relative to the golden
directory (``laff/blocks.json``) or, where names depend on the data, of ``fnmatch`` patterns.
``test_coverage.py`` fails for a file in the directory that nobody covers, and for a pattern that
matches nothing. Inside a test, ``Account`` (account.py) does the same for the entries of one file.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .account import CHECKED


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHECKED:
        terminalreporter.write_line(
            f"golden: {sum(CHECKED.values())} entries in {len(CHECKED)} accounts checked"
        )
