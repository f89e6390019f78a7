"""Scored clips to moments: good neighbours merged, ends trimmed by how well each frame matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A neighbour joins where it keeps this share of the best clip's lead over the typical candidate.
MERGE_SHARE = 0.8
# A frame belongs where it keeps this share of the best frame's lead over poor frames.
TRIM_SHARE = 0.5
# Frames in a row that may fall short without ending the moment: a blink is not a cut.
_GAP_FRAMES = 1
# Frames kept on either side of the part that matches, so that a moment does not start abruptly.
_PAD_FRAMES = 1
_POOR_QUANTILE = 0.1


@dataclass(frozen=True, slots=True)
class ClipHit:
    """A candidate clip with its score for one query."""

    row: int  # in the gallery
    video: int  # position among the index's videos
    number: int  # within the video
    start_s: float
    end_s: float
    score: float
    times: NDArray[np.float64]  # [F] rising
    relevance: NDArray[np.float32]  # [F] in [0, 1], one scale for all candidates of the query


@dataclass(frozen=True, slots=True)
class Span:
    """A moment of one video, with the hits it is made of: best first."""

    hits: tuple[ClipHit, ...]
    start_s: float
    end_s: float
    best_s: float

    @property
    def score(self) -> float:
        return self.hits[0].score


def find_moments(hits: Sequence[ClipHit], k: int | None = None) -> list[Span]:
    """The first k moments (None: all) of `each_moment`, best first."""
    return list(islice(each_moment(hits), k))


def each_moment(hits: Sequence[ClipHit]) -> Iterator[Span]:
    """Moments, best first, made as they are asked for; those of one video never overlap.

    A clip starts a moment in the order of scores (equal scores: gallery order) and draws in the
    clips before and after it while they are candidates, unused, and nearly as good. The moment is
    then trimmed to the frames around the best one that match, padded by one frame.

    Args:
        hits: candidates of one query, in any order, each clip once.
    """
    order = sorted(hits, key=lambda hit: (-hit.score, hit.row))
    if not order:
        return
    # The median. (numpy's own would load numpy.ma, which a one-shot search need not wait for.)
    typical = 0.5 * (order[(len(order) - 1) // 2].score + order[len(order) // 2].score)
    poor = _quantile(np.concatenate([hit.relevance for hit in order]), _POOR_QUANTILE)
    place = {(hit.video, hit.number): hit for hit in order}
    used: set[tuple[int, int]] = set()
    for seed in order:
        if (seed.video, seed.number) in used:
            continue
        needed = min(typical + MERGE_SHARE * (seed.score - typical), seed.score)
        run = [seed]
        for step in (-1, 1):
            number = seed.number + step
            while (
                (near := place.get((seed.video, number))) is not None
                and (seed.video, number) not in used
                and near.score >= needed
            ):
                run.append(near)
                number += step
        used.update((hit.video, hit.number) for hit in run)
        yield _trim(run, poor)


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """`np.quantile` to the last bit, without what it imports and checks."""
    ordered = np.sort(values)
    at = (len(ordered) - 1) * share
    below = int(at)
    part = at - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    # From the nearer end, as numpy does.
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _trim(run: list[ClipHit], poor: float) -> Span:
    """The part of a run around the best frame of its best clip, which is ``run[0]``."""
    seed = run[0]
    in_time = sorted(run, key=lambda hit: hit.number)
    times = np.concatenate([hit.times for hit in in_time])
    relevance = np.concatenate([hit.relevance for hit in in_time])
    # A frame stands for the time up to the next one; the last of a clip for the rest of the clip.
    ends = np.concatenate([np.append(hit.times[1:], hit.end_s) for hit in in_time])
    starts = times.copy()
    firsts = np.cumsum([0, *(len(hit.times) for hit in in_time[:-1])])
    starts[firsts] = [hit.start_s for hit in in_time]
    own = int(firsts[next(i for i, hit in enumerate(in_time) if hit is seed)])
    best = own + _best_frame(seed.relevance)
    peak = float(relevance[best])
    fits = relevance >= min(poor + TRIM_SHARE * (peak - poor), peak)
    first = _reach(fits, best, -1)
    last = _reach(fits, best, 1)
    first, last = max(0, first - _PAD_FRAMES), min(len(times) - 1, last + _PAD_FRAMES)
    inside = [
        hit
        for hit in sorted(run, key=lambda hit: (-hit.score, hit.row))
        if hit.end_s > starts[first] and hit.start_s < ends[last]
    ]
    return Span(
        hits=tuple(inside),
        start_s=float(starts[first]),
        end_s=float(ends[last]),
        best_s=float(times[best]),
    )


def _best_frame(relevance: NDArray[np.float32]) -> int:
    """The most relevant frame; the middle one where all are alike."""
    if relevance.max() == relevance.min():
        return len(relevance) // 2
    return int(relevance.argmax())


def _reach(fits: NDArray[np.bool_], best: int, step: int) -> int:
    """The furthest frame from ``best`` in one direction without too long a gap between."""
    furthest, gap, place = best, 0, best + step
    while 0 <= place < len(fits) and gap <= _GAP_FRAMES:
        if fits[place]:
            furthest, gap = place, 0
        else:
            gap += 1
        place += step
    return furthest
