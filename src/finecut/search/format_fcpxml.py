"""Results as a Final Cut Pro project (FCPXML 1.8, which Resolve and later Final Cuts read too)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from finecut.search.formats import Entry, file_url, label, one_line, timeline_rate
from finecut.video.timecode import drops

# How FCPXML names the rates a clip can be conformed from; other rates go without.
_CONFORM = {
    Fraction(24000, 1001): "23.98",
    Fraction(24): "24",
    Fraction(25): "25",
    Fraction(30000, 1001): "29.97",
    Fraction(30): "30",
    Fraction(48): "48",
    Fraction(50): "50",
    Fraction(60000, 1001): "59.94",
    Fraction(60): "60",
}


def fcpxml(listed: Sequence[Entry], title: str) -> bytes:
    """A project whose one story line holds the moments in order, a marker at each best frame.

    All times are whole frames, written as fractions of a second: of the timeline for places and
    lengths, of the file for where a clip begins in it.
    """
    rate = timeline_rate(listed)
    root = Element("fcpxml", version="1.8")
    resources = SubElement(root, "resources")
    formats: dict[tuple[Fraction, int, int], str] = {}
    width, height = (listed[0].width, listed[0].height) if listed else (0, 0)
    sequence_format = _format(resources, formats, rate, width, height)
    assets: dict[str, str] = {}
    for entry in listed:
        if entry.moment.video not in assets:
            shape = _format(resources, formats, entry.rate, entry.width, entry.height)
            assets[entry.moment.video] = _asset(resources, entry, f"a{len(assets) + 1}", shape)
    library = SubElement(root, "library")
    event = SubElement(library, "event", name="finecut")
    project = SubElement(event, "project", name=title)
    label_kind = "DF" if drops(rate) else "NDF"
    sequence = SubElement(
        project, "sequence", format=sequence_format, tcStart="0s", tcFormat=label_kind
    )
    spine = SubElement(sequence, "spine")
    place = 0
    for entry in listed:
        place += _clip(spine, entry, assets[entry.moment.video], place, rate)
    sequence.set("duration", seconds(place, rate))
    indent(root, " ")
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
    return head + tostring(root, encoding="unicode").encode() + b"\n"


def seconds(frames: int, rate: Fraction) -> str:
    """A number of frames as FCPXML writes time.

    >>> seconds(50, Fraction(25)), seconds(3, Fraction(30000, 1001)), seconds(0, Fraction(25))
    ('2s', '3003/30000s', '0s')
    """
    if (frames / rate).denominator == 1:
        return f"{frames / rate}s"
    return f"{frames * rate.denominator}/{rate.numerator}s"


def _format(
    resources: Element,
    known: dict[tuple[Fraction, int, int], str],
    rate: Fraction,
    width: int,
    height: int,
) -> str:
    key = (rate, width, height)
    if key not in known:
        known[key] = f"f{len(known) + 1}"
        size = {"width": str(width), "height": str(height)} if width and height else {}
        frame = f"{rate.denominator}/{rate.numerator}s"
        SubElement(resources, "format", {"id": known[key], "frameDuration": frame, **size})
    return known[key]


def _asset(resources: Element, entry: Entry, number: str, shape: str) -> str:
    total = max(int(entry.duration_s * entry.rate + Fraction(1, 1000)), entry.span(entry.rate)[1])
    sound = {"hasAudio": "1", "audioSources": "1"} if entry.has_audio else {}
    about = {
        "id": number,
        "name": one_line(entry.name),
        "src": file_url(entry.moment.video),
        "start": seconds(entry.timecode_frame, entry.rate),
        "duration": seconds(total, entry.rate),
        "hasVideo": "1",
        "format": shape,
        **sound,
    }
    SubElement(resources, "asset", about)
    return number


def _clip(spine: Element, entry: Entry, asset: str, place: int, rate: Fraction) -> int:
    """Add a moment at a frame of the timeline; returns how many frames of it are taken."""
    first, last = entry.span(entry.rate)
    length = max(1, int((last - first) / entry.rate * rate))  # never past the file's end
    clip = SubElement(
        spine,
        "asset-clip",
        ref=asset,
        offset=seconds(place, rate),
        name=one_line(entry.name),
        start=seconds(entry.timecode_frame + first, entry.rate),
        duration=seconds(length, rate),
        tcFormat="DF" if drops(entry.rate) else "NDF",
    )
    if entry.rate != rate and entry.rate in _CONFORM:
        SubElement(clip, "conform-rate", scaleEnabled="0", srcFrameRate=_CONFORM[entry.rate])
    best = min(max(round(entry.moment.best_s * entry.rate), first), last - 1)
    SubElement(
        clip,
        "marker",
        start=seconds(entry.timecode_frame + best, entry.rate),
        duration=seconds(1, entry.rate),
        value=label(entry),
    )
    return length
