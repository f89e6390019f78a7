"""Speed of search: a whole process on 1,000 clips, warm searches, and the re-rank kernel.

The index holds made-up vectors of the bundle's sizes (speed does not depend on what they show);
the text and re-rank graphs are the bundle's own.

    python benchmarks/search.py [--bundle starter] [--clips 1000] [--repeats 9]

Writes results/bench-search.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from finecut import Bundle, Index, Searcher
from finecut.bundle.manifest import Manifest
from finecut.index.meta import IndexMeta
from finecut.index.quantise import dequantise, quantise
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.search.rerank import token_sims
from finecut.types import DecodedClip, VideoTokens

ROOT = Path(__file__).resolve().parent.parent
CLIPS_PER_VIDEO, FRAMES = 10, 6
QUERIES = ("a dog on a beach", "two people cook dinner", "a red car at night", "snow")
COMMIT_VIDEOS = 200


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    made = rng.normal(size=shape).astype(np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def make_index(place: Path, bundle: Bundle, clips: int) -> None:
    """An index of made-up clips, ten to a video; every video's path is this file's."""
    rng = np.random.default_rng(0)
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, "patch", time.time())
    stamp = PathStamp(str(Path(__file__).resolve()), 1, 1)
    with IndexWriter(place, meta) as writer:
        videos = range(-(-clips // CLIPS_PER_VIDEO))
        for start in range(0, len(videos), COMMIT_VIDEOS):
            stored: list[EncodedClip] = []
            rows: list[VideoRow] = []
            for number in videos[start : start + COMMIT_VIDEOS]:
                stored += made_up_video(rng, writer, bundle.manifest, number)
                rows.append(video_row(f"{number:032x}", writer.build, stamp))
            writer.commit(stored, rows)
    Index.open(place)  # writes the snapshot that later opens read


def made_up_video(
    rng: np.random.Generator, writer: IndexWriter, manifest: Manifest, number: int
) -> list[EncodedClip]:
    video = manifest.video
    frames = np.zeros((FRAMES, 8, 8, 3), np.uint8)
    made = []
    for place, clip_id in enumerate(writer.take_clip_ids(CLIPS_PER_VIDEO)):
        start_s = float(place * FRAMES)
        times = start_s + np.arange(FRAMES, dtype=np.float64)
        clip = DecodedClip(place, start_s, start_s + FRAMES, frames, times, b"\xff\xd8", 8, 8)
        patches = unit(rng, FRAMES, video.n_patches, video.embed_dim) if video.n_patches else None
        tokens = VideoTokens(
            recall=unit(rng, video.recall_dim),
            frames=unit(rng, FRAMES, video.embed_dim),
            patches=patches,
            frame_values=unit(rng, FRAMES, video.embed_dim) if video.frame_values else None,
        )
        made.append(EncodedClip(clip_id, f"{number:032x}", writer.build, clip, tokens))
    return made


def video_row(video_id: str, build: int, stamp: PathStamp) -> VideoRow:
    return VideoRow(
        video_id=video_id,
        build=build,
        stamps=(stamp,),
        status="done",
        reason="",
        error="",
        size_bytes=1,
        container="mp4",
        codec="h264",
        width=640,
        height=360,
        rotation=0,
        duration_s=float(CLIPS_PER_VIDEO * FRAMES),
        fps=25.0,
        has_audio=False,
        recorded_at=None,
        n_clips=CLIPS_PER_VIDEO,
        n_frames=CLIPS_PER_VIDEO * FRAMES,
        lost_frames=0,
        indexed_at=0.0,
    )


def spread(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median, least and largest milliseconds of a call."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1e3)
    return {
        "median_ms": round(statistics.median(found), 3),
        "min_ms": round(min(found), 3),
        "max_ms": round(max(found), 3),
    }


def kernel(repeats: int) -> dict[str, Any]:
    """The int8 kernel against dequantising everything first, 50 candidates of 12 x 9 patches."""
    rng = np.random.default_rng(1)
    values, scale = quantise(unit(rng, 50, 12, 9, 256))
    mask, text = np.ones((50, 12), bool), unit(rng, 256)
    ours = spread(lambda: token_sims(values, scale, mask, text), repeats)
    plain = spread(lambda: dequantise(values, scale) @ text, repeats)
    ratio = plain["median_ms"] / ours["median_ms"]
    return {"kernel": ours, "dequantise_first": plain, "speed_up": round(ratio, 2)}


def one_process(index: Path, query: str) -> None:
    """`finecut search` as a whole process."""
    command = [sys.executable, "-m", "finecut.cli.main", "search", query, "--index", str(index)]
    subprocess.run([*command, "--json"], check=True, capture_output=True)


def commit() -> str:
    run = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return run.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=9)
    told = parser.parse_args()
    bundle = Bundle.load(told.bundle)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        make_index(index, bundle, told.clips)
        first = spread(lambda: one_process(index, QUERIES[0]), 1)
        process = spread(lambda: one_process(index, QUERIES[0]), told.repeats)
        opening = spread(lambda: Searcher.open(index), told.repeats)
        searcher = Searcher.open(index)
        new_query = iter(f"{query} number {n}" for n in range(1000) for query in QUERIES)
        searcher.search(QUERIES[0])
        answer = {
            "clips": told.clips,
            "frames_per_clip": FRAMES,
            "bundle": bundle.name,
            "fingerprint": bundle.fingerprint,
            "process_first_after_indexing": first,
            "process": process,
            "open": opening,
            "search_new_sentence": spread(lambda: searcher.search(next(new_query)), told.repeats),
            "search_known_sentence": spread(lambda: searcher.search(QUERIES[1]), told.repeats),
            "rerank_kernel": kernel(told.repeats),
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "commit": commit(),
        }
    target = ROOT / "results" / "bench-search.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
