"""Whether one video is a copy of another: the stretch and the offset at which they agree.

Two recordings of one place look alike at any offset, so likeness alone tells no copy. Pairs of
frames that look alike vote for the offset between their times. At the offsets with most votes two
things are asked: has every frame of a stretch its partner (``similarity``), and does what changes
from frame to frame change alike (``motion``: the same correlation once each side's mean over the
stretch, which is the background, is taken away).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.types import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIN_S = 0.25  # of offsets in the vote
OFFSETS = 12  # with most votes are looked at
NEAR = 0.6  # seconds: so much earlier or later may a frame have been taken from a copy
SAMPLED_S = 1.7  # between frames that were both looked at; further apart the first was held
GAP_S = 1.5  # of disagreement that a stretch may have inside it
STILL = 0.03  # change that is noise, as a length beside pictures of unit length


@dataclass(frozen=True, slots=True)
class Overlap:
    """The stretch in which two videos agree best: ``offset_s`` is the second's time less the
    first's."""

    offset_s: float
    start_s: float  # in the first video
    end_s: float
    similarity: float  # mean correlation of the frames with their partners
    motion: float  # correlation of what changes; near 0 where nothing does
    change: float  # how much changes from frame to frame, in the calmer of the two

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Frames:
    """A video as its stored frames show it."""

    times: NDArray[np.float64]  # [F] rising; a frame stands for the time up to the next one
    pictures: NDArray[np.float32]  # [F, E] unit length, or zero where a picture says nothing
    end_s: float

    def __post_init__(self) -> None:
        check_shape(times=(self.times, "F"), pictures=(self.pictures, "F E"))

    def shown(self, moments: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The frames shown at some moments, and the ones after them where those are near."""
        shown = np.searchsorted(self.times, moments, side="right") - 1
        shown = np.clip(shown, 0, len(self.times) - 1)
        after = np.minimum(shown + 1, len(self.times) - 1)
        return shown, np.where(self.times[after] - moments <= NEAR, after, shown)

    def between(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Pictures at some moments, blended of the frames before and after each."""
        shown, near = self.shown(moments)
        after = np.minimum(shown + 1, len(self.times) - 1)
        gap = self.times[after] - self.times[shown]
        part = (moments - self.times[shown]) / np.maximum(gap, 1e-9)
        part = np.where(gap > SAMPLED_S, near != shown, np.clip(part, 0, 1)).astype(np.float32)
        blend: NDArray[np.float32] = self.pictures[shown] * (1 - part)[:, None]
        blend += self.pictures[after] * part[:, None]
        return blend


def best_overlap(first: Frames, second: Frames, threshold: float) -> Overlap | None:
    """The stretch over which two videos agree best at one offset.

    Args:
        first: one video.
        second: the other.
        threshold: correlation from which two frames agree.

    Returns: None where no frame agrees.

    >>> still = Frames(np.arange(4.0), np.eye(4, dtype=np.float32), 4.0)
    >>> later = Frames(np.arange(3.0), np.eye(4, dtype=np.float32)[1:], 3.0)
    >>> found = best_overlap(still, later, 0.5)
    >>> found.offset_s, found.start_s, found.end_s, found.similarity
    (-1.0, 1.0, 4.0, 1.0)
    """
    if not len(first.times) or not len(second.times):
        return None
    sims = first.pictures @ second.pictures.T  # [F, G]
    rows, columns = np.nonzero(sims >= threshold)
    if not len(rows):
        return None
    offsets = second.times[columns] - first.times[rows]
    found = [
        overlap
        for offset in _voted(offsets, sims[rows, columns] - threshold + 1e-3)
        if (overlap := _at_offset(sims, first, second, offset, threshold))
    ]
    return max(found, key=_rank, default=None)


def _rank(overlap: Overlap) -> float:
    # A long stretch counts for more, but not much: a wrong offset can be a little longer.
    return (overlap.similarity + max(overlap.motion, 0.0)) * overlap.length_s**0.5


def _voted(offsets: NDArray[np.float64], weights: NDArray[np.float32]) -> list[float]:
    """The offsets with most votes, best first; a vote counts in the two bins beside its own too."""
    low = float(offsets.min())
    bins = np.rint((offsets - low) / BIN_S).astype(np.int64)
    votes = np.bincount(bins, weights, minlength=int(bins.max()) + 1)
    spread = votes.copy()
    spread[1:] += votes[:-1] / 2
    spread[:-1] += votes[1:] / 2
    order = np.argsort(-spread, kind="stable")[:OFFSETS]
    return [low + BIN_S * int(place) for place in order if spread[place] > 0]


def _at_offset(
    sims: NDArray[np.float32], first: Frames, second: Frames, offset: float, threshold: float
) -> Overlap | None:
    """The longest stretch that agrees at one offset. What lies outside one of the videos neither
    agrees nor disagrees."""
    begin, end = max(0.0, -offset), min(first.end_s, second.end_s - offset)
    if end <= begin:
        return None
    # Every time at which a frame of either begins: in between, the same two are shown.
    both = np.concatenate([[begin], first.times, second.times - offset])
    moments = np.unique(both[(both >= begin) & (both < end)])
    agreement = np.full(len(moments), -np.inf, np.float32)
    for row in first.shown(moments):
        for column in second.shown(moments + offset):
            agreement = np.maximum(agreement, sims[row, column])
    ends = np.append(moments[1:], end)
    start, stop = _longest_run(agreement >= threshold, moments, ends)
    if start == stop:
        return None
    motion, change = _motion(first, second, moments[start:stop], offset)
    return Overlap(
        offset_s=round(offset, 3),
        start_s=round(float(moments[start]), 3),
        end_s=round(float(ends[stop - 1]), 3),
        similarity=round(float(agreement[start:stop].mean()), 4),
        motion=round(motion, 4),
        change=round(change, 4),
    )


def _motion(
    first: Frames, second: Frames, moments: NDArray[np.float64], offset: float
) -> tuple[float, float]:
    """How alike what changes is, and how much changes in the calmer video."""
    ours, theirs = first.between(moments), second.between(moments + offset)
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    noise = STILL * len(moments) ** 0.5
    lengths = [float(np.linalg.norm(side)) for side in (ours, theirs)]
    product = float((ours * theirs).sum())
    return product / (lengths[0] * lengths[1] + noise**2), min(lengths) / len(moments) ** 0.5


def _longest_run(
    agrees: NDArray[np.bool_], starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[int, int]:
    """The longest run of True, short gaps allowed inside it: first, and one past the last."""
    best, length, start, last = (0, 0), 0.0, -1, -1
    for place in np.flatnonzero(agrees).tolist():
        if start < 0 or starts[place] - ends[last] > GAP_S:
            start = place
        last = place
        if ends[last] - starts[start] > length:
            best, length = (start, last + 1), ends[last] - starts[start]
    return best
