"""Bytes an index takes for an hour of video, and memory of indexing and of serving.

Real clips where FINECUT_SHARED is set (the Panda-70M samples), else videos made here. Indexing is
the real command; its memory is the proportional set of the process and all it starts, read twenty
times a second. Serving is a process that opens an index of made-up clips and answers 50 queries:
anonymous memory is what it needs, mapped files are the page cache's to give and take.

    python benchmarks/memory.py [--clips 100000,1000000] [--quick]

Writes results/bench-memory.json and results/plots/bench-memory.svg.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np

import made_index
import record
from finecut import Bundle, Index
from record import Entry

LEVELS = ("video", "frame", "patch")
ANSWER = """
import json, sys
from finecut import Searcher
searcher = Searcher.open(sys.argv[1])
for number in range(50):
    searcher.search(f"a dog on a beach {number}")
found = {}
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in ("VmHWM", "RssAnon", "RssFile"):
        found[name] = int(value.split()[0]) / 1024
print(json.dumps(found))
"""


def videos(folder: Path, quick: bool) -> tuple[Path, str]:
    """A folder of videos, and what they are."""
    shared = os.environ.get("FINECUT_SHARED")
    real = Path(shared, "data", "panda70m_samples") if shared else None
    if not quick and real is not None and real.is_dir():
        return real, "real clips of the web (panda70m_samples)"
    rng = np.random.default_rng(0)
    for number in range(2 if quick else 20):
        with av.open(str(folder / f"made-{number}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            scenes = rng.integers(0, 256, (4, 45, 80, 3), dtype=np.uint8)
            for frame in range(200):
                rough = np.roll(scenes[frame // 50], frame, axis=1)
                picture = rough.repeat(8, axis=0).repeat(8, axis=1)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    out.mux(packet)
            for packet in stream.encode():
                out.mux(packet)
    return folder, "made videos, 640 x 360"


def family(pid: int) -> list[int]:
    """A process and all it started."""
    found, new = [pid], [pid]
    while new:
        started = []
        for one in new:
            for task in Path(f"/proc/{one}/task").glob("*/children"):
                started += [int(word) for word in task.read_text().split()]
        found += started
        new = started
    return found


def proportional_mib(pid: int) -> float:
    total = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def index_with_peak(folder: Path, place: Path, levels: str) -> float:
    """Index a folder with the real command; the most memory it took, MiB."""
    command = [sys.executable, "-m", "finecut", "index", str(folder), "--index", str(place)]
    process = subprocess.Popen(
        [*command, "--levels", levels, "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    most = 0.0
    while process.poll() is None:
        with suppress(OSError):  # one of them ended between two reads
            most = max(most, proportional_mib(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return most


def serving(clips: int, levels: str) -> dict[str, float]:
    index = made_index.made_index(Bundle.load("starter"), clips, levels)
    run = [sys.executable, "-c", ANSWER, str(index)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--clips", default="", help="sizes to serve: 100000,1000000")
    told = parser.parse_args()
    started = time.time()
    sizes = [int(n) for n in told.clips.split(",") if n]
    # A million with patches would be 24 GB: those are served at the level of videos.
    served = [(n, "patch" if n <= 100_000 else "video") for n in sizes]
    served = served or ([(500, "patch")] if told.quick else
                        [(100_000, "patch"), (1_000_000, "video")])  # fmt: skip
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        made = Path(work) / "videos"
        made.mkdir()
        folder, what = videos(made, told.quick)
        for levels in LEVELS:
            place = Path(work) / f"{levels}.index"
            peak = index_with_peak(folder, place, levels)
            stats = Index.open(place).stats()
            hours = stats.video_s / 3600
            own_bytes = sum(path.stat().st_size for path in folder.rglob("*.mp4"))
            rows[levels] = {
                "peak_mib": peak,
                "mb_per_hour": stats.bytes_per_video_hour / 1e6,
                "cache_mb_per_hour": stats.cache_bytes / 1e6 / hours,
                "videos_mb_per_hour": own_bytes / 1e6 / hours,
                "clips_per_hour": stats.n_clips / hours,
                "frames_per_clip": stats.n_frames / stats.n_clips,
                "kib_per_clip": stats.bytes_per_video_hour * hours / stats.n_clips / 1024,
            }
    served_mib = {f"{n} {levels}": serving(n, levels) for n, levels in served}
    entries = [
        Entry(
            f"index, level {levels}", row["mb_per_hour"], "MB per hour of video", "lower", None,
            "the videos themselves", row["videos_mb_per_hour"],
        )
        for levels, row in rows.items()
    ]  # fmt: skip
    entries += [
        Entry(f"peak memory of indexing, level {levels}", row["peak_mib"], "MiB", "lower")
        for levels, row in rows.items()
    ]
    entries += [
        Entry(
            f"serving {n:,} clips, level {levels}, anonymous memory",
            served_mib[f"{n} {levels}"]["RssAnon"], "MiB", "lower", None,
            "with the mapped files in memory, at most", served_mib[f"{n} {levels}"]["VmHWM"],
        )
        for n, levels in served
    ]  # fmt: skip
    figures = {
        "videos": what,
        "levels": rows,
        "serving_mib": served_mib,
    }
    record.save("memory", entries, figures, started)

    def draw(axes: Any) -> None:
        names = list(rows)
        below = [rows[name]["mb_per_hour"] for name in names]
        above = [rows[name]["cache_mb_per_hour"] for name in names]
        axes.bar(names, below, label="tables")
        axes.bar(names, above, bottom=below, label="cache, can be deleted")
        axes.set(xlabel="level", ylabel="MB per hour of video")
        axes.legend()

    record.plot("memory", draw)


if __name__ == "__main__":
    main()
