"""The recipe laff-flickr8k by the command line, three seeds, evaluated on the dev split.

FINECUT_SHARED=DIR python experiments/laff_flickr8k.py   # results/repro-laff-flickr8k.json
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import ROOT, Record

RECIPE = ROOT / "recipes" / "laff-flickr8k.toml"
SEEDS = (0, 1, 2)
FIGURES = ("r_at_1", "r_at_5", "r_at_10")


def finecut(*arguments: str) -> dict[str, Any]:
    """What a verb prints with --json."""
    command = [sys.executable, "-m", "finecut", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(seed: int, data: Path) -> dict[str, Any]:
    """Train and evaluate one seed; seconds are of the whole `finecut train`."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        begun, used = time.perf_counter(), _cpu()
        report = finecut("train", str(RECIPE), "--output", run, "--seed", str(seed))
        seconds, cpu = time.perf_counter() - begun, _cpu() - used
        found = finecut("evaluate", run, "--data", str(data), "--split", "dev", "--dsl", "--qbnorm")
    columns = {"": found, "dsl_": found["dsl"], "qbnorm_": found["qbnorm"]}
    values = {
        f"{prefix}{name}": column["t2v"][name]
        for prefix, column in columns.items()
        for name in FIGURES
    }
    back = {"v2t_r_at_1": found["v2t"]["r_at_1"]}
    took = {"train_s": seconds, "train_cpu_s": cpu, "best_epoch": report["best_epoch"]}
    return {**values, **back, **took}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Every seed."""
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    data = Path(shared) / "data" / "flickr8k_embeddings"
    record = Record("laff-flickr8k", "recipes/laff-flickr8k.toml on Flickr8k dev, by command line")
    for seed in SEEDS:
        record.run(f"recipe/laff-flickr8k/{seed}", lambda seed=seed: measured(seed, data))


if __name__ == "__main__":
    main()
