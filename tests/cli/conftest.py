"""The real program, run as a process, on a small library of colour videos."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from color_bundle import make_color_bundle
from index.clips import write_video


@dataclass(frozen=True)
class Ran:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        lines = self.out.splitlines()
        assert len(lines) == 1, f"one JSON object on stdout, got {self.out!r}"
        return json.loads(lines[0])


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs `finecut` with the arguments given; env= and cwd= as for a process."""

    def finecut(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None):
        done = subprocess.run(
            [sys.executable, "-m", "finecut.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "100", **(env or {})},
            timeout=300,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return finecut


@pytest.fixture(scope="session")
def call() -> Run:
    """As ``run``, within this process: a tenth of the time, for the many small cases."""
    from finecut.cli.main import main

    def finecut(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None):
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in {"COLUMNS": "100", **(env or {})}.items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            with pytest.raises(SystemExit) as left:
                main(list(map(str, arguments)))
        return Ran(int(left.value.code or 0), out.getvalue(), err.getvalue())

    return finecut


@dataclass(frozen=True)
class Library:
    """Colour videos, and the index the program made of them."""

    videos: Path
    index: Path
    bundle: Path
    built: Ran


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Library:
    root = tmp_path_factory.mktemp("cli")
    bundle = make_color_bundle(root / "colors")
    videos = root / "videos"
    write_video(videos / "red.mp4", ["red"], seconds=3, seed=1)
    write_video(videos / "blue-then-green.mp4", ["blue", "green"], seconds=4, seed=2)
    write_video(videos / "holiday" / "yellow.mp4", ["yellow"], seconds=3, seed=3)
    (videos / "broken.mp4").write_text("this is no video")
    index = root / "index"
    built = run("index", videos, "--index", index, "--bundle", bundle, "--json")
    return Library(videos, index, bundle, built)
