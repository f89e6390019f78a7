"""Indexing on a Ray cluster of 1, 2 and 4 workers of each stage, against the local pipeline.

All of it runs on this machine, so beyond as many workers as it has cores nothing can be gained: the
question is what the cluster costs. The start of Ray's workers (a process and a bundle each) is
measured by a library of one small video and stated apart, since it is paid once a run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import record
import videos

sys.path.insert(0, str(record.ROOT / "tests"))

from cluster.ray_nodes import RayNodes

FINECUT = (sys.executable, "-m", "finecut.cli.main", "index")
WORKERS = (1, 2, 4)
KIND = videos.Kind(1280, 720, 2)


def index(folder: Path, place: Path, *more: str) -> float:
    """Seconds that the program says a run took, into a new index."""
    shutil.rmtree(place, ignore_errors=True)
    done = subprocess.run(
        [*FINECUT, str(folder), "--json", "--index", str(place), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout)["elapsed_s"])


def main() -> None:
    asked = record.arguments(__doc__).parse_args()
    started = time.time()
    rounds, count, seconds = (1, 6, 20.0) if asked.quick else (2, 16, 32.0)
    local: list[float] = []
    taken: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    starts: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (source,) = videos.film("mixed", [KIND], seconds)
        (place / "videos").mkdir()
        videos.pieces(source, place / "videos", count)
        (place / "one").mkdir()
        (tiny,) = videos.film("mixed", [videos.Kind(320, 180, 2)], 2.0)
        shutil.copy(tiny, place / "one")
        for _ in range(rounds):
            local.append(index(place / "videos", place / "index"))
            for workers in WORKERS:
                with RayNodes(workers=1, cpus=workers) as nodes:
                    far = ("--cluster", nodes.address)
                    starts[workers].append(index(place / "one", place / "index", *far))
                    taken[workers].append(index(place / "videos", place / "index", *far))
    entries = [
        record.Entry(
            "videos indexed by the local pipeline",
            count / median(local),
            "videos/s",
            "higher",
            spread=(count / max(local), count / min(local)),
        )
    ]
    for workers in WORKERS:
        several = median(taken[workers])
        work = [
            max(whole - start, 1e-3)
            for whole, start in zip(taken[workers], starts[workers], strict=True)
        ]
        entries += [
            record.Entry(
                f"videos indexed by a cluster, {workers} workers of each stage",
                count / several,
                "videos/s",
                "higher",
                limit_or_rival="the local pipeline",
                limit_value=count / median(local),
                spread=(count / max(taken[workers]), count / min(taken[workers])),
            ),
            record.Entry(
                f"the same without the start of the workers, {workers}",
                count / median(work),
                "videos/s",
                "higher",
                limit_or_rival="the local pipeline",
                limit_value=count / median(local),
                spread=(count / max(work), count / min(work)),
            ),
        ]
    figures = {
        "videos": count,
        "seconds_each": seconds,
        "kind": [KIND.width, KIND.height, KIND.keys_s],
        "local_s": local,
        "cluster_s": taken,
        "start_s": starts,
    }
    record.save("cluster", entries, figures=figures, started=started)


if __name__ == "__main__":
    main()
