"""The program the kill tests kill: index a folder, and say on stdout what is reported done."""

from __future__ import annotations

import sys

from finecut.bundle.load import Bundle
from finecut.index import run
from finecut.index.build import build_index


def main() -> None:
    folder, index_dir, bundle_dir = sys.argv[1:4]
    run.COMMIT_S = 0.0  # as many instants between commits as can be
    bundle = Bundle.load(bundle_dir, threads=1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    def on_event(event) -> None:
        if event.kind in ("start", "done"):
            sys.stdout.write(f"{event.kind} {event.path}\n")
            sys.stdout.flush()

    report = build_index([folder], index_dir, bundle, workers=1, on_event=on_event)
    sys.stdout.write(f"end {report.n_new} {report.n_failed}\n")


if __name__ == "__main__":
    main()
