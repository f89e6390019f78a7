"""A THEN B: for each video the best moments in this order, each step a chance on every frame.

Stage 1 knows each step's chance on every clip. Along each video the best chain of clips, each no
earlier than the one before, is found in one pass; the videos with the likeliest chains are looked
at frame by frame. There a clip says whether a step is in it and its frames say where: a frame's log
odds are its clip's, less how far the frame is from the clip's best, in deviations of all frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.search.composed import StepSearch
from finecut.search.heard import NEVER, Where
from finecut.search.rerank import token_sims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finecut.index.rows import StoredTokens
    from finecut.search.query import Asked

_CHAINS = 4  # chains of clips per video that are looked at frame by frame
_MOST_VIDEOS = 200
_KEEP = 0.5  # a frame belongs to a step's stretch while its chance keeps this share of the best's
_LIKELY = float(np.log(0.5))  # a step that is less likely than not is one frame
_EVEN = 0.1  # log chances so near say nothing about an order
_GAP_FRAMES = 1
_SAMPLE = 64  # clips that say how much frames differ for a query


@dataclass(frozen=True, slots=True)
class Found:
    """One step of a chain, in one video."""

    row: int  # the clip
    start_s: float
    end_s: float
    best_s: float
    chance: float  # log, of its best frame


@dataclass(frozen=True, slots=True)
class Chain:
    """The steps of a query in their order, in one video."""

    video: int
    chance: float  # log
    steps: tuple[Found, ...]


def find_chains(
    searches: Sequence[StepSearch],
    within: Sequence[float | None],
    k: int,
    recall_k: int,
    allowed: NDArray[np.bool_] | None,
) -> list[Chain]:
    """The best chain of each of the likeliest videos, best first.

    Args:
        searches: one per step.
        within: seconds at most from the best frame of one step to that of the next.
        k: videos wanted; more are looked at, since a close look changes the order.
        recall_k: as in `Searcher.search`.
        allowed: [G] clips that may be answered.
    """
    index = searches[0].index
    rows = searches[0].rows(recall_k, allowed)
    for search in searches[1:]:
        # In a very large index each step has likely clips of its own.
        own = search.rows(recall_k, allowed)
        rows = own if np.array_equal(own, rows) else np.union1d(rows, own)
    if not len(rows):
        return []
    chances = np.stack([search.chances(rows).total for search in searches])  # [S, N]
    clips = index.clips
    order = np.lexsort((clips.start_s[rows], clips.video[rows]))
    rows, chances = rows[order], chances[:, order]
    video, start = clips.video[rows], clips.start_s[rows]
    best, before = clip_chains(chances, video, start, clips.end_s[rows], within)
    ends = np.argsort(-best, kind="stable")
    ends = ends[best[ends] > NEVER]
    chosen: dict[int, list[int]] = {}
    most = min(_MOST_VIDEOS, max(recall_k, 2 * k))
    for end in ends.tolist():
        own = int(video[end])
        if own not in chosen and len(chosen) >= most:
            continue
        if len(chosen.setdefault(own, [])) < _CHAINS:
            chosen[own].append(end)
    chains = []
    for own, tails in chosen.items():
        places = sorted({place for end in tails for place in _chain(before, end)})
        chain = _closely(searches, own, rows[places], within)
        if chain is not None:
            chains.append(chain)
    return sorted(chains, key=lambda chain: (-chain.chance, chain.video))


def clip_chains(
    chances: NDArray[np.float64],
    video: NDArray[np.integer],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    within: Sequence[float | None],
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """The likeliest chain that ends at each clip: steps in the order of clips, or in one clip.

    Args:
        chances: [S, N] log chances, clips by video and time.
        video: [N].
        start: [N] seconds.
        end: [N] seconds.
        within: seconds at most between neighbouring steps; clips may overlap that time partly.

    Returns: the last step's sum [N], and for each step but the first the place before it [N].
    """
    places = np.arange(len(video))
    first = np.concatenate([[True], video[1:] != video[:-1]])  # of its video
    best = chances[0]
    before = []
    for step, limit in enumerate(within, start=1):
        if limit is None:
            source = _best_so_far(best, first)
        else:
            source = _best_in_window(best, video, start, end, limit)
        before.append(source)
        reached = source >= 0
        best = np.where(reached, chances[step] + best[np.where(reached, source, places)], NEVER)
        best = np.maximum(best, 2 * NEVER)
    return best, before


def _best_so_far(values: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[N] the place of the largest value so far in each video."""
    group = np.cumsum(first)
    shift = (float(np.ptp(values)) + 1.0) * group
    highest = np.maximum.accumulate(values + shift)
    places = np.where(values + shift == highest, np.arange(len(values)), 0)
    return np.maximum.accumulate(places)


