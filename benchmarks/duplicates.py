"""How many copies of real clips are found, and what is taken for one that is none.

Copies of some clips are made (smaller, larger, another codec, fewer frames a second, trimmed at
the start, the end and both, with black bars, brighter) and mixed with all clips, none of which is
a copy of another; mirrored copies count as none too. Needs the shared clips, named by
FINECUT_SHARED. The settings were chosen on 28 clips that `sources` leaves out.

    python benchmarks/duplicates.py [--sources 10] [--work DIR] [--scale-videos 10000]

Writes results/bench-duplicates.json.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from PIL import Image

import record
from finecut import Bundle, Index
from finecut.index.build import build_index
from finecut.search import duplicates
from record import Entry

TICK = Fraction(1, 30000)
Shown = list[tuple[float, Image.Image]]  # seconds, picture


def decoded(path: Path) -> Shown:
    with av.open(str(path)) as container:
        frames = [f for f in container.decode(container.streams.video[0]) if f.time is not None]
        begin = frames[0].time or 0.0
        return [((frame.time or 0.0) - begin, frame.to_image()) for frame in frames]


def encode(path: Path, shown: Shown, crf: int, codec: str = "libx264") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        width, height = (side // 2 * 2 for side in shown[0][1].size)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TICK
        if codec == "libx264":
            stream.options = {"crf": str(crf), "preset": "veryfast"}
        else:
            stream.bit_rate = 400_000
        for seconds, picture in shown:
            frame = av.VideoFrame.from_image(picture.resize((width, height)))
            frame.pts, frame.time_base = round(seconds / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def scaled(shown: Shown, factor: float) -> Shown:
    return [(at, one.resize([max(16, int(s * factor)) for s in one.size])) for at, one in shown]


def cut(shown: Shown, first: float, last: float) -> Shown:
    """The part between two shares of the length, times from its start."""
    length = shown[-1][0]
    kept = [(at, one) for at, one in shown if first * length <= at <= last * length]
    return [(at - kept[0][0], one) for at, one in kept]


def thinned(shown: Shown, share: float) -> Shown:
    """Fewer frames a second, evenly."""
    wanted = np.arange(0, len(shown), 1 / share).astype(int)
    return [shown[place] for place in wanted]


def barred(shown: Shown) -> Shown:
    made = []
    for at, one in shown:
        bar = one.height // 6
        whole = Image.new("RGB", (one.width, one.height + 2 * bar))
        whole.paste(one, (0, bar))
        made.append((at, whole))
    return made


def brighter(shown: Shown) -> Shown:
    return [(at, one.point(lambda level: min(255, int(level * 1.15 + 8)))) for at, one in shown]


def mirrored(shown: Shown) -> Shown:
    flip = Image.Transpose.FLIP_LEFT_RIGHT
    return [(at, one.transpose(flip)) for at, one in shown]


KINDS: dict[str, Callable[[Path, Shown], None]] = {
    "half size": lambda path, shown: encode(path, scaled(shown, 0.5), 33),
    "1.6 times the size": lambda path, shown: encode(path, scaled(shown, 1.6), 26),
    "other codec": lambda path, shown: encode(path, shown, 0, "mpeg4"),
    "60 % of the frames": lambda path, shown: encode(path, thinned(shown, 0.6), 28),
    "start cut off": lambda path, shown: encode(path, cut(shown, 0.23, 1), 28),
    "end cut off": lambda path, shown: encode(path, cut(shown, 0, 0.65), 28),
    "both cut off": lambda path, shown: encode(path, cut(shown, 0.29, 0.85), 30),
    "black bars": lambda path, shown: encode(path, barred(shown), 28),
    "brighter": lambda path, shown: encode(path, brighter(shown), 28),
    "mirrored": lambda path, shown: encode(path, mirrored(shown), 28),
}


def sources(shared: Path, count: int) -> tuple[list[Path], list[Path]]:
    """Clips to copy, none of those the settings were chosen on, and all clips."""
    panda = sorted((shared / "panda70m_samples" / "clips").glob("*.mp4"))
    intel = sorted((shared / "intel_sample_videos" / "clips").iterdir())
    signs = [path for path in intel if path.name.startswith("asl")]
    scenes = [path for path in intel if not path.name.startswith("asl")]
    draw = random.Random(7)
    used = {*draw.sample(panda, 20), *draw.sample(signs, 4), *draw.sample(scenes, 4)}
    draw = random.Random(11)
    fresh = [[path for path in group if path not in used] for group in (panda, signs)]
    n_signs = max(1, count // 5)
    chosen = draw.sample(fresh[0], count - n_signs) + draw.sample(fresh[1], n_signs)
    return chosen, panda + intel


def make_copies(clips: list[Path], folder: Path) -> dict[str, tuple[str, str]]:
    """Copies by file name: whose, and what kind. Those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for clip in clips:
        shown: Shown = []
        for number, (kind, write) in enumerate(KINDS.items()):
            path = folder / f"{clip.stem}@{number}.mp4"
            made[path.name] = (clip.name, kind)
            if not path.exists():
                shown = shown or decoded(clip)
                part = folder / f".{path.name}"
                write(part.with_suffix(".part.mp4"), shown)
                part.with_suffix(".part.mp4").rename(path)
        print(clip.name, file=sys.stderr)
    return made


