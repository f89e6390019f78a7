"""Reading videos for training: decoding them each time, against a cache of frames or of features.

Real clips ($FINECUT_SHARED), 12 frames of 224 x 224 pixels at the published sampling. The plain
reference decodes every frame and chooses afterwards; that the chosen frames are the same is
checked. Features are those of a tower of ViT-B/32's size with random weights. Times are CPU seconds
of one thread, medians of several rounds in which every kind takes its turn.

    FINECUT_SHARED=DIR python benchmarks/data_cache.py [--videos 107] [--towered 12] [--repeats 5]

Writes results/bench-data-cache.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

import record
from finecut.learn.data.cache import make_cache
from finecut.learn.data.frames import list_frames
from finecut.learn.data.open_split import open_split
from finecut.learn.data.video_pairs import VideoPairs
from finecut.learn.inputs.video import pixel_inputs
from finecut.learn.preprocess import CLIP_STD, crop_image
from finecut.learn.recipe import DataConfig, Recipe
from finecut.video.container import open_video
from finecut.video.pixels import FrameConverter
from finecut.video.probe import pixel_aspect
from finecut.video.spec import DecodeSpec
from record import Entry

BATCH = 8
GREY_LEVELS = 255 * sum(CLIP_STD) / 3  # of one unit of normalised pixels


def write_list(shared: Path, folder: Path, most: int) -> float:
    """Links to the clips and a train.jsonl; returns their megabytes."""
    found = sorted(shared.glob("data/panda70m_samples/**/*.mp4"))
    found += sorted(shared.glob("data/intel_sample_videos/**/*.mp4"))
    lines = []
    for path in found[:most]:
        (folder / path.name).symlink_to(path)
        lines.append({"video": path.name, "caption": path.stem})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return sum(path.stat().st_size for path in found[:most]) / 2**20


def decode_everything(data: VideoPairs, row: int) -> np.ndarray:
    """The reference: every frame decoded, the wanted ones resized."""
    footage, sampling = data.footage[row], data.sampling
    with open_video(footage.files[0]) as (container, stream):
        listed = list_frames(container, stream)
    numbers = sampling.numbers(listed.times, listed.fps)
    with open_video(footage.files[0]) as (container, stream):
        convert = FrameConverter(DecodeSpec(), pixel_aspect(stream))
        frames = []
        for number, frame in enumerate(container.decode(stream)):
            if number in numbers:
                width, height = map(round, convert.shown(frame))
                whole = Image.fromarray(convert.picture(frame, width, height))
                frames.append(crop_image(whole, data.needs.size))
    return np.stack(frames)


def in_batches(read: Callable[[list[int]], Any], count: int) -> Callable[[], None]:
    def run() -> None:
        for at in range(0, count, BATCH):
            read(list(range(at, min(at + BATCH, count))))

    return run


def measure(kinds: dict[str, Callable[[], None]], repeats: int, count: int) -> dict[str, Any]:
    """CPU milliseconds a video; every kind once in each round."""
    cpu: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, kind in kinds.items():
            used = time.process_time()
            kind()
            cpu[name].append((time.process_time() - used) / count * 1e3)
    return {
        name: {
            "median_cpu_ms_a_video": round(median(times), 2),
            "spread_cpu_ms": round(max(times) - min(times), 2),
        }
        for name, times in cpu.items()
    }


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--videos", type=int)
    parser.add_argument("--towered", type=int, help="videos for features")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    started = time.time()
    options.videos = options.videos or (4 if options.quick else 107)
    options.towered = options.towered or (1 if options.quick else 12)
    options.repeats = 1 if options.quick else options.repeats
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared clips")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        result = run(Path(shared), Path(place), options)
    record.save("data-cache", entries(result), result, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    base = figures["decoded_each_time"]["median_cpu_ms_a_video"]
    names = {
        "jpeg_95": "JPEG, quality 95",
        "jpeg_85": "JPEG, quality 85",
        "features_float16": "features, float16",
        "features_int8": "features, int8",
    }
    return [
        Entry(
            f"reading a video for training, {said}, processor time",
            figures[name]["median_cpu_ms_a_video"], "ms", "lower", None,
            "decoding it each time", base,
        )
        for name, said in names.items()
    ]  # fmt: skip


def run(shared: Path, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    sets = {"all": options.videos, "few": options.towered}
    megabytes = {}
    for name, most in sets.items():
        (place / name).mkdir()
        megabytes[name] = write_list(shared, place / name, most)
    recipe = Recipe("bench", "eercf", data=DataConfig(validation="val", test="none"))
    live = open_split(recipe, "train", root=place / "all")
    assert isinstance(live, VideoPairs)
    count = len(live.video_ids)
    kinds = {"decoded_each_time": in_batches(live.video_inputs, count)}
    kinds["every_frame_decoded"] = in_batches(
        lambda rows: pixel_inputs([decode_everything(live, row) for row in rows], live.needs), count
    )
    for row in range(count):
        if not np.array_equal(decode_everything(live, row), live.frames(row)):
            sys.exit(f"{live.video_ids[row]}: other frames than by decoding everything")
    caches: dict[str, dict[str, Any]] = {}
    every = live.video_inputs(list(range(count)))
    real = every["frame_mask"]
    wanted = every["pixels"][real]
    for quality in (95, 85):
        name = f"jpeg_{quality}"
        held = cache(recipe, place, "all", name, caches, jpeg_quality=quality)
        got = held.video_inputs(list(range(count)))["pixels"][real]
        error = float(((got - wanted) ** 2).mean().sqrt()) * GREY_LEVELS
        caches[name]["rms_error_grey_levels"] = round(error, 2)
        kinds[name] = in_batches(held.video_inputs, count)
    figures = measure(kinds, options.repeats, count)
    few: dict[str, Callable[[], None]] = {}
    for dtype in ("float16", "int8"):
        name = f"features_{dtype}"
        held = cache(recipe, place, "few", name, caches, features=True, dtype=dtype)
        few[name] = in_batches(held.video_inputs, len(held.video_ids))
    figures |= measure(few, options.repeats, options.towered)
    for name, facts in caches.items():
        figures[name] |= facts
    base = figures["decoded_each_time"]["median_cpu_ms_a_video"]
    for name in ("every_frame_decoded", "jpeg_95", "jpeg_85"):
        share = figures[name]["median_cpu_ms_a_video"] / base
        figures[name]["times_decoding_each_time"] = round(share, 2)
    return {
        "videos": {"count": count, "mib": round(megabytes["all"], 1),
                   "frames_a_video": round(float(real.sum()) / count, 2)},
        "features": {"videos": options.towered, "of": "frame [512] and 49 patches [512] a frame"},
        **figures,
        "torch_threads": torch.get_num_threads(),
    }  # fmt: skip


def cache(
    recipe: Recipe,
    place: Path,
    data: str,
    name: str,
    caches: dict[str, dict[str, Any]],
    **options: Any,
) -> Any:
    """A cache of one kind, opened; what it cost goes into ``caches``."""
    used, began = time.process_time(), time.perf_counter()
    report = make_cache(recipe, place / name, root=place / data, workers=1, **options)
    cpu = time.process_time() - used
    caches[name] = {
        "made_x_realtime_of_cpu": round(report.video_s / cpu, 1),
        "made_x_realtime_of_wall": round(report.video_s / (time.perf_counter() - began), 1),
        "mib_per_video_hour": round(report.bytes_per_video_hour / 2**20, 1),
        "video_s": round(report.video_s, 1),
    }
    kind = replace(recipe.data, kind="cache", cache=str(place / name))
    return open_split(replace(recipe, data=kind), "train", root=place / data)


if __name__ == "__main__":
    main()
