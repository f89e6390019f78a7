"""Small real indexes of coloured clips, written by the real writer, without decoding videos."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from color_bundle import COLORS, SIDE
from finecut.bundle.load import Bundle
from finecut.index.meta import IndexMeta
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.store import Index
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.types import DecodedClip

Clip = Sequence[str]  # a colour per second; "red|blue" is red on the left and blue on the right


def frame(colors: str) -> np.ndarray:
    """uint8 [32, 32, 3]: one colour, or two side by side."""
    parts = colors.split("|")
    made = np.zeros((SIDE, SIDE, 3), np.uint8)
    width = SIDE // len(parts)
    for i, color in enumerate(parts):
        made[:, i * width : (i + 1) * width] = np.round(255 * np.array(COLORS[color]))
    return made


def clip_of(colors: Clip, number: int, start_s: float) -> DecodedClip:
    """A clip with one frame a second."""
    frames = np.stack([frame(color) for color in colors])
    times = start_s + np.arange(len(colors), dtype=np.float64)
    return DecodedClip(number, start_s, start_s + len(colors), frames, times, b"\xff\xd8", 8, 8)


def make_library(
    folder: Path,
    videos: dict[str, Sequence[Clip]],
    bundle: Bundle,
    *,
    levels: str = "patch",
    heights: dict[str, int] | None = None,
    recorded: dict[str, float] | None = None,
) -> Path:
    """Index ``videos`` (file name -> clips) and return the index's folder; the files exist."""
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    index_dir = folder / "index"
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, levels, time.time())
    with IndexWriter(index_dir, meta) as writer:
        for place, (name, clips) in enumerate(videos.items()):
            path = media / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
            decoded, start_s = [], 0.0
            for number, colors in enumerate(clips):
                decoded.append(clip_of(colors, number, start_s))
                start_s += len(colors)
            tokens = bundle.encode_clips([clip.frames for clip in decoded])
            ids = writer.take_clip_ids(len(decoded))
            video_id = f"{place:032x}"
            stored = [
                EncodedClip(i, video_id, writer.build, clip, token)
                for i, clip, token in zip(ids, decoded, tokens, strict=True)
            ]
            row = VideoRow(
                video_id=video_id,
                build=writer.build,
                stamps=(PathStamp(str(path), len(name), os.stat(path).st_mtime_ns),),
                status="done",
                reason="",
                error="",
                size_bytes=len(name),
                container="mp4",
                codec="h264",
                width=32,
                height=(heights or {}).get(name, 32),
                rotation=0,
                duration_s=start_s,
                fps=1.0,
                has_audio=False,
                recorded_at=(recorded or {}).get(name),
                n_clips=len(decoded),
                n_frames=sum(len(clip.times) for clip in decoded),
                lost_frames=0,
                indexed_at=float(place),
            )
            writer.commit(stored, [row])
    return index_dir


def open_index(index_dir: Path) -> Index:
    return Index.open(index_dir)
