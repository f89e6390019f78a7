"""Which videos of an index are copies of one another: re-encoded, resized, trimmed.

No video is opened. Clips whose recall vectors are alike propose pairs of videos; of a pair, the
stored thumbnails of all frames are compared (``small_pictures``), which must agree at one offset of
their times, and change alike (``copy_alignment``). What was found is kept in the index's cache, so
that a further run compares only what is new; deleting it is always safe.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import UsageError
from finecut.index.gallery import EXACT_ROWS
from finecut.index.meta import write_json
from finecut.index.store import Index
from finecut.search import known_copies
from finecut.search.copy_alignment import Frames, best_overlap
from finecut.search.small_pictures import video_pictures
from finecut.storage.location import Location
from finecut.storage.objects import exists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.rows import VideoRow

FILE = "duplicates.json"
LAYOUT = 1
# Chosen on 252 copies of 28 real clips beside 127 clips that are none; benchmarks/duplicates.py
# measures on others.
ALIKE = 0.75  # cosine of two clips' recall vectors from which their videos are compared
NEIGHBOURS = 20  # clips that each clip proposes at most
AGREES = 0.7  # correlation of two pictures from which a frame agrees
THRESHOLD = 0.8  # mean correlation from which a stretch may be a copy
SHARE = 0.5  # of the shorter video that must agree
MOTION, BRIEF_MOTION = 0.5, 0.7  # what changes must change alike; more so in a brief stretch
BRIEF_S = 4.0
# Two takes of one person before one wall differ in a hand: where so little changes in a brief
# stretch, it must change all but equally.
LITTLE_CHANGE, FAINT_MOTION = 0.25, 0.9
EQUAL = 0.99  # so alike is a copy even if nothing moves
KEPT_SHARE = 0.1  # pairs are kept from here, for other settings later
KEPT_PICTURES = 256  # videos whose pictures are held in memory
NOTED_CLIPS = 20_000  # new clips compared after indexing: about 12 s of processor time
BLOCK = 512  # clips compared with all others at once


@dataclass(frozen=True, slots=True)
class Pair:
    """Two videos that agree over a stretch, and how well."""

    first: str  # id of a video
    second: str
    offset_s: float  # what the first shows at t, the second shows at t + offset_s
    start_s: float  # of the stretch, in the first
    end_s: float
    share: float  # of the shorter video that agrees, 0 to 1
    similarity: float  # mean correlation of the frames that agree, at most 1
    motion: float  # correlation of what changes in the stretch, at most 1
    change: float  # how much changes in it; near 0 in stills

    def is_copy(self, threshold: float, share: float) -> bool:
        """Whether this is a copy, rather than a look-alike."""
        if self.share < share or self.similarity < threshold:
            return False
        if self.similarity >= EQUAL:
            return True
        if self.end_s - self.start_s >= BRIEF_S:
            return self.motion >= MOTION
        return self.motion >= (BRIEF_MOTION if self.change >= LITTLE_CHANGE else FAINT_MOTION)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the stretch in both videos."""
        plain = asdict(self)
        plain["second_start_s"] = round(self.start_s + self.offset_s, 3)
        plain["second_end_s"] = round(self.end_s + self.offset_s, 3)
        return plain


@dataclass(frozen=True, slots=True)
class Group:
    """Videos that are copies of one another, what is likely the original first."""

    videos: tuple[str, ...]  # ids
    pairs: tuple[Pair, ...]  # the evidence, best first


def groups(
    index: Index,
    *,
    threshold: float = THRESHOLD,
    share: float = SHARE,
    share_of_longer: float = 0.0,
    most_clips: int | None = None,
) -> list[Group]:
    """The groups of copies in an index, largest first.

    Args:
        index: of any level.
        threshold: mean correlation of a stretch's frames with their partners, 0 to 1.
        share: of the shorter video that must agree, 0 to 1.
        share_of_longer: of the longer one; 0.0: a moment of a film may be a copy, though the film
            holds much else.
        most_clips: compare nothing anew if more clips than this are new since the last time, and
            answer from what is known; None: whatever it takes.

    Raises:
        UsageError: a setting out of range.
    """
    settings = {"threshold": threshold, "share": share, "share_of_longer": share_of_longer}
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise UsageError(f"`{name}` must be from 0 to 1, got {value!r}.")
    videos = {row.video_id: row for row in index.videos}
    pairs = [
        pair
        for pair in all_pairs(index, most_clips=most_clips)
        if pair.is_copy(threshold, share) and _of_longer(pair, videos) >= share_of_longer
    ]
    return _grouped(pairs, videos)