def judge(index: Index, copies: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Found and wrong pairs of videos, and what became of each copy."""
    names = {row.video_id: Path(row.paths[0]).name for row in index.videos if row.status == "done"}
    source = {name: copies.get(name, (name, ""))[0] for name in names.values()}
    mirrored = {name for name, (_, kind) in copies.items() if kind == "mirrored"}

    def true_pair(first: str, second: str) -> bool:
        return source[first] == source[second] and not {first, second} & mirrored

    claimed = {
        (names[pair.first], names[pair.second])
        for pair in duplicates.all_pairs(index)
        if pair.is_copy(duplicates.THRESHOLD, duplicates.SHARE)
    }
    n_true = sum(true_pair(*pair) for pair in itertools.combinations(names.values(), 2))
    right = sum(true_pair(*pair) for pair in claimed)
    wrong = [pair for pair in claimed if not true_pair(*pair)]
    with_original: dict[str, list[bool]] = defaultdict(list)
    for name, (clip, kind) in copies.items():
        hit = (name, clip) in claimed or (clip, name) in claimed
        with_original[kind].append(hit)
    found = [{names[video] for video in group.videos} for group in duplicates.groups(index)]
    grouped = [
        any({name, clip} <= group for group in found)
        for name, (clip, kind) in copies.items()
        if kind != "mirrored"
    ]
    return {
        "videos": len(names),
        "true_pairs": n_true,
        "claimed_pairs": len(claimed),
        "precision": round(right / max(1, len(claimed)), 4),
        "recall_of_all_pairs": round(right / max(1, n_true), 4),
        "copies": len(grouped),
        "copies_in_the_group_of_their_original": sum(grouped),
        "found_with_original_by_kind": {
            kind: f"{sum(hits)}/{len(hits)}" for kind, hits in with_original.items()
        },
        "wrong_pairs_mirrored": sum(bool({*pair} & mirrored) for pair in wrong),
        "wrong_pairs_of_different_clips": sum(not {*pair} & mirrored for pair in wrong),
        "groups_that_mix_clips": sum(len({source[name] for name in group}) > 1 for group in found),
    }


def scale(videos: int, size: int) -> dict[str, Any]:
    """Time to propose pairs among made-up clips, two a video: the part that is not linear."""
    rng = np.random.default_rng(0)
    clips = 2 * videos
    recall = rng.normal(size=(clips, size)).astype(np.float32)
    place = np.repeat(np.arange(videos, dtype=np.int32), 2)
    made_up: Any = SimpleNamespace(
        recall_matrix=lambda: recall, clips=SimpleNamespace(video=place, __len__=lambda: clips)
    )
    began, cpu = time.perf_counter(), time.process_time()
    duplicates.candidates(made_up, np.arange(clips))
    return {
        "videos": videos,
        "clips": clips,
        "recall_dim": size,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--sources", type=int, help="clips to make copies of")
    parser.add_argument("--work", type=Path, help="keep copies and index here for the next run")
    parser.add_argument("--scale-videos", type=int)
    arguments = parser.parse_args()
    started = time.time()
    arguments.sources = arguments.sources or (1 if arguments.quick else 10)
    arguments.scale_videos = arguments.scale_videos or (500 if arguments.quick else 10_000)
    shared = Path(os.environ["FINECUT_SHARED"]) / "data"
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        clips, everything = sources(shared, arguments.sources)
        copies = make_copies(clips, work / "copies")
        bundle = Bundle.load("starter")
        build_index([*everything, work / "copies"], work / "index", bundle)
        index = Index.open(work / "index")
        began, cpu = time.perf_counter(), time.process_time()
        duplicates.all_pairs(index)
        spent = time.perf_counter() - began, time.process_time() - cpu
        answer = {
            "about": "Copies of real clips among real clips; settings chosen on other clips.",
            "seed": 11,
            "sources": len(clips),
            **judge(index, copies),
            "clips_indexed": len(index.clips),
            "compare_seconds": round(spent[0], 1),
            "compare_cpu_seconds": round(spent[1], 1),
            "settings": {
                name: getattr(duplicates, name)
                for name in (
                    "ALIKE",
                    "AGREES",
                    "THRESHOLD",
                    "SHARE",
                    "MOTION",
                    "BRIEF_MOTION",
                    "BRIEF_S",
                    "EQUAL",
                )
            },
            "proposing": scale(arguments.scale_videos, bundle.manifest.video.recall_dim),
        }
    record.save("duplicates", entries(answer), answer, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    found, copies = figures["copies_in_the_group_of_their_original"], figures["copies"]
    return [
        Entry("copies found with their original", 100 * found / copies, "%", "higher"),
        Entry("pairs called copies that are", 100 * figures["precision"], "%", "higher"),
        Entry(
            f"proposing pairs among {figures['proposing']['clips']:,} clips, processor time",
            figures["proposing"]["cpu_seconds"], "s", "lower",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