def _best_in_window(
    values: NDArray[np.float64],
    video: NDArray[np.integer],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    limit: float,
) -> NDArray[np.int64]:
    """[N] the place of the largest value among clips that end at most so long before each, of equal
    ones the last. The clips of a video do not overlap, so what may be chosen is a window."""
    places = np.arange(len(values))
    first = np.searchsorted(video, video)  # of each clip's video
    low, high = first, places.copy()  # by bisection, where each clip's window begins
    while (low < high).any():
        middle = (low + high) // 2
        late = start - end[middle] > limit
        low = np.where(late, np.minimum(middle + 1, high), low)
        high = np.where(late, high, middle)
    length = places - low + 1
    best = places  # of the window of so many clips that ends at each place, doubled step by step
    made = places.copy()
    step = 1
    while step <= length.max(initial=0):
        # Windows of one to two steps: the best of their first step and of their last.
        own = np.flatnonzero((length >= step) & (length < 2 * step))
        made[own] = _better(values, best[low[own] + step - 1], best[own])
        best = _better(values, best[np.maximum(places - step, 0)], best)
        step *= 2
    return made


def _better(
    values: NDArray[np.float64], earlier: NDArray[np.int64], later: NDArray[np.int64]
) -> NDArray[np.int64]:
    return np.where(values[earlier] > values[later], earlier, later)


def _chain(before: list[NDArray[np.int64]], end: int) -> list[int]:
    places = [end]
    for source in reversed(before):
        places.append(int(source[places[-1]]))
    return places


def _closely(
    searches: Sequence[StepSearch],
    video: int,
    rows: NDArray[np.int64],
    within: Sequence[float | None],
) -> Chain | None:
    """The best chain of frames in some clips of one video, in time order."""
    index = searches[0].index
    tokens = index.tokens(rows, patches=False)
    mask = tokens.frame_mask
    times = tokens.times[mask]  # [F] of all clips on end
    own = np.repeat(np.arange(len(rows)), mask.sum(axis=1))  # [F] each frame's clip
    clip_end = index.clips.end_s[rows]
    last = np.append(own[1:] != own[:-1], True)
    ends = np.where(last, clip_end[own], np.append(times[1:], 0.0))
    starts = times.copy()
    begins = np.concatenate([[True], own[1:] != own[:-1]])
    starts[begins] = index.clips.start_s[rows]
    where = Where(np.full(len(own), video), starts, ends)
    frames = np.stack([_frame_chances(search, rows, tokens, own, where) for search in searches])
    best = frame_chain(frames, times, within)
    if best is None:
        return None
    chance = float(sum(frames[step, place] for step, place in enumerate(best)))
    steps = []
    for step, place in enumerate(best):
        first = steps[-1][1] + 1 if steps else 0
        stop = best[step + 1] if step + 1 < len(best) else len(times)
        later = frames[step + 1] if step + 1 < len(best) else None
        steps.append(_stretch(frames[step], place, first, stop, later, starts, ends))
    found = tuple(
        Found(
            row=int(rows[own[place]]),
            start_s=float(starts[a]),
            end_s=float(ends[b]),
            best_s=float(times[place]),
            chance=float(frames[step, place]),
        )
        for step, ((a, b), place) in enumerate(zip(steps, best, strict=True))
    )
    return Chain(video, chance, found)


