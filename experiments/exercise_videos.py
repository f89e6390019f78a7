"""Write free-exercise-db as a folder of short videos with captions, for docs/fine-tune.md.

Each exercise becomes four seconds: its start position, then its end position. Every seventh goes
into test/ and test.jsonl, with its name and equipment as its one caption; the others have up to
three of their instructions besides, in captions.jsonl. queries.jsonl is for `finecut quality`.

    FINECUT_SHARED=... python experiments/exercise_videos.py exercises
"""

from __future__ import annotations

import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

FPS, SECONDS, TEST_EVERY, INSTRUCTIONS = 5, 4, 7, 3


def write_video(path: Path, photos: list[Image.Image]) -> None:
    """The photos one after the other, for the same time each."""
    width, height = (side - side % 2 for side in photos[0].size)
    frames = FPS * SECONDS
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            photo = photos[number * len(photos) // frames].resize((width, height))
            frame = av.VideoFrame.from_ndarray(np.asarray(photo), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    shared = os.environ.get("FINECUT_SHARED")
    if not shared or len(sys.argv) != 2:
        sys.exit(str(__doc__))
    source, out = Path(shared) / "data" / "free_exercise_db", Path(sys.argv[1])
    rows = [json.loads(line) for line in (source / "exercises.jsonl").open(encoding="utf-8")]
    lines: dict[str, list[str]] = {"train": [], "test": [], "queries": []}
    for part in ("train", "test"):
        (out / part).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        part = "train" if number % TEST_EVERY else "test"
        name = f"{part}/{number:03}.mp4"
        write_video(out / name, [Image.open(source / f).convert("RGB") for f in row["frames"]])
        caption = f"{row['name'].lower()}, {row['equipment'] or 'no equipment'}"
        more = row["instructions"][:INSTRUCTIONS] if part == "train" else []
        lines[part].append(json.dumps({"video": name, "captions": [caption, *more]}))
        if part == "test":
            lines["queries"].append(json.dumps({"query": caption, "video": Path(name).name}))
    for part, file in (("train", "captions"), ("test", "test"), ("queries", "queries")):
        (out / f"{file}.jsonl").write_text("\n".join(lines[part]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
