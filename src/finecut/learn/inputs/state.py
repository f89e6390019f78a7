"""Small JSON files of a run's ``text_state`` folder, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from finecut.errors import UsageError
from finecut.learn.data.files import read_json


def write_state(path: Path, value: Any) -> None:
    """Write JSON beside ``path`` and put it in its place."""
    write_text_state(path, json.dumps(value, ensure_ascii=False))


def read_state(path: Path) -> dict[str, Any]:
    """What ``write_state`` wrote: an object that names the tagger.

    Raises:
        UsageError: it is not there, or something else is.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing: the run's text state is incomplete.")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("tagger"), str):
        raise UsageError(f"{path} does not say which tagger made the training's tags.")
    return found


def write_text_state(path: Path, text: str) -> None:
    """Write a text beside ``path`` and put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