def _frame_chances(
    search: StepSearch,
    rows: NDArray[np.int64],
    tokens: StoredTokens,
    own: NDArray[np.int64],
    where: Where,
) -> NDArray[np.float64]:
    """[F] log chance of a step on frames: of their clip, moved by how much better each fits."""
    total = search.against(rows)[own]
    for term in search.step.terms:
        logits = search.logits(term, rows)[own]
        if term.asked is not None:
            logits = logits + _lift(search, term.asked, tokens, own)
        total = total + search.log_chance(term, logits, where)
    return np.maximum(total, NEVER)


def _lift(
    search: StepSearch, asked: Asked, tokens: StoredTokens, own: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[F] log odds of frames less those of their clip's best frame: at most 0.

    (Less those of the mean frame, clips of many different frames would gain by having them: on a
    real video of eight clips on end fewer answers are right.)
    """
    if tokens.frames is None:
        return np.zeros(len(own))
    mask, text = tokens.frame_mask, asked.tokens.text
    sims = token_sims(tokens.frames, tokens.frame_scale, mask, text)[mask].astype(np.float64)
    best = np.full(int(own.max()) + 1, -np.inf)
    np.maximum.at(best, own, sims)
    return (sims - best[own]) / _spread(search, asked) * search.confidence.slope


def _spread(search: StepSearch, asked: Asked) -> float:
    """Deviation of the query's cosines over frames from all parts of the index; found once."""
    if asked.label not in search.spreads:
        size = len(search.index.clips)
        sample = np.arange(0, size, max(1, size // _SAMPLE))[:_SAMPLE]
        some = search.index.tokens(sample, patches=False)
        mask, text = some.frame_mask, asked.tokens.text
        sims = token_sims(some.frames, some.frame_scale, mask, text)[mask]
        search.spreads[asked.label] = max(float(sims.std()), 1e-6)
    return search.spreads[asked.label]


def frame_chain(
    frames: NDArray[np.float64], times: NDArray[np.float64], within: Sequence[float | None]
) -> list[int] | None:
    """Rising places of the likeliest chain of frames; None where there is none.

    Two frames that fit two neighbouring steps better the other way round are no answer: they show
    the opposite of what was asked.

    Args:
        frames: [S, F] log chances.
        times: [F] seconds, rising.
        within: seconds at most between neighbours of the chain.

    >>> frame_chain(np.array([[0, -1, -9.0], [-1, -9, -2]]), np.arange(3.0), [None])
    [0, 2]
    """
    size = len(times)
    best, sources = frames[0], []
    for step, limit in enumerate(within, start=1):
        gap = times[None, :] - times[:, None]  # [from, to]
        fits = gap > 0 if limit is None else (gap > 0) & (gap <= limit)
        one, other = frames[step - 1], frames[step]
        fits &= one[:, None] + other[None, :] >= other[:, None] + one[None, :] - _EVEN
        reach = np.where(fits, best[:, None], -np.inf)
        source = reach.argmax(axis=0)
        sources.append(source)
        best = frames[step] + reach[source, np.arange(size)]
    end = int(best.argmax())
    if not np.isfinite(best[end]):
        return None
    chain = [end]
    for source in reversed(sources):
        chain.append(int(source[chain[-1]]))
    return chain[::-1]


def _stretch(
    chances: NDArray[np.float64],
    best: int,
    first: int,
    stop: int,
    later: NDArray[np.float64] | None,
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> tuple[int, int]:
    """First and last frame around the best one that fit, between the steps beside this one.

    Frames that fit the next step better are left to it.
    """
    chance = np.exp(chances - chances[best])
    poor = float(np.quantile(chance, 0.1))
    fits = chance >= min(poor + _KEEP * (1.0 - poor), 1.0)
    if later is not None:
        fits &= chances >= later
    fits[best] = True
    made = [best, best]
    if chances[best] < _LIKELY:
        return best, best  # a guess is no stretch
    for side, (step, bound) in enumerate(((-1, first - 1), (1, stop))):
        place, gap = best + step, 0
        while place != bound and gap <= _GAP_FRAMES:
            a, b = (place, place + 1) if step < 0 else (place - 1, place)
            if starts[b] - ends[a] > 1e-3:
                break  # a clip that was not looked at lies between
            if fits[place]:
                made[side], gap = place, 0
            else:
                gap += 1
            place += step
    return made[0], made[1]
