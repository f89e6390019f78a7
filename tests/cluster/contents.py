"""What an index holds, in a form two indexes of the same videos can be compared by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from finecut.index.tables import CLIPS, TEXTS, TOKENS, VIDEOS, open_table
from finecut.storage.location import Location

OWN = ("build", "indexed_at", "clip_id")  # of the run and not of the video


def rows(index: str | Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, without what every run has of its own."""
    plain = open_table(Location.parse(index), table).to_table().to_pylist()
    return [{name: row[name] for name in row if name not in OWN} for row in plain]


def clips_of(index: str | Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Clips with their tokens, by video and number; every one is there once, in both tables."""
    place = Location.parse(index)
    clips = open_table(place, CLIPS).to_table().to_pylist()
    tokens = {row["clip_id"]: row for row in open_table(place, TOKENS).to_table().to_pylist()}
    found = {(row["video_id"], row["number"]): {**row, **tokens[row["clip_id"]]} for row in clips}
    assert len(found) == len(clips) == len(tokens)
    return found


def assert_same_index(one: str | Path, other: str | Path) -> None:
    """Both hold the same, row for row, up to order and ids.

    A batch of another size may round the last bit of a vector otherwise, and what is stored in
    eight bits by one step.
    """
    by_id = [{row["video_id"]: row for row in rows(index, VIDEOS)} for index in (one, other)]
    assert by_id[0] == by_id[1]
    texts = [Counter(map(repr, rows(index, TEXTS))) for index in (one, other)]
    assert texts[0] == texts[1]
    first, second = clips_of(one), clips_of(other)
    assert first.keys() == second.keys()
    for key, mine in first.items():
        for name, value in second[key].items():
            if name in OWN:
                continue
            if name == "recall" or name.endswith("scale"):
                np.testing.assert_allclose(mine[name], value, rtol=1e-5, atol=1e-6)
            elif name in ("frames", "patches", "frame_values"):
                apart = np.abs(np.array(mine[name], np.int16) - np.array(value, np.int16))
                assert apart.max() <= 1
            else:
                assert mine[name] == value, (key, name)
