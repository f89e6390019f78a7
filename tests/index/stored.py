"""Made-up rows and tokens, for tests of the store alone."""

from __future__ import annotations

import numpy as np

from finecut.index.meta import IndexMeta
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.types import DecodedClip, VideoTokens


def meta_of(
    levels: str = "patch", *, values: bool = False, fingerprint: str = "a" * 64, kept: int = 0
):
    patches = levels == "patch"
    return IndexMeta(
        schema_version=1,
        uuid="0123456789abcdef0123456789abcdef",
        created_at=1.0,
        bundle_name="made-up",
        bundle_ref="made-up",
        fingerprint=fingerprint,
        levels=levels,
        recall_dim=6,
        embed_dim=5,
        patch_rows=2 if patches else 0,
        patch_columns=2 if patches else 0,
        frame_values=values,
        frames_per_second=1.0,
        max_frames=4,
        patches_kept=kept,
    )


def row_of(video_id: str, build: int, n_clips: int, *, status: str = "done", paths=None):
    paths = [f"/videos/{video_id}.mp4"] if paths is None else paths
    return VideoRow(
        video_id=video_id,
        build=build,
        stamps=tuple(PathStamp(path, 100, 5) for path in paths),
        status=status,
        reason="" if status == "done" else "unreadable",
        error="" if status == "done" else "it is broken",
        size_bytes=100,
        container="mp4",
        codec="h264",
        width=64,
        height=48,
        rotation=0,
        duration_s=4.0 * n_clips,
        fps=25.0,
        has_audio=False,
        recorded_at=None,
        n_clips=n_clips,
        n_frames=0,
        lost_frames=0,
        indexed_at=float(build),
    )


def clips_of(writer: IndexWriter, video_id: str, lengths, seed: int) -> list[EncodedClip]:
    """Clips of these many frames, with random tokens."""
    rng = np.random.default_rng(seed)
    meta = writer.meta
    clips = []
    for number, (clip_id, n) in enumerate(
        zip(writer.take_clip_ids(len(lengths)), lengths, strict=True)
    ):
        clip = DecodedClip(
            number=number,
            start_s=4.0 * number,
            end_s=4.0 * number + n,
            frames=np.zeros((n, 1, 1, 3), np.uint8),
            times=4.0 * number + np.arange(n, dtype=np.float64),
            strip=f"strip {video_id} {number}".encode(),
            strip_width=16,
            strip_height=12,
        )
        tokens = VideoTokens(
            recall=rng.normal(size=meta.recall_dim).astype(np.float32),
            frames=rng.normal(size=(n, meta.embed_dim)).astype(np.float32),
            patches=rng.normal(size=(n, meta.n_patches, meta.embed_dim)).astype(np.float32)
            if meta.n_patches
            else None,
            frame_values=rng.normal(size=(n, meta.embed_dim)).astype(np.float32)
            if meta.frame_values
            else None,
        )
        clips.append(EncodedClip(clip_id, video_id, writer.build, clip, tokens))
    return clips


def put(writer: IndexWriter, video_id: str, lengths=(3, 1), seed: int = 0) -> list[EncodedClip]:
    """Commit one video with its clips."""
    clips = clips_of(writer, video_id, lengths, seed)
    writer.commit(clips, [row_of(video_id, writer.build, len(clips))])
    return clips
