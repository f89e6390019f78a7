"""Durations and dates as people write them."""

from __future__ import annotations

import datetime
import re

from finecut.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds in "90", "90s", "1.5m" or "2h", or clock time "1:02:03".

    >>> parse_duration("1:30"), parse_duration("1.5m")
    (90.0, 90.0)
    """
    plain = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,4}(:[0-5]?[0-9]){1,2}(\.[0-9]{1,9})?", plain):
        seconds = 0.0
        for part in plain.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([a-z]*)", plain)
    if match is None or match[2] not in _UNITS:
        raise UsageError(
            f"{text!r:.60} is no duration; expected seconds, or 90s, 1.5m, 2h or 1:02:03."
        )
    return float(match[1]) * _UNITS[match[2]]


def parse_date(text: str) -> float:
    """Unix seconds of the start of "2024", "2024-05", "2024-05-31" or of an ISO 8601 time.

    Without a zone, local time is meant.
    """
    plain = text.strip()
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{2}))?", plain)
    try:
        if match:
            when = datetime.datetime(int(match[1]), int(match[2] or 1), 1)
        else:
            when = datetime.datetime.fromisoformat(plain)
        return when.timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text!r:.60} is no date; expected 2024, 2024-05, 2024-05-31 or 2024-05-31T12:00."
        ) from error
