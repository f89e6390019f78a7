"""Where the index of a person lies when they name none."""

from __future__ import annotations

import os
from pathlib import Path


def default_index() -> Path:
    """The environment variable ``FINECUT_INDEX``, else ``index`` in the user's data directory.

    The directory need not exist yet.
    """
    named = os.environ.get("FINECUT_INDEX")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("finecut", appauthor=False)) / "index"
