"""Frame rates as fractions, and timecode with and without dropped frame numbers."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from finecut.errors import UsageError, VideoError
from finecut.video.container import open_video

NTSC = Fraction(1000, 1001)
EDIT_RATES = tuple(
    sorted([*map(Fraction, (24, 25, 30, 48, 50, 60)), 24 * NTSC, 30 * NTSC, 60 * NTSC])
)
"""Rates that editing programs have timelines of."""

UNKNOWN_RATE = Fraction(25)  # where a file does not say
SNAP = 0.015  # an average this close to a rate of editing is that rate: phones vary by a percent
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")


def rate_of(fps: float) -> Fraction:
    """The frame rate meant by an average that a container tells, in frames a second.

    >>> rate_of(29.9701), rate_of(25), rate_of(12.5), rate_of(0)
    (Fraction(30000, 1001), Fraction(25, 1), Fraction(25, 2), Fraction(25, 1))
    """
    if not 0 < fps < 1e4:
        return UNKNOWN_RATE
    nearest = min(EDIT_RATES, key=lambda rate: abs(float(rate) - fps))
    if abs(float(nearest) - fps) <= SNAP * fps:
        return nearest
    return Fraction(fps).limit_denominator(1001) or UNKNOWN_RATE


def edit_rate(rate: Fraction) -> Fraction:
    """The rate of a timeline for material of a rate: itself, or one that holds all its frames.

    >>> edit_rate(Fraction(25)), edit_rate(Fraction(25, 2)), edit_rate(Fraction(120))
    (Fraction(25, 1), Fraction(25, 1), Fraction(60, 1))
    """
    if rate in EDIT_RATES:
        return rate
    multiples = [known for known in EDIT_RATES if (known / rate).denominator == 1]
    return (
        multiples[0]
        if multiples
        else min(EDIT_RATES, key=lambda known: (known < rate, abs(known - rate)))
    )


def drops(rate: Fraction) -> bool:
    """Whether timecode of this rate leaves out numbers to keep up with the clock (29.97, 59.94)."""
    return rate in (30 * NTSC, 60 * NTSC)


def timecode(frame: int, rate: Fraction, *, drop: bool | None = None) -> str:
    """The label of a frame: ``hh:mm:ss:ff``, with a semicolon last where numbers are dropped.

    Of 29.97 frames a second the numbers 00 and 01 (of 59.94 also 02 and 03) are left out at the
    start of every minute but each tenth, so that an hour of labels is an hour (SMPTE ST 12-1).

    Args:
        frame: counted from 0; labels begin anew after 24 hours.
        rate: frames a second.
        drop: whether numbers are dropped; None: at the rates where it is customary.

    >>> timecode(1800, Fraction(30000, 1001)), timecode(17982, Fraction(30000, 1001))
    ('00:01:00;02', '00:10:00;00')
    >>> timecode(1800, Fraction(30)), timecode(90, Fraction(24000, 1001))
    ('00:01:00:00', '00:00:03:18')
    """
    base = round(rate)  # labels a second
    dropping = drops(rate) if drop is None else drop
    if dropping:
        skipped = base // 15  # labels left out a minute: 2 of 30, 4 of 60
        minute, ten = 60 * base - skipped, 600 * base - 9 * skipped
        tens, rest = divmod(frame, ten)
        frame += 9 * skipped * tens
        if rest >= 60 * base:
            frame += skipped * ((rest - 60 * base) // minute + 1)
    seconds, frames = divmod(frame % (24 * 3600 * base), base)
    mark = ";" if dropping else ":"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"


def frame_of(label: str, rate: Fraction) -> int:
    """The frame a timecode labels; a semicolon (or a dot) last means that numbers were dropped.

    Raises:
        UsageError: no timecode, or one that does not exist at this rate.

    >>> frame_of("00:01:00;02", Fraction(30000, 1001)), frame_of("01:00:00:00", Fraction(25))
    (1800, 90000)
    """
    found = _TIMECODE.fullmatch(label.strip())
    base = round(rate)
    if not found:
        raise UsageError(f"A timecode reads hh:mm:ss:ff, got {label!r}.")
    hours, minutes, seconds, frames = (int(found[number]) for number in (1, 2, 3, 5))
    if minutes > 59 or seconds > 59 or frames >= base:
        raise UsageError(
            f"The timecode {label} does not exist at {float(rate):.5g} frames a second."
        )
    frame = ((hours * 60 + minutes) * 60 + seconds) * base + frames
    if found[4] == ":":
        return frame
    skipped = base // 15 if base % 15 == 0 else 0
    whole = hours * 60 + minutes
    if whole % 10 and not seconds and frames < skipped:
        raise UsageError(f"The timecode {label} does not exist: its number is one that is dropped.")
    return frame - skipped * (whole - whole // 10)


def start_timecode(path: str | Path) -> str:
    """The timecode of a file's first frame as its container tells it; "" where it has none."""
    try:
        with open_video(path) as (container, stream):
            tracks = [stream, *(other for other in container.streams if other is not stream)]
            for metadata in (*(track.metadata for track in tracks), container.metadata):
                if _TIMECODE.fullmatch(metadata.get("timecode", "").strip()):
                    return metadata["timecode"].strip()
    except VideoError:
        return ""
    return ""
