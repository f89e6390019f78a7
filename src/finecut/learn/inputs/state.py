"""Small files of a run's ``text_state`` folder, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from finecut.errors import MissingDependency, UsageError
from finecut.learn.data.files import read_json
from finecut.text.tags import default_tagger

log = logging.getLogger(__name__)


def write_state(path: Path, value: Any) -> None:
    """Write JSON beside ``path`` and put it in its place."""
    write_text_state(path, json.dumps(value, ensure_ascii=False))


def tagger_of_training(path: Path) -> str | None:
    """The tagger that made the training's tags, where it is the one installed here; else None.

    Raises:
        UsageError: the state is not there, or names no tagger.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing: the run's text state is incomplete.")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("tagger"), str):
        raise UsageError(f"{path} does not say which tagger made the training's tags.")
    try:
        here = default_tagger().name
    except MissingDependency:
        here = "none"
    if here == found["tagger"]:
        return here
    log.warning(
        "training tagged its captions by %s, here is %s: the model's own table of words is used",
        found["tagger"],
        here,
    )
    return None


def write_text_state(path: Path, text: str) -> None:
    """Write a text beside ``path`` and put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
