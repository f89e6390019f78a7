"""Results as an OpenTimelineIO timeline (the JSON of version 0.14 and later)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from finecut.search.formats import Entry, file_url, label, one_line, timeline_rate


def otio(listed: Sequence[Entry], title: str) -> bytes:
    """One clip after the other on one video track, each with a marker at its best frame.

    Clips are of schema ``Clip.1``, which every version of the library reads. Ranges count in
    the rate of each clip's own file; markers hold confidence and score.
    """
    track = {
        "OTIO_SCHEMA": "Track.1",
        "metadata": {},
        "name": "V1",
        "source_range": None,
        "effects": [],
        "markers": [],
        "enabled": True,
        "kind": "Video",
        "children": [_clip(entry) for entry in listed],
    }
    timeline = {
        "OTIO_SCHEMA": "Timeline.1",
        "metadata": {"finecut": {"query": title}},
        "name": title,
        "global_start_time": _time(0, timeline_rate(listed)),
        "tracks": {
            "OTIO_SCHEMA": "Stack.1",
            "metadata": {},
            "name": "tracks",
            "source_range": None,
            "effects": [],
            "markers": [],
            "enabled": True,
            "children": [track],
        },
    }
    return json.dumps(timeline, ensure_ascii=False, indent=1).encode() + b"\n"


def _clip(entry: Entry) -> dict[str, Any]:
    moment = entry.moment
    first, last = entry.span(entry.rate)
    start = entry.timecode_frame
    best = min(max(round(moment.best_s * entry.rate), first), last - 1)
    total = int(entry.duration_s * entry.rate + Fraction(1, 1000))
    plain = moment.to_json()
    return {
        "OTIO_SCHEMA": "Clip.1",
        "metadata": {
            "finecut": {name: plain[name] for name in ("video_id", "confidence", "score")}
        },
        "name": one_line(entry.name),
        "source_range": _range(start + first, last - first, entry.rate),
        "effects": [],
        "markers": [
            {
                "OTIO_SCHEMA": "Marker.2",
                "metadata": {},
                "name": label(entry),
                "color": "GREEN",
                "marked_range": _range(start + best, 1, entry.rate),
            }
        ],
        "enabled": True,
        "media_reference": {
            "OTIO_SCHEMA": "ExternalReference.1",
            "metadata": {},
            "name": one_line(entry.name),
            "available_range": _range(start, max(total, last), entry.rate),
            "target_url": file_url(moment.video),
        },
    }


def _time(frame: int, rate: Fraction) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "rate": float(rate), "value": float(frame)}


def _range(first: int, count: int, rate: Fraction) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": _time(first, rate),
        "duration": _time(count, rate),
    }
