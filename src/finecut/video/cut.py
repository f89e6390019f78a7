"""Saving a stretch of a video as a file of its own: copied where key frames allow, else encoded."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from av.error import FFmpegError

from finecut.errors import UsageError, VideoError
from finecut.video.container import open_video
from finecut.video.encode import encode_stretch
from finecut.video.remux import KeyFrame, copy_stretch, key_frame_before
from finecut.video.seek import timeline
from finecut.video.spec import DEFAULT_LIMITS, Limits

Reencode = Literal["auto", "always", "never"]

# A copy may begin this much before the asked start, at a key frame; further off it is encoded.
COPY_EARLY_S = 0.5
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts")


@dataclass(frozen=True, slots=True)
class CutReport:
    """What was written: true times in the source, seconds from its first shown frame."""

    start_s: float
    end_s: float
    copied: bool  # False: decoded and encoded again


def cut(
    path: str | Path,
    start_s: float,
    end_s: float,
    out: str | Path,
    *,
    reencode: Reencode = "auto",
    limits: Limits = DEFAULT_LIMITS,
) -> CutReport:
    """Write ``[start_s, end_s)`` of a video, with its sound, to a new file.

    ``auto`` copies the packets (no loss, fast) where a key frame lies at the start or up to half a
    second before it, and otherwise encodes, which is exact to the frame. ``never`` copies from the
    last key frame before the start, however early; ``always`` encodes. The file appears whole or
    not at all, and an existing one is never touched.

    Raises:
        UsageError: times that cannot be meant, a file that exists, an unknown kind of file.
        VideoError: the source cannot be read, or nothing could be written.
    """
    source, target = os.fspath(path), Path(out)
    _check_request(source, start_s, end_s, target, reencode)
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        report = _write(source, start_s, end_s, part, reencode, limits)
        publish(part, target)
    except (FFmpegError, OSError) as error:
        if isinstance(error, FileExistsError):
            raise UsageError(f"{target} exists already; choose another name.") from error
        raise VideoError(
            f"{source}: could not be cut to {target.name} "
            f"({getattr(error, 'strerror', None) or error}).",
            reason="not cut",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return report


def _check_request(source: str, start_s: float, end_s: float, target: Path, reencode: str) -> None:
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s < end_s):
        raise UsageError(
            f"A cut goes from 0 s or later to a later time, got {start_s} to {end_s} s."
        )
    if reencode not in ("auto", "always", "never"):
        raise UsageError(f"`reencode` must be auto, always or never, got {reencode!r}.")
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{target}: the name must end in one of {', '.join(SUFFIXES)}, "
            "which tells the kind of file to write."
        )
    if os.path.lexists(target):
        raise UsageError(f"{target} exists already; choose another name.")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is not a folder; make it first.")


def _write(
    source: str, start_s: float, end_s: float, part: Path, reencode: Reencode, limits: Limits
) -> CutReport:
    key = _key_frame(source, start_s, limits) if reencode != "always" else None
    copying = key is not None and (reencode == "never" or start_s - key.time_s <= COPY_EARLY_S)
    if copying and key is not None:
        try:
            true_start, true_end = copy_stretch(source, key, end_s, part, limits)
            _check_written(part)
            return CutReport(true_start, true_end, copied=True)
        except (FFmpegError, ValueError, VideoError) as error:
            # The kind of file may not hold this codec, or the packets may not stand alone.
            if reencode == "never":
                raise VideoError(
                    f"{source}: its packets cannot be copied to a {part.suffix} file "
                    "(leave out `never`, or write a .mkv file).",
                    reason="not cut",
                ) from error
            with contextlib.suppress(OSError):
                part.unlink()
    if reencode == "never":
        raise VideoError(
            f"{source}: no key frame is known to start a copy at; leave out `never`.",
            reason="not cut",
        )
    true_start, true_end = encode_stretch(source, start_s, end_s, part, limits)
    return CutReport(true_start, true_end, copied=False)


def _key_frame(source: str, start_s: float, limits: Limits) -> KeyFrame | None:
    with open_video(source, limits) as (container, stream):
        line = timeline(container, stream, limits)
        return key_frame_before(container, stream, line, start_s, limits)


def _check_written(part: Path) -> None:
    """Raise VideoError unless the written file opens and its first frame decodes."""
    with open_video(part) as (container, stream):
        for _ in container.decode(stream):
            return
    raise VideoError(f"{part}: nothing decodes.", reason="not cut")


def publish(part: Path, target: Path) -> None:
    """Give the whole file its name; a name taken meanwhile is an error, never overwritten."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # file systems without links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists already") from None
        os.rename(part, target)
