"""Galleries of made-up recall vectors, and indexes that hold them in their cache alone.

Clips lie in clusters of very different sizes on a manifold of 64 dimensions, with noise in all;
queries lie there too, but all moved to one side, as sentences are beside pictures. The vectors are
put straight into an index's cache, so that a million clips take 3 GB of disk, not 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finecut.index.cache import FEW_TEXTS, MANY_TEXTS, Cache
from finecut.index.meta import SCHEMA_VERSION, IndexMeta, read_head, read_meta
from finecut.index.rows import ClipTable, PathStamp, VideoRow
from finecut.index.writer import IndexWriter
from finecut.storage.location import Location

MANIFOLD = 64  # dimensions the clusters lie in
CLUSTER_CLIPS, LEAST_CLUSTERS = 500, 200
WITHIN, NOISE, GAP = 0.5, 0.25, 0.5  # spread in a cluster; noise beside it; queries' shift
CLIPS_PER_VIDEO = 100
BLOCK = 1 << 16


def vectors_and_queries(
    n: int, dim: int, n_queries: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors [n, dim] and unit queries [n_queries, dim] among them."""
    rng = np.random.default_rng(seed)
    count = max(LEAST_CLUSTERS, n // CLUSTER_CLIPS)
    basis = rng.standard_normal((MANIFOLD, dim), np.float32) / np.float32(dim**0.5)
    centres = rng.standard_normal((count, MANIFOLD), np.float32)
    weights = np.arange(1, count + 1) ** -0.8
    bounds = np.cumsum(weights / weights.sum())

    def drawn(size: int) -> NDArray[np.float32]:
        own = np.minimum(np.searchsorted(bounds, rng.random(size)), count - 1)
        inner = centres[own] + WITHIN * rng.standard_normal((size, MANIFOLD), np.float32)
        noise = NOISE * (MANIFOLD / dim) ** 0.5 * rng.standard_normal((size, dim), np.float32)
        return inner @ basis + noise

    vectors = np.empty((n, dim), np.float32)
    for start in range(0, n, BLOCK):
        block = drawn(min(BLOCK, n - start))
        vectors[start : start + len(block)] = unit(block)
    shift = GAP * unit(rng.standard_normal((1, dim), np.float32))
    return vectors, unit(unit(drawn(n_queries)) + shift)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class MadeSource:
    """What a cache copies: these vectors, one frame to a clip, no words."""

    def __init__(
        self, version: str, clip_id: NDArray[np.int64], vectors: NDArray[np.float32], path: Path
    ) -> None:
        self.version = version
        self._vectors = vectors  # by clip id
        self.clips = clips_of(clip_id)
        self.videos: Sequence[VideoRow] = videos_of(self.clips, path)
        self.token_row = np.arange(len(clip_id))
        self.texts_version = 0

    def texts(self, most_rows: int) -> None:
        return None

    def recall(self, first: int, last: int) -> NDArray[np.float32]:
        return self._vectors[self.clips.clip_id[first:last]]

    def frames(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"times": self.clips.start_s[rows] + 0.5}


def clips_of(clip_id: NDArray[np.int64]) -> ClipTable:
    video = np.unique(clip_id // CLIPS_PER_VIDEO, return_inverse=True)[1]
    number = (clip_id % CLIPS_PER_VIDEO).astype(np.int32)
    return ClipTable(
        clip_id=clip_id,
        video=video.astype(np.int32),
        number=number,
        start_s=number * 10.0,
        end_s=number * 10.0 + 10.0,
        n_frames=np.ones(len(clip_id), np.int32),
    )


def videos_of(clips: ClipTable, path: Path) -> list[VideoRow]:
    counts = np.bincount(clips.video)
    names = clips.clip_id[np.searchsorted(clips.video, np.arange(len(counts)))] // CLIPS_PER_VIDEO
    return [
        VideoRow(
            video_id=f"{name:032x}",
            build=1,
            stamps=(PathStamp(str(path), 1, 1),),
            status="done",
            reason="",
            error="",
            size_bytes=1,
            container="mp4",
            codec="h264",
            width=1280,
            height=720,
            rotation=0,
            duration_s=10.0 * CLIPS_PER_VIDEO,
            fps=25.0,
            has_audio=False,
            recorded_at=None,
            n_clips=count,
            n_frames=count,
            lost_frames=0,
            indexed_at=0.0,
        )
        for name, count in zip(names.tolist(), counts.tolist(), strict=True)
    ]


def create(place: Path, dim: int, fingerprint: str = "0" * 64, embed_dim: int = 8) -> None:
    """An index without clips, of recall vectors of this size."""
    meta = IndexMeta(
        schema_version=SCHEMA_VERSION,
        uuid="0" * 32,
        created_at=0.0,
        bundle_name="made-up",
        bundle_ref="made-up",
        fingerprint=fingerprint,
        levels="video",
        recall_dim=dim,
        embed_dim=embed_dim,
        patch_rows=0,
        patch_columns=0,
        frame_values=False,
        frames_per_second=1.0,
        max_frames=1,
    )
    with IndexWriter(place, meta):
        pass


def fill(
    place: Path, clip_id: NDArray[np.int64], vectors: NDArray[np.float32], *, patient: bool
) -> None:
    """Put clips into the cache as the next commit of the index.

    Args:
        place: of the index.
        clip_id: [G] rising; what was there before and is not named is taken away.
        vectors: [N, R] by clip id.
        patient: whether to find cells, as the end of a run does.
    """
    with IndexWriter(place) as writer:
        writer.set_keep(writer.head.keep_s + 1.0)  # a commit like any other
    directory = Location.parse(place)
    meta = read_meta(directory)
    source = MadeSource(read_head(directory).version(meta), clip_id, vectors, Path(__file__))
    kept = Cache(directory, meta).save(source, most_texts=MANY_TEXTS if patient else FEW_TEXTS)
    if not kept:
        raise SystemExit(f"{place} cannot be written")
