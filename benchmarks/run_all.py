"""Every benchmark, one after the other, each a process of its own; then the tables.

    python benchmarks/run_all.py [--group speed|quality|cluster] [--quick] [--only query,ann]

What fails is named at the end and the rest is run all the same; exit code 1. Those that need real
data are left out, and named, where FINECUT_SHARED does not say where it is. ``quality`` measures
how good answers are, not how fast: its figures do not hang on the machine. ``cluster`` measures
replicas and Ray on this one machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import made_index
import record

HERE = Path(__file__).resolve().parent
GROUPS = {
    "speed": (
        "decode", "index", "encode", "ann", "rerank", "query", "http_load", "memory",
        "train_step", "evaluate", "eercf_stage2", "data_cache", "peers",
    ),
    "quality": ("normalisation", "laff_fusion", "duplicates", "patch_tokens"),
    "cluster": ("replicas", "cluster", "cluster_kills", "scale"),
}  # fmt: skip
NEED_DATA = ("data_cache", "normalisation", "laff_fusion", "duplicates")


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--only", default="", help="names, with commas between")
    parser.add_argument("--group", choices=GROUPS, default="speed")
    parser.add_argument("--keep", action="store_true", help="indexes made by an earlier run")
    told = parser.parse_args()
    names = tuple(told.only.split(",")) if told.only else GROUPS[told.group]
    if told.only and (unknown := [name for name in names if not (HERE / f"{name}.py").exists()]):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    if not told.keep:
        shutil.rmtree(made_index.build_folder(), ignore_errors=True)
    left_out = [
        name for name in names if name in NEED_DATA and not os.environ.get("FINECUT_SHARED")
    ]
    failed = []
    begun = time.perf_counter()
    for name in names:
        if name in left_out or not (HERE / f"{name}.py").exists():
            continue
        command = [
            sys.executable,
            str(HERE / f"{name}.py"),
            *([record.QUICK] if told.quick else []),
        ]
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"   {time.perf_counter() - started:.0f} s", flush=True)
    print(f"== {(time.perf_counter() - begun) / 60:.1f} minutes")
    if not told.quick:
        subprocess.run([sys.executable, str(HERE / "table.py")], check=True)
        subprocess.run([sys.executable, str(HERE / "plan.py")], check=True)
    if left_out:
        print(f"left out, FINECUT_SHARED is not set: {', '.join(left_out)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
