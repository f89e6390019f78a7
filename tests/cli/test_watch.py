"""`finecut watch` as the process people run: events on stdout, ended by a signal."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run
from color_bundle import make_color_bundle
from index.clips import write_video

LONG_S = 120.0


class Watching:
    """The process, and the events it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def until(self, event: str, path: Path | None = None) -> dict[str, Any]:
        while True:
            plain = json.loads(self.lines.get(timeout=LONG_S))
            if plain["event"] == event and path in (None, Path(plain.get("path", ""))):
                return plain

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.until("stopped")
        return self.process.wait(LONG_S)


@contextmanager
def watching(*arguments: object) -> Iterator[Watching]:
    command = [sys.executable, "-m", "finecut", "watch", *map(str, arguments), "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    try:
        yield Watching(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.name == "nt", reason="signals end processes otherwise there")
def test_watch_search_stop_and_go_on(tmp_path: Path, run: Run):
    bundle = make_color_bundle(tmp_path / "colors")
    videos, index = tmp_path / "videos", tmp_path / "index"
    write_video(videos / "red.mp4", ["red"], seed=1)
    places = (videos, "--index", index, "--bundle", bundle)
    pace = ("--settle", 0.3, "--grace", 0.3, "--workers", 1)
    with watching(*places, *pace) as watched:
        told = watched.until("watching")
        assert told["path"] == str(videos) and told["message"] == "by notices" and "at" in told
        watched.until("done", videos / "red.mp4")
        blue = Path(
            shutil.move(write_video(tmp_path / "x.mp4", ["blue"], seed=2), videos / "blü e.mp4")
        )
        watched.until("done", blue)
        assert watched.until("changed")["n_new"] == 1
        found = run("search", "blue", "--index", index, "-k", 1, "--json").json
        assert found["results"][0]["video"] == str(blue)
        assert watched.end(signal.SIGTERM) == 0

    blue.rename(videos / "azure.mp4")
    (videos / "red.mp4").unlink()
    with watching(*places, *pace, "--poll", 0.3) as watched:
        assert watched.until("watching")["message"] == "every 0.3 s"
        n_removed = n_moved = 0
        while not n_removed:
            report = watched.until("changed")
            assert report["n_new"] == report["n_frames"] == 0
            n_removed += report["n_removed"]
            n_moved += report["n_moved"] + report["n_duplicates"]
        assert n_moved == 1
        # A run by hand and a watch share the index.
        write_video(tmp_path / "green" / "green.mp4", ["green"], seed=3)
        assert run("index", tmp_path / "green", "--index", index).code == 0
        assert watched.end(signal.SIGINT) == 0
    listed = run("ls", "--index", index, "--json").json
    assert {Path(path).name for row in listed["videos"] for path in row["paths"]} == {
        "azure.mp4",
        "green.mp4",
    }


def test_wrong_use(call: Run, tmp_path: Path):
    bundle = make_color_bundle(tmp_path / "colors")
    given = ("--index", tmp_path / "index", "--bundle", bundle)
    gone = call("watch", tmp_path / "none", *given)
    assert gone.code == 2 and "neither a folder nor a file" in gone.err
    poll = call("watch", tmp_path, *given, "--poll", 0)
    assert poll.code == 2 and "at least 0.1 seconds" in poll.err
