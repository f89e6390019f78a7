"""Results as a CMX 3600 edit decision list, the one every editing program reads."""

from __future__ import annotations

from collections.abc import Sequence

from finecut.search.formats import Entry, file_url, label, one_line, timeline_rate
from finecut.video.timecode import drops, frame_of, timecode

REEL = "AX"  # a source that is a file, not a tape: told by its name in the comments


def edl(listed: Sequence[Entry], title: str) -> bytes:
    """One cut after the other on one video track (with the sound where there is any).

    The list counts in one rate, that of most of the files; a file of another rate is noted beside
    its event. Numbers are dropped at 29.97 and 59.94 frames a second. Source times begin with the
    file's own timecode, where it has one.
    """
    rate = timeline_rate(listed)
    lines = [f"TITLE: {title}", f"FCM: {'' if drops(rate) else 'NON-'}DROP FRAME", ""]
    place = frame_of(f"01:00:00{';' if drops(rate) else ':'}00", rate)  # where timelines begin
    for number, entry in enumerate(listed, start=1):
        first, last = entry.span(rate)
        offset = round(entry.timecode_frame / entry.rate * rate)
        best = min(max(round(entry.moment.best_s * rate), first), last - 1)
        times = (offset + first, offset + last, place, place + last - first)
        labels = " ".join(timecode(frame, rate) for frame in times)
        lines += [
            f"{number:03d}  {REEL:<8} {'B' if entry.has_audio else 'V':<5} C        {labels}",
            f"* FROM CLIP NAME: {one_line(entry.name)}",
            f"* SOURCE FILE: {_source(entry.moment.video)}",
            f"* LOC: {timecode(place + best - first, rate)} GREEN   {label(entry)}",
        ]
        if entry.rate != rate:
            lines.append(f"* COMMENT: THE FILE HAS {float(entry.rate):.6g} FRAMES A SECOND")
        lines.append("")
        place += last - first
    return "\n".join(lines).encode()


def _source(path: str) -> str:
    """The path, or its address where a line of text cannot hold it as it is."""
    return path if one_line(path) == path else file_url(path)