def note_copies(directory: Location | str | Path) -> int:
    """Compare what is new in an index, for searches to answer one copy of each; how many have one.

    To be called after an index was built: searching never compares anything itself. Of more than
    ``NOTED_CLIPS`` new clips nothing is compared; `finecut duplicates` does it, however long it
    takes.
    """
    index = Index.open(directory)
    # A short copy of one moment of a film must not hide the rest of the film.
    found = groups(index, share_of_longer=0.5, most_clips=NOTED_CLIPS)
    known = {one: group.videos[0] for group in found for one in group.videos}
    place = known_copies.place_of(index.directory)
    with suppress(OSError):  # an index that cannot be written to: every copy is answered
        if known or exists(place):
            if place.is_local:
                place.path.parent.mkdir(exist_ok=True)
            write_json(place, known)
    return len(known)


def _of_longer(pair: Pair, videos: Mapping[str, VideoRow]) -> float:
    longer = max(videos[name].duration_s for name in (pair.first, pair.second))
    return (pair.end_s - pair.start_s) / max(longer, 1e-3)


def all_pairs(index: Index, *, most_clips: int | None = None) -> list[Pair]:
    """Every pair of videos that agrees over a stretch, brought up to date and kept."""
    place = index.cache_folder / FILE
    builds = {row.video_id: row.build for row in index.videos if row.status == "done"}
    compared, pairs = _kept(place, index)
    compared = {video: build for video, build in compared.items() if builds.get(video) == build}
    pairs = [pair for pair in pairs if pair.first in compared and pair.second in compared]
    clips = index.clips
    names = [row.video_id for row in index.videos]
    known = np.array([name in compared for name in names], bool)
    new = np.flatnonzero(~known[clips.video]) if len(clips) else np.zeros(0, np.int64)
    if not len(new):
        return pairs
    if most_clips is not None and len(new) > most_clips:
        return pairs
    pairs += _compare(index, candidates(index, new))
    _keep(place, index, builds, pairs)
    return pairs


# -- which videos to compare -----------------------------------------------------------------------


