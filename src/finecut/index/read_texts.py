"""The texts of one video: from the files beside it, its container, its name."""

from __future__ import annotations

import os
import re

from finecut.index.sidecars import Sidecar
from finecut.index.texts import TextRow
from finecut.text.subtitles import Cue, read_subtitles

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-zA-Z])(?=[0-9])|(?<=[0-9])(?=[a-zA-Z])")
FOLDERS = 2  # names of so many folders above a file say what it is; those further up where it lies


def named_rows(path: str, duration_s: float) -> list[TextRow]:
    """The names of a file and of the folders it lies in."""
    folder, name = os.path.split(path)
    rows = [_named(os.path.splitext(name)[0], "file name", duration_s)]
    for _ in range(FOLDERS):
        folder, name = os.path.split(folder)
        if name:
            rows.append(_named(name, "folder", duration_s))
    return rows


def _named(name: str, source: str, duration_s: float) -> TextRow:
    # "GoldenGate2019" is found by its parts too.
    parts = _WORDS.sub(" ", name)
    also = parts if parts != name else ""
    return TextRow("named", 0.0, duration_s, name, source, also=also)


def sidecar_rows(sidecar: Sidecar, duration_s: float) -> list[TextRow]:
    """What a text file beside a video says."""
    found = read_subtitles(sidecar.stamp.path)
    source = f"sidecar {sidecar.name}"
    return cue_rows(found.cues, source, sidecar.language, duration_s)


def cue_rows(cues: list[Cue], source: str, language: str, duration_s: float) -> list[TextRow]:
    """Cues as rows; those after the end of the video (of another cut, say) are left out."""
    rows = []
    for cue in cues:
        end_s = min(cue.end_s, duration_s) if duration_s else cue.end_s
        if cue.start_s < end_s:
            rows.append(TextRow("said", cue.start_s, end_s, cue.text, source, language))
    return rows
