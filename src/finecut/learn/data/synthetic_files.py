"""The made-up clips as real video files with the JSONL that `finecut data check` reads.

OUT/train.jsonl validation.jsonl test.jsonl      {"id", "video", "caption", "group"} a line
OUT/videos/TASK-SPLIT-NUMBER.mp4                 four frames a second, one second a frame of
                                                 the arrays that `make_clips` gives
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from finecut.errors import UsageError
from finecut.learn.data.synthetic import make_scenes
from finecut.learn.data.synthetic_scene import Scene, render
from finecut.learn.data.synthetic_tasks import SPLITS, Split, Task

SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
RATE = 4  # frames a second of the files
SIDE = 128  # pixels; the encoder needs an even number
GROUP_ROOM = 4  # clips of the largest group: no split is smaller

OnVideo = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SyntheticCorpus:
    """What was written: the folder, and clips by split."""

    folder: Path
    clips: dict[Split, int]


def write_corpus(
    out: Path | str,
    task: Task,
    videos: int = 500,
    *,
    seed: int = 0,
    seconds: int = 8,
    side: int = SIDE,
    on_video: OnVideo | None = None,
) -> SyntheticCorpus:
    """Draw, encode and describe about ``videos`` clips; 80 % train, 10 % validation, 10 % test.

    The folder appears whole or not at all: it is made beside ``out`` and renamed at the end.

    Args:
        out: must not exist, or be empty.
        task: what matters in the clips (`learn.data.synthetic`).
        videos: groups are kept whole, so that a few less may be written.
        seed: of everything but which pairs of things are tested.
        seconds: of each clip, at least 4.
        side: pixels of the square frame, an even number of at least 16.
        on_video: called with (done, total).

    Raises:
        UsageError: something is at ``out``, impossible numbers, unknown task, or more test clips
            than there are sentences.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there and not empty; give a new folder.")
    least = round(GROUP_ROOM / min(SHARES.values()))
    if videos < least:
        raise UsageError(f"videos is {videos}, expected at least {least}: a group for each split.")
    if side < 16 or side % 2:
        raise UsageError(f"side is {side} pixels, expected an even number of at least 16.")
    counts = {split: round(videos * SHARES[split]) for split in SPLITS}
    scenes = {
        split: make_scenes(task, counts[split], split=split, seed=seed, frames=seconds)
        for split in SPLITS
    }
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "videos").mkdir(parents=True)
    total, done = sum(map(len, scenes.values())), 0
    for split in SPLITS:
        lines = []
        for number, scene in enumerate(scenes[split]):
            name = f"{task}-{split}-{number:05d}"
            write_clip(scene, part / "videos" / f"{name}.mp4", side)
            entry = {"id": name, "video": f"videos/{name}.mp4", "caption": scene.caption}
            lines.append(json.dumps({**entry, "group": scene.group}) + "\n")
            done += 1
            if on_video:
                on_video(done, total)
        (part / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    if out.exists():
        out.rmdir()
    part.rename(out)
    return SyntheticCorpus(out, {split: len(scenes[split]) for split in SPLITS})


def write_clip(scene: Scene, path: Path, side: int = SIDE) -> None:
    """One scene as a square MP4 of ``side`` pixels, H.264 where PyAV has an encoder for it."""
    import av

    h264 = "libx264" in av.codecs_available
    codec, options = (
        ("libx264", {"preset": "veryfast", "crf": "16"}) if h264 else ("mpeg4", {"q": "2"})
    )
    times = np.arange(round(scene.duration_s * RATE)) / RATE
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, pixels in enumerate(render(scene, times, side)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
