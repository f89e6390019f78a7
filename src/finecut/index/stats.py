"""Counts and sizes of an index, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finecut.index.tables import TABLES
from finecut.storage.location import Location
from finecut.storage.objects import walk

if TYPE_CHECKING:
    from finecut.index.store import Index


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What ``finecut info`` shows."""

    n_videos: int
    n_failed: int
    n_clips: int
    n_frames: int
    video_s: float
    size_bytes: int  # of all there is, the cache included
    table_bytes: dict[str, int]
    cache_bytes: int
    bytes_per_video_hour: float  # of the tables; 0.0 without video
    levels: str
    bundle: str
    fingerprint: str
    version: str
    created_at: float
    indexed_at: float  # of the newest video; 0.0 without


def stats_of(index: Index) -> IndexStats:
    """The counts of what is open and the sizes of what is stored now.

    Raises:
        StorageError: its object store cannot be listed.
    """
    done = [row for row in index.videos if row.status == "done"]
    sizes = {name: _bytes_below(index.directory / f"{name}.lance") for name in TABLES}
    cache_bytes = _bytes_below(Location.parse(index.cache_folder))
    size_bytes = _bytes_below(index.directory)
    video_s = float(sum(row.duration_s for row in done))
    return IndexStats(
        n_videos=len(done),
        n_failed=len(index.videos) - len(done),
        n_clips=len(index.clips),
        n_frames=int(index.clips.n_frames.sum()),
        video_s=video_s,
        size_bytes=size_bytes if index.directory.is_local else size_bytes + cache_bytes,
        table_bytes=sizes,
        cache_bytes=cache_bytes,
        bytes_per_video_hour=sum(sizes.values()) / (video_s / 3600.0) if video_s else 0.0,
        levels=index.meta.levels,
        bundle=index.meta.bundle_name,
        fingerprint=index.meta.fingerprint,
        version=index.version,
        created_at=index.meta.created_at,
        indexed_at=max((row.indexed_at for row in index.videos), default=0.0),
    )


def _bytes_below(place: Location) -> int:
    return sum(size for _, size, _ in walk(place))
