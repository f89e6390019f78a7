"""How many times faster than they play videos are indexed, end to end, by the real command.

The videos are those of benchmarks/videos.py, cut into files that begin at different key frames.
Each figure stands beside what the machine would give if both cores did nothing but read, decode
and resize the frames that are wanted and encode them, each measured alone, on one core, in the same
run: the rest is what waiting, writing and starting cost. That the stored times are true is checked
against decoding every frame.

    python benchmarks/index.py [--quick]

Writes results/bench-index.json and results/plots/bench-index.svg.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import record
import videos
from finecut.bundle.load import Bundle
from finecut.bundle.place import STARTER
from finecut.index.store import Index
from finecut.video.container import open_video
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec
from record import Entry
from videos import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS, ROUNDS = 32, 3
FILES = 24  # of SECONDS each: enough for two seconds of starting to weigh little
BUNDLES = record.ROOT / "build" / "bench-bundles"
B32 = "ViT-B/32 int8"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    what: str
    kind: Kind
    target: float | None
    bundle: str = STARTER
    files: int = FILES
    device: str | None = None  # of `finecut index --device`


CASES = (
    Case("starter, 720p, keys 2 s", "mixed", Kind(), 80, files=2 * FILES),
    Case(
        "starter by OpenVINO bf16, 720p, keys 2 s",
        "mixed",
        Kind(),
        80,
        files=2 * FILES,
        device="openvino",
    ),
    Case("starter, 720p, keys 10 s", "mixed", Kind(keys_s=10), 20),
    Case(f"{B32}, 720p, keys 2 s", "mixed", Kind(), 50, B32),
    Case("starter, 720p, keys 2 s, everything moves", "moving", Kind(), None),
    Case("starter, 1080p, keys 2 s", "mixed", Kind(1920, 1080), 40),
)


def vit_b32() -> Path:
    """A bundle of a ViT-B/32 with random weights, int8 per channel, by the product's own export."""
    folder = BUNDLES / "vit-b32-int8"
    if not (folder / "manifest.json").exists():
        import torch

        from finecut.learn.encoders.clip import CLIP, ClipConfig
        from finecut.learn.export import export
        from finecut.learn.methods.zero_shot import ZeroShot

        torch.manual_seed(0)
        folder.parent.mkdir(parents=True, exist_ok=True)
        export(ZeroShot(CLIP(ClipConfig()).eval()), folder, "int8", replace=True)
    return folder


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command."""

    clock_s: float
    cpu_s: float  # of the process and its decoders
    report: dict[str, Any]


def run(library: Path, bundle: str, device: str | None) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        command = [sys.executable, "-m", "finecut", "index", str(library), "--index", str(index)]
        command += ["--device", device] if device else []
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [*command, "--bundle", bundle, "--json"], check=True, capture_output=True, text=True
        )
        clock_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        check_times(index)
        report = json.loads(done.stdout)
        if report["n_new"] != len(list(library.iterdir())):
            raise SystemExit(f"of {library} not every file was indexed: {report}")
        return Run(clock_s, cpu_s, report)


def check_times(directory: Path) -> None:
    """End the benchmark where a stored time is not that of a frame of the first video."""
    index = Index.open(directory)
    path = index.videos[0].paths[0]
    with open_video(path) as (container, stream):
        shown = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    true = np.array(shown) - min(shown)
    rows = [row for row, video in enumerate(index.clips.video) if video == 0]
    stored = np.concatenate([index.strip(row).times for row in rows])
    if np.abs(true[:, None] - stored).min(0).max() > 1e-6:
        raise SystemExit(f"{path}: a stored time is not the time of a frame")


def decode_alone(path: Path, spec: DecodeSpec) -> list[np.ndarray]:
    return [clip.frames for clip in decode_clips(path, spec)]


def parts(path: Path, bundle: Bundle, rounds: int) -> tuple[float, float]:
    """Seconds of one core to decode one file, and to encode what comes out, each alone."""
    spec = DecodeSpec.from_manifest(bundle.manifest)
    clips = decode_alone(path, spec)
    taken = record.by_turns(
        {
            "decode": partial(decode_alone, path, spec),
            "encode": partial(bundle.encode_clips, clips),
        },
        rounds,
    )
    return taken["decode"].cpu_s, taken["encode"].cpu_s


def measure(case: Case, files: int, seconds: float, rounds: int) -> tuple[Entry, dict[str, Any]]:
    (source,) = videos.film(case.what, [case.kind], seconds)
    reference = str(vit_b32()) if case.bundle == B32 else case.bundle
    providers = [case.device] if case.device else None
    bundle = Bundle.load(reference, providers=providers).with_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = videos.pieces(source, Path(folder), files)
        runs, decode_s, encode_s = [], [], []
        for _ in range(rounds):
            alone = parts(paths[0], bundle, 1)
            decode_s.append(alone[0])
            encode_s.append(alone[1])
            runs.append(run(Path(folder), reference, case.device))
    speeds = sorted(each.report["video_s"] / each.clock_s for each in runs)
    cores = os.cpu_count() or 1
    sum_s = median(decode_s) + median(encode_s)
    last = runs[-1]
    total_s = last.report["video_s"]
    figures = {
        "files": files,
        "seconds_of_video": total_s,
        "megabits_per_s": source.stat().st_size * 8e-6 / seconds,
        "frames": last.report["n_frames"],
        "decode_alone_ms_per_s": 1000 * median(decode_s) / seconds,
        "encode_alone_ms_per_s": 1000 * median(encode_s) / seconds,
        "cpu_ms_per_s": 1000 * median(each.cpu_s for each in runs) / total_s,
        "cores_busy": median(each.cpu_s / each.clock_s for each in runs),
        "x_by_cpu": cores * total_s / median(each.cpu_s for each in runs),
        "x_without_starting_python": last.report["x_realtime"],
        "stages_ms_per_s": {
            name: 1000 * value / total_s for name, value in last.report["stages_s"].items()
        },
    }
    entry = Entry(
        case.name,
        median(speeds),
        "x real time",
        "higher",
        case.target,
        f"decoding and encoding alone, divided by {cores} cores",
        cores * seconds / sum_s,
        (speeds[0], speeds[-1]),
    )
    if entry.target_met is False:
        entry = noted(entry, figures)
    return entry, figures


def noted(entry: Entry, figures: dict[str, Any]) -> Entry:
    """The entry with where the time goes."""
    note = (
        f"Of {figures['cpu_ms_per_s']:.1f} ms of processor for a second of video, decoding and "
        f"resizing alone take {figures['decode_alone_ms_per_s']:.1f} and encoding "
        f"{figures['encode_alone_ms_per_s']:.1f}; {figures['cores_busy']:.2f} cores were busy."
    )
    return Entry(
        entry.name,
        entry.value,
        entry.unit,
        entry.better,
        entry.target,
        entry.limit_or_rival,
        entry.limit_value,
        entry.spread,
        note,
    )


def main() -> None:
    options = record.arguments(__doc__).parse_args()
    started = time.time()
    seconds, rounds = (8.0, 1) if options.quick else (float(SECONDS), ROUNDS)
    # Those of the same pictures are filmed at once.
    videos.film("mixed", [Kind(), Kind(keys_s=10)], seconds)
    entries, figures = [], {"mixed": videos.SHARES}
    for case in CASES:
        files = 2 if options.quick else case.files
        entry, figures[case.name] = measure(case, files, seconds, rounds)
        entries.append(entry)
        print(record.line_of(entry), file=sys.stderr)
    record.save("index", entries, figures, started)
    record.plot("index", lambda axes: draw(axes, entries))


def draw(axes: Axes, entries: Sequence[Entry]) -> None:
    """A bar a case, its limit behind it and its target as a line."""
    for row, entry in enumerate(entries):
        axes.barh(row, entry.limit_value or 0, 0.7, color="0.85")
        axes.barh(row, entry.value, 0.4, color="C0")
        if entry.target is not None:
            axes.plot([entry.target] * 2, [row - 0.4, row + 0.4], color="C3")
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("x real time (grey: decoding and encoding alone; red: target)")


if __name__ == "__main__":
    main()
