"""Putting videos into a bucket, and running the program on them as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finecut.storage import objects
from finecut.storage.location import Location


@dataclass(frozen=True)
class Ran:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def finecut(*arguments: object, **environment: str) -> Ran:
    """Run the real command line; fails the test where a secret of the environment is printed."""
    env = {**os.environ, "COLUMNS": "200", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "finecut", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
    )
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert not env.get(name) or env[name] not in done.stdout + done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def upload(folder: Path, url: str) -> None:
    """Put all files of a folder below a URL."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            objects.write_bytes(Location.parse(f"{url}/{name}"), path.read_bytes())


def paths_of(index: Path, status: str = "done") -> list[str]:
    """The paths of an index's videos."""
    from finecut.index.store import Index

    rows = [row for row in Index.open(index).videos if row.status == status]
    return sorted(path for row in rows for path in row.paths)
