"""Saving many stretches as files in one folder, with a list of what became of each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finecut.errors import FinecutError, UsageError
from finecut.video.cut import SUFFIXES, CutReport, Reencode, cut, publish

MANIFEST = "manifest.json"
_STEM_BYTES = 120  # of a source's name in a file's name: file systems take 255 in all
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f<>:"/\\\\|?*\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a video that is wanted."""

    video: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Piece:
    """What became of one stretch: a file, or an error."""

    stretch: Stretch
    output: str  # name in the folder; "" where nothing was written
    report: CutReport | None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the true times where a file was written, else those asked for."""
        times = self.report or self.stretch
        plain: dict[str, Any] = {
            "output": self.output,
            "video": self.stretch.video,
            "start_s": round(times.start_s, 3),
            "end_s": round(times.end_s, 3),
        }
        return plain | ({"copied": self.report.copied} if self.report else {"error": self.error})


def cut_many(
    stretches: Sequence[Stretch],
    folder: str | Path,
    *,
    reencode: Reencode = "auto",
    title: str = "",
    on_piece: Callable[[Piece], None] = lambda piece: None,
) -> list[Piece]:
    """Write each stretch to a file of its own, numbered in order; none stops the rest.

    ``manifest.json`` in the folder says what each file is, and why one is not there, as far as the
    work went, however it ends. No file that is there is touched.

    Args:
        stretches: what to cut; at least one.
        folder: made if it is not there.
        reencode: as for `cut`.
        title: kept in the manifest: what was searched for, say.
        on_piece: called after each.

    Raises:
        UsageError: nothing to cut, or the folder holds a manifest already.
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    if not stretches:
        raise UsageError("There is nothing to cut: no moment was given.")
    target.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target / MANIFEST):
        raise UsageError(f"{target / MANIFEST} exists already; choose another folder.")
    pieces: list[Piece] = []
    try:
        for number, stretch in enumerate(stretches, start=1):
            name = piece_name(number, stretch)
            try:
                report = cut(
                    stretch.video, stretch.start_s, stretch.end_s, target / name, reencode=reencode
                )
                piece = Piece(stretch, name, report)
            except FinecutError as error:
                piece = Piece(stretch, "", None, str(error))
            pieces.append(piece)
            on_piece(piece)
    finally:
        _write_manifest(target, title, pieces)
    return pieces


def piece_name(number: int, stretch: Stretch) -> str:
    """A name that sorts in order and that every file system takes.

    >>> piece_name(3, Stretch("/v/a: b?.MKV", 24, 36.04))
    '003_a_ b__24.0-36.0.mkv'
    """
    stem, suffix = os.path.splitext(os.path.basename(stretch.video))
    suffix = suffix.lower() if suffix.lower() in SUFFIXES else ".mp4"
    times = f"{stretch.start_s:.1f}-{stretch.end_s:.1f}"
    return f"{number:03d}_{safe_stem(stem, _STEM_BYTES)}_{times}{suffix}"


def safe_stem(stem: str, most_bytes: int) -> str:
    """The part of a file's name before its ending, as every file system takes it.

    >>> safe_stem("what? a: b", 120), safe_stem("猫" * 99, 7), safe_stem("..", 9)
    ('what_ a_ b', '猫猫', 'video')
    """
    safe = _UNSAFE.sub("_", stem).encode()[:most_bytes].decode("utf-8", "ignore").strip(" .")
    return safe or "video"


def _write_manifest(folder: Path, title: str, pieces: Sequence[Piece]) -> None:
    import json

    content = {"title": title, "files": [piece.to_json() for piece in pieces]}
    data = json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    part = folder / f".{MANIFEST}.{os.getpid()}.part"
    try:
        part.write_bytes(data + b"\n")
        publish(part, folder / MANIFEST)
    finally:
        part.unlink(missing_ok=True)