def candidates(index: Index, new: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Pairs of videos, as places in ``index.videos``, that share clips that look alike.

    Args:
        index: which.
        new: rows of the clips to hold against all others.
    """
    video = index.clips.video
    found: set[tuple[int, int]] = set()
    for rows, neighbours, sims in _neighbours(index, new):
        for row, near, sim in zip(rows.tolist(), neighbours, sims, strict=True):
            own = int(video[row])
            others = {int(place) for place in video[near[sim >= ALIKE]]} - {own}
            found |= {(min(own, other), max(own, other)) for other in others}
    return found


def _neighbours(
    index: Index, new: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Rows with their nearest rows of other videos and the cosines; exact up to EXACT_ROWS clips,
    beyond by the index's own search."""
    gallery = index.recall_matrix()
    length = np.linalg.norm(gallery, axis=1).astype(np.float32)
    video = index.clips.video
    k = min(NEIGHBOURS, len(gallery))
    if len(gallery) <= EXACT_ROWS:
        unit = gallery / np.maximum(length, 1e-9)[:, None]
        for start in range(0, len(new), BLOCK):
            rows = new[start : start + BLOCK]
            sims = unit[rows] @ unit.T
            sims[video[rows][:, None] == video[None, :]] = -1
            near = np.argpartition(-sims, k - 1, axis=1)[:, :k]
            yield rows, near, np.take_along_axis(sims, near, axis=1)
        return
    for start in range(0, len(new), 16):
        rows = new[start : start + 16]
        near, products = index.recall(np.asarray(gallery[rows]), 2 * NEIGHBOURS)
        yield rows, near, products / (length[rows][:, None] * length[near])


# -- comparing -------------------------------------------------------------------------------------


def _compare(index: Index, wanted: Iterable[tuple[int, int]]) -> list[Pair]:
    seen = _Pictures(index)
    found = []
    for first, second in sorted(wanted):
        pair = _pair(seen, first, second)
        if pair is not None:
            found.append(pair)
    return found


class _Pictures:
    """Frames of videos as pictures and times; of the last few held in memory."""

    def __init__(self, index: Index) -> None:
        self.index = index
        order = np.argsort(index.clips.video, kind="stable")
        starts = np.searchsorted(index.clips.video[order], np.arange(len(index.videos) + 1))
        self._rows = [order[a:b] for a, b in pairwise(starts)]
        self.of = lru_cache(KEPT_PICTURES)(self._of)

    def _of(self, video: int) -> Frames:
        rows = self._rows[video]
        clips = self.index.clips
        rows = rows[np.argsort(clips.number[rows], kind="stable")]
        times, pictures = video_pictures(self.index, rows)
        return Frames(times, pictures, float(clips.end_s[rows].max(initial=0.0)))


def _pair(seen: _Pictures, first: int, second: int) -> Pair | None:
    ours, theirs = seen.of(first), seen.of(second)
    found = best_overlap(ours, theirs, AGREES)
    if found is None:
        return None
    share = min(1.0, found.length_s / max(min(ours.end_s, theirs.end_s), 1e-3))
    if share < KEPT_SHARE:
        return None
    videos = seen.index.videos
    return Pair(
        first=videos[first].video_id,
        second=videos[second].video_id,
        offset_s=found.offset_s,
        start_s=found.start_s,
        end_s=found.end_s,
        share=round(share, 4),
        similarity=found.similarity,
        motion=found.motion,
        change=found.change,
    )


# -- grouping --------------------------------------------------------------------------------------


def _grouped(pairs: Sequence[Pair], videos: Mapping[str, VideoRow]) -> list[Group]:
    leader: dict[str, str] = {}

    def find(video: str) -> str:
        while leader.setdefault(video, video) != video:
            leader[video] = leader[leader[video]]
            video = leader[video]
        return video

    for pair in pairs:
        leader[find(pair.first)] = find(pair.second)
    members: dict[str, list[str]] = {}
    for video in leader:
        members.setdefault(find(video), []).append(video)
    evidence: dict[str, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: (-pair.similarity * pair.share, pair.first)):
        evidence.setdefault(find(pair.first), []).append(pair)
    made = [
        Group(tuple(sorted(ids, key=lambda name: _rank(videos[name]))), tuple(evidence[head]))
        for head, ids in members.items()
    ]
    return sorted(made, key=lambda group: (-len(group.videos), _rank(videos[group.videos[0]])))


def _rank(row: VideoRow) -> tuple[Any, ...]:
    """Originals first: the longest, the most pixels, the most bytes."""
    path = row.paths[0] if row.paths else row.video_id
    return (-round(row.duration_s), -row.width * row.height, -row.size_bytes, path)


# -- keeping ---------------------------------------------------------------------------------------


def _kept(place: Path, index: Index) -> tuple[dict[str, int], list[Pair]]:
    """Videos compared before, by the build they had, and the pairs that came of it."""
    try:
        plain = json.loads(place.read_bytes())
        if plain["layout"] != LAYOUT or plain["index"] != index.meta.uuid:
            return {}, []
        return dict(plain["compared"]), [Pair(*pair) for pair in plain["pairs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}, []  # disposable: whatever is wrong with it, it is made anew


def _keep(place: Path, index: Index, compared: Mapping[str, int], pairs: Sequence[Pair]) -> None:
    plain = {
        "layout": LAYOUT,
        "index": index.meta.uuid,
        "compared": dict(compared),
        "pairs": [[getattr(pair, name) for name in Pair.__slots__] for pair in pairs],
    }
    with suppress(OSError):  # nowhere to write: it is found again next time
        place.parent.mkdir(exist_ok=True)
        write_json(place, plain)
