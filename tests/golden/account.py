"""Reading golden files, and the account of which of their entries a test has checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return json.load(file)


CHECKED: dict[str, int] = {}
"""Entries checked in this run, by account; the run ends by printing the sum."""


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
        CHECKED[self.name] = CHECKED.get(self.name, 0) + self.total
        return self.total
