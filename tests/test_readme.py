"""The README and the tutorial are run: each command, each line of Python, against the demo library.

A ```console block holds commands (``$ …``) and what they print, on stdout and stderr together; a
```python block is followed by a ```text block with what it prints. Numbers may vary, words may not.
``FINECUT_WRITE_DOCS=1`` writes what was printed into the files instead of comparing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/tutorial.md")
BLOCK = re.compile(r"```(console|python|text)\n(.*?)```", re.DOTALL)

# Commands that install, never end, need a network or a library of the reader's own.
NOT_RUN = ("pip ", "make ", "git ", "finecut serve", "finecut bundle pull", "FINECUT_TOKEN")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("skimage", "sklearn", "skvideo")),
        reason='the extra "demo" is not installed',
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's videos in `library/`, as the pages suppose."""
    from finecut.demo.library import make_library

    root = tmp_path_factory.mktemp("readme")
    make_library(root / "library", lambda _: None)
    return root


def shell(command: str, place: Path, index: Path) -> str:
    """What a command prints, both streams as they come."""
    program = f"{sys.executable} -m finecut.cli.main"
    done = subprocess.run(
        re.sub(r"\bfinecut(?= )", program, command, count=1),
        shell=True,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FINECUT_INDEX": str(index), "COLUMNS": "100"},
        timeout=300,
    )
    return done.stdout


def python(code: str, place: Path, index: Path) -> str:
    """What a block of Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "FINECUT_INDEX": str(index)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shape(text: str) -> list[str]:
    """The lines of an output without what may vary: numbers and the room they take."""
    lines = []
    for line in text.strip().splitlines():
        if not line.startswith("indexing: "):  # progress comes as often as the machine is slow
            lines.append(re.sub(r"\s+", " ", re.sub(r"\d+(?:[.:]\d+)*", "#", line)).strip())
    return lines


def run_page(text: str, place: Path, index: Path) -> str:
    """The page with every output as it is now."""
    ran_python: str | None = None

    def fill(match: re.Match[str]) -> str:
        nonlocal ran_python
        kind, body = match[1], match[2]
        if kind == "python":
            ran_python = python(body, place, index)
        elif kind == "text" and ran_python is not None:
            body, ran_python = ran_python.rstrip("\n") + "\n", None
        elif kind == "console":
            body = console(body, place, index)
        return f"```{kind}\n{body}```"

    return BLOCK.sub(fill, text)


def console(body: str, place: Path, index: Path) -> str:
    parts = re.split(r"^(?=\$ )", body, flags=re.MULTILINE)
    printed = []
    for part in parts:
        command = part.removeprefix("$ ").splitlines()[0] if part.strip() else ""
        if not command or command.startswith(NOT_RUN):
            printed.append(part)
        else:
            printed.append(f"$ {command}\n" + shell(command, place, index))
    return "".join(printed)


@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_happens(page: str, place: Path, tmp_path: Path):
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    now = run_page(text, place, tmp_path / "index")
    if os.environ.get("FINECUT_WRITE_DOCS"):
        path.write_text(now, encoding="utf-8")
        return
    assert text.count("```console") >= 1
    assert shape(now) == shape(text)


def test_images_of_the_pages_are_there():
    for page in PAGES:
        path = ROOT / page
        for image in re.findall(r"!\[[^]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / image).is_file(), f"{page} shows {image}"
