"""On a terminal: a bar while indexing, links in results, and nothing a file name could steer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Library
from finecut.cli.show import plain
from index.clips import write_video

pty = pytest.importorskip("pty", reason="no pseudo terminals on this system")


def on_terminal(*arguments: object) -> tuple[int, str]:
    """The exit code of `finecut` and all it wrote to a terminal."""
    terminal, far_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "finecut", *map(str, arguments)],
        stdin=far_end,
        stdout=far_end,
        stderr=far_end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(far_end)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        written += part
    os.close(terminal)
    return process.wait(timeout=60), written.decode()


def test_indexing_shows_a_bar(library: Library, tmp_path: Path):
    name = "[red] \x1b[31m.mp4"  # markup and controls that must stay text
    write_video(tmp_path / "v" / "x.mp4", ["red"], seed=5).rename(tmp_path / "v" / name)
    index = tmp_path / "index"
    code, shown = on_terminal("index", tmp_path / "v", "--index", index, "--bundle", library.bundle)
    assert code == 0, shown
    assert "1/1 files" in shown
    assert "1 files: 1 new" in shown


def test_results_are_links(library: Library):
    code, shown = on_terminal("search", "a red screen", "--index", library.index, "-k", 1)
    assert code == 0, shown
    assert f"\x1b]8;;{(library.videos / 'red.mp4').as_uri()}\x1b\\" in shown


def test_controls_are_spelled_out():
    assert (
        plain("a\x1b]0;owned\x07\r\x9b\u202eb\tc\n") == "a\\x1b]0;owned\\x07\\r\\x9b\\u202eb\tc\n"
    )
