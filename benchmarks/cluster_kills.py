"""Runs of `finecut index --cluster` under kill -9 of workers and loss of nodes: is all there, once?

Small generated videos, four Ray nodes of one CPU on this machine. During every run workers are
killed and nodes removed at random instants; half of the lost nodes come back. Afterwards the index
is compared, row for row, with the one the local pipeline makes of the same folder.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record

sys.path.insert(0, str(record.ROOT / "tests"))

from cluster.contents import assert_same_index
from cluster.ray_nodes import RayNodes
from color_bundle import make_color_bundle
from index.clips import RGB, write_video

N_VIDEOS = 30
N_NODES = 4
NODE_SHARE = 0.3  # of what is killed; the rest are worker processes
PAUSE_S = (0.3, 4.0)  # between kills
MOST_KILLS = 4  # in one run
LIMIT_S = 300.0  # for one run


def make_library(folder: Path) -> Path:
    """Videos of one to three clips, and two that cannot be read."""
    names = list(RGB)
    for number in range(N_VIDEOS):
        colors = [names[(number + turn) % 6] for turn in range(1 + number % 3)]
        write_video(folder / f"{number:02d}.mp4", colors, seconds=4, seed=number)
    (folder / "broken.mp4").write_bytes(b"no video at all " * 100)
    (folder / "cut off.mp4").write_bytes((folder / "03.mp4").read_bytes()[:900])
    return folder


def command(folder: Path, index: Path, bundle: Path, *more: str) -> list[str]:
    plain = [sys.executable, "-m", "finecut.cli.main", "index", str(folder), "--json"]
    return [*plain, "--index", str(index), "--bundle", str(bundle), *more]


def one_run(
    nodes: RayNodes, folder: Path, expected: Path, bundle: Path, index: Path, chance: random.Random
) -> dict[str, Any]:
    """Index once while things die; what died, and what came of it."""
    started = time.monotonic()
    process = subprocess.Popen(
        command(folder, index, bundle, "--cluster", nodes.address),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers = lost_nodes = 0
    try:
        nodes.wait_for_work()
        while process.poll() is None and workers + lost_nodes < MOST_KILLS:
            time.sleep(chance.uniform(*PAUSE_S))
            if process.poll() is not None:
                break
            if chance.random() < NODE_SHARE:
                if nodes.kill_node(chance):
                    lost_nodes += 1
                    if chance.random() < 0.5:
                        nodes.add()
            else:
                workers += nodes.kill_worker(chance)
        _, said = process.communicate(timeout=LIMIT_S)
    except (subprocess.TimeoutExpired, AssertionError) as error:
        process.kill()
        _, said = process.communicate()
        said = f"{type(error).__name__}: {error} {said}"
    try:
        assert_same_index(expected, index)
        wrong = ""
    except Exception as error:
        wrong = f"{type(error).__name__}: {error} {said}"[:500]
    return {
        "workers_killed": workers,
        "nodes_killed": lost_nodes,
        "exit": process.returncode,
        "seconds": time.monotonic() - started,
        "wrong": wrong,
    }


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.time()
    n_runs = 2 if asked.quick else asked.runs
    runs = []
    with tempfile.TemporaryDirectory() as temporary, RayNodes(workers=N_NODES) as nodes:
        place = Path(temporary)
        folder = make_library(place / "videos")
        bundle = make_color_bundle(place / "colors")
        expected = place / "expected"
        subprocess.run(command(folder, expected, bundle), check=False, capture_output=True)
        for number in range(n_runs):
            chance = random.Random(asked.seed * 1000 + number)
            nodes.fill(N_NODES)
            run = one_run(nodes, folder, expected, bundle, place / f"index-{number}", chance)
            runs.append(run)
            print(f"run {number + 1} of {n_runs}: {run}", file=sys.stderr)
    good = sum(not run["wrong"] for run in runs)
    killed = sum(run["workers_killed"] + run["nodes_killed"] for run in runs)
    entries = [
        record.Entry(
            "runs after which every readable video is there exactly once",
            float(good),
            "runs",
            "higher",
            target=float(n_runs),
            limit_or_rival="runs",
            limit_value=float(n_runs),
        ),
        record.Entry("workers and nodes killed", float(killed), "kills", "higher"),
    ]
    figures = {"videos": N_VIDEOS + 2, "nodes": N_NODES, "seed": asked.seed, "runs": runs}
    record.save("cluster-kills", entries, figures=figures, started=started)
    if good < n_runs:
        sys.exit(1)


if __name__ == "__main__":
    main()
