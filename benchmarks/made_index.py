"""An index of made-up clips, written by the real writer, for benchmarks that need many clips.

Recall vectors lie around those of the bundle's own ordinary queries, so that scores differ as they
do in a library; tokens are random and unit length. Speed does not depend on what they show. Made
once and kept under build/bench: `make bench` begins by removing it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from finecut import Bundle, Index
from finecut.index import cache
from finecut.index.meta import SCHEMA_VERSION, IndexMeta
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.search.calibration import bank_background
from finecut.types import DecodedClip, VideoTokens
from record import ROOT

CLIPS_PER_VIDEO = 10
FRAMES = 6  # of a clip: what 107 real clips of the web have on average
POOL = 64  # videos whose tokens are drawn; the others have them again, with other recall vectors
COMMIT_VIDEOS = 200
SPREAD = 0.7  # length of the noise beside that of the ordinary query a video lies around
MADE_AT = 1_700_000_000.0  # Unix seconds: rows are alike in every run


def build_folder() -> Path:
    """Where benchmarks keep what several of them need."""
    return Path(os.environ.get("FINECUT_BENCH_BUILD", ROOT / "build" / "bench"))


def made_index(bundle: Bundle, clips: int, levels: str = "patch", frames: int = FRAMES) -> Path:
    """The folder of an index of so many clips, ten to a video; made if it is not there yet."""
    about = f"{bundle.fingerprint}|{clips}|{levels}|{frames}|{SCHEMA_VERSION}|{cache.LAYOUT}"
    name = f"made-{clips}-{levels}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    folder = build_folder() / name
    if (folder / "done").exists():
        return folder / "index"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "videos").mkdir(parents=True)
    write_index(folder, bundle, clips, levels, frames)
    # As `finecut index` does at its end: the snapshot that later opens read, and the background.
    bank_background(bundle, Index.open(folder / "index"))
    (folder / "done").touch()
    return folder / "index"


def write_index(folder: Path, bundle: Bundle, clips: int, levels: str, frames: int) -> None:
    rng = np.random.default_rng(0)
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, levels, MADE_AT)
    bank = bundle.query_bank()
    centres = unit(rng, 256, meta.recall_dim) if bank is None else bank.recall
    pool = [made_tokens(rng, bundle, frames) for _ in range(POOL)]
    with IndexWriter(folder / "index", meta) as writer:
        videos = -(-clips // CLIPS_PER_VIDEO)
        for start in range(0, videos, COMMIT_VIDEOS):
            stored: list[EncodedClip] = []
            rows: list[VideoRow] = []
            for number in range(start, min(start + COMMIT_VIDEOS, videos)):
                around = centres[rng.integers(len(centres))]
                count = min(CLIPS_PER_VIDEO, clips - number * CLIPS_PER_VIDEO)
                recall = near(rng, around, count)
                stored += made_video(writer, pool[number % POOL], recall, number, frames)
                path = folder / "videos" / f"{number // 100:03d}" / f"video-{number:06d}.mp4"
                path.parent.mkdir(exist_ok=True)
                path.touch()
                rows.append(video_row(number, writer.build, path, count, frames))
            writer.commit(stored, rows)
        writer.compact()


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random vectors of length 1."""
    made = rng.standard_normal(shape, np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def near(rng: np.random.Generator, around: np.ndarray, count: int) -> np.ndarray:
    """[count, R] unit vectors about a direction; a video's clips also share a part of the noise."""
    towards = around / np.linalg.norm(around)
    noise = unit(rng, 1, len(around)) + 0.5 * unit(rng, count, len(around))
    made = towards + SPREAD * noise
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float32)


def made_tokens(rng: np.random.Generator, bundle: Bundle, frames: int) -> list[VideoTokens]:
    """Tokens of a video's clips, without their recall vectors."""
    video = bundle.manifest.video
    none = np.zeros(video.recall_dim, np.float32)
    return [
        VideoTokens(
            recall=none,
            frames=unit(rng, frames, video.embed_dim),
            patches=unit(rng, frames, video.n_patches, video.embed_dim)
            if video.n_patches
            else None,
            frame_values=unit(rng, frames, video.embed_dim) if video.frame_values else None,
        )
        for _ in range(CLIPS_PER_VIDEO)
    ]


def made_video(
    writer: IndexWriter, pool: list[VideoTokens], recall: np.ndarray, number: int, frames: int
) -> list[EncodedClip]:
    pictures = np.zeros((frames, 8, 8, 3), np.uint8)
    made = []
    for place, clip_id in enumerate(writer.take_clip_ids(len(recall))):
        start_s = float(place * frames)
        times = start_s + np.arange(frames, dtype=np.float64)
        clip = DecodedClip(place, start_s, start_s + frames, pictures, times, b"\xff\xd8", 8, 8)
        tokens = VideoTokens(
            recall=recall[place],
            frames=pool[place].frames,
            patches=pool[place].patches,
            frame_values=pool[place].frame_values,
        )
        made.append(EncodedClip(clip_id, f"{number:032x}", writer.build, clip, tokens))
    return made


def video_row(number: int, build: int, path: Path, clips: int, frames: int) -> VideoRow:
    return VideoRow(
        video_id=f"{number:032x}",
        build=build,
        stamps=(PathStamp(str(path.resolve()), 0, 1),),
        status="done",
        reason="",
        error="",
        size_bytes=10_000_000,
        container="mp4",
        codec="h264",
        width=1280,
        height=720,
        rotation=0,
        duration_s=float(clips * frames),
        fps=25.0,
        has_audio=True,
        recorded_at=MADE_AT + number * 3600.0,
        n_clips=clips,
        n_frames=clips * frames,
        lost_frames=0,
        indexed_at=MADE_AT,
    )
