"""``python -m finecut.learn.starter [build | measure]``: rebuild or measure the starter bundle."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from finecut.bundle.place import starter_dir
from finecut.errors import FinecutError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m finecut.learn.starter", description=__doc__)
    parser.add_argument("task", nargs="?", choices=("build", "measure"), default="build")
    parser.add_argument("--out", type=Path, default=starter_dir(), help="the bundle's folder")
    parser.add_argument("--results", type=Path, help="a JSON file the figures are written to")
    parser.add_argument("--threads", type=int, default=1, help="of torch; 1 is the same each time")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        figures = _run(asked)
    except FinecutError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    from finecut.learn.starter.measure import as_table

    sys.stdout.write(as_table(figures) + "\n")
    if asked.results:
        asked.results.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _run(asked: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(asked.threads)
    if asked.task == "measure":
        from finecut.learn.starter.measure import measure

        return measure(asked.out)
    from finecut.learn.starter.build import build_starter

    return build_starter(asked.out, asked.seed)


if __name__ == "__main__":
    sys.exit(main())
