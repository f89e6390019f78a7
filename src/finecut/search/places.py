"""One moment per place of a video, whichever channel found it: stretches seen and texts heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from finecut.search.heard import Told
from finecut.search.moments import ClipHit, Span

LONGEST_S = 30.0  # of a text that may widen a moment: a chapter is no moment
_MOST_TEXTS = 50  # of one channel that are looked at


@dataclass(slots=True)
class Place:
    """A stretch of one video, what was seen there and what was heard."""

    span: Span
    texts: list[Told] = field(default_factory=list)

    @property
    def video(self) -> int:
        return self.span.hits[0].video


def with_texts(
    spans: Sequence[Span], hits: Sequence[ClipHit], texts: Sequence[Told]
) -> list[Place]:
    """Moments seen, with the texts that lie in them, and moments only heard.

    A text that overlaps a moment belongs to it and widens it to the text's own times, unless the
    text is long. A text about a whole video belongs to the video's best moment. Another text makes
    a moment of its own. Moments of one video that meet by this become one.

    Args:
        spans: moments seen, best first.
        hits: clips that were looked at; those of a text that makes a moment must be among them.
        texts: best first.
    """
    places = [Place(span) for span in spans]
    by_video: dict[int, list[Place]] = {}
    for place in places:
        by_video.setdefault(place.video, []).append(place)
    for item in _first(texts):
        own = by_video.setdefault(item.video, [])
        there = next((place for place in own if item.whole or _meet(place.span, item)), None)
        if there is None:
            made = heard_span(hits, item)
            if made is None:
                continue
            there = Place(made)
            own.append(there)
            places.append(there)
        there.texts.append(item)
        if not item.whole and item.end_s - item.start_s <= LONGEST_S:
            there.span = replace(
                there.span,
                start_s=min(there.span.start_s, item.start_s),
                end_s=max(there.span.end_s, item.end_s),
            )
            _absorb(there, own, places)
    return places


def _first(texts: Sequence[Told]) -> list[Told]:
    counts: dict[str, int] = {}
    kept = []
    for item in texts:
        counts[item.channel] = counts.get(item.channel, 0) + 1
        if counts[item.channel] <= _MOST_TEXTS:
            kept.append(item)
    return kept


def _meet(span: Span, item: Told) -> bool:
    return span.start_s < item.end_s and item.start_s < span.end_s


def _absorb(place: Place, own: list[Place], places: list[Place]) -> None:
    """Make one of a place and those it has come to overlap."""
    for other in [one for one in own if one is not place]:
        if other.span.start_s < place.span.end_s and place.span.start_s < other.span.end_s:
            better, worse = place.span, other.span
            if worse.score > better.score:
                better, worse = worse, better
            rows = {hit.row for hit in better.hits}
            place.span = Span(
                hits=(*better.hits, *(hit for hit in worse.hits if hit.row not in rows)),
                start_s=min(better.start_s, worse.start_s),
                end_s=max(better.end_s, worse.end_s),
                best_s=better.best_s,
            )
            place.texts += [item for item in other.texts if item not in place.texts]
            own.remove(other)
            places[:] = [one for one in places if one is not other]


def heard_span(hits: Sequence[ClipHit], item: Told) -> Span | None:
    """The moment a text is heard in, shown by the best of its frames; None without its clips.

    A long text is a moment from its beginning, as long as a moment may be.
    """
    own = [
        hit
        for hit in hits
        if hit.video == item.video
        and (item.whole or (hit.start_s < item.end_s and hit.end_s > item.start_s))
    ]
    if not own:
        return None
    own.sort(key=lambda hit: (-hit.score, hit.row))
    if item.whole:
        own = own[:1]
        start_s, end_s = own[0].start_s, own[0].end_s
    else:
        start_s, end_s = item.start_s, min(item.end_s, item.start_s + LONGEST_S)
    times = np.concatenate([hit.times for hit in own])
    relevance = np.concatenate([hit.relevance for hit in own])
    inside = (times >= start_s) & (times < end_s)
    best_s = float(times[inside][relevance[inside].argmax()]) if inside.any() else start_s
    return Span(tuple(own), start_s, end_s, best_s)
