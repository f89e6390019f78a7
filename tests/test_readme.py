"""The README and the tutorial are run: each command, each line of Python, against the demo library.

A ```console block holds commands (``$ …``) and what they print, on stdout and stderr together; a
```python block is followed by a ```text block with what it prints. Numbers may vary, words may not.
``FINECUT_WRITE_DOCS=1`` writes what was printed into the files instead of comparing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import finecut

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/tutorial.md")
CHINESE = "README.zh-CN.md"
PROGRESS = ("looking: ", "recognising: ", "indexing: ", "tidying: ")
HOME = "/home/you"  # where the pages' reader is
RESULT = re.compile(r" *\d+  [\d:.]+-[\d:.]+  (strong|fair|weak) +\d+%")
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
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's videos."""
    from finecut.demo.library import make_library

    folder = tmp_path_factory.mktemp("readme") / "library"
    make_library(folder, lambda _: None)
    return folder


@pytest.fixture
def place(library: Path, tmp_path: Path) -> Path:
    """A folder of its own for each page, with the videos in `library/`, as the pages suppose."""
    shutil.copytree(library, tmp_path / "library")
    return tmp_path


def as_at_home(printed: str, place: Path) -> str:
    """Output without this machine's folders, and without progress, which comes as it is slow."""
    for path, name in ((place, HOME), (Path(finecut.__file__).parent, f"{HOME}/finecut")):
        printed = printed.replace(str(path.resolve()), name).replace(str(path), name)
    lines = printed.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(PROGRESS))


def shell(command: str, place: Path) -> str:
    """What a command prints, both streams as they come."""
    program = f"{sys.executable} -m finecut.cli.main"
    done = subprocess.run(
        re.sub(r"\bfinecut(?= )", program, command, count=1),
        shell=True,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FINECUT_INDEX": str(place / "index"), "COLUMNS": "100"},
        timeout=300,
    )
    return as_at_home(done.stdout, place)


def python(code: str, place: Path) -> str:
    """What a block of Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return as_at_home(done.stdout, place)


def shape(text: str) -> list[str]:
    """The lines of an output without what may vary: figures, the room they take, and guesses.

    Of the moments found the first must be the one shown, unless it is but a guess: another
    processor rounds differently.
    """
    lines, guesses = [], False
    for line in text.strip().splitlines():
        if RESULT.match(line):
            rank = int(line.split()[0])
            line = "a guess" if guesses or rank > 1 else RESULT.sub("found", line)
        else:
            guesses = line.startswith("No good match")
        line = re.sub(r"\b[0-9a-f]{8,}\b", "#", line)  # ids: another encoder, another content
        lines.append(re.sub(r"\s+", " ", re.sub(r"\d+(?:[.:]\d+)*", "#", line)).strip())
    return lines


def run_page(text: str, place: Path) -> str:
    """The page with every output as it is now."""
    ran_python: str | None = None

    def fill(match: re.Match[str]) -> str:
        nonlocal ran_python
        kind, body = match[1], match[2]
        if kind == "python":
            ran_python = python(body, place)
        elif kind == "text" and ran_python is not None:
            body, ran_python = ran_python.rstrip("\n") + "\n", None
        elif kind == "console":
            body = console(body, place)
        return f"```{kind}\n{body}```"

    return BLOCK.sub(fill, text)


def console(body: str, place: Path) -> str:
    parts = re.split(r"^(?=\$ )", body, flags=re.MULTILINE)
    printed = []
    for part in parts:
        command = part.removeprefix("$ ").splitlines()[0] if part.strip() else ""
        if not command or command.startswith(NOT_RUN):
            printed.append(part)
        else:
            printed.append(f"$ {command}\n" + shell(command, place))
    return "".join(printed)


@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_happens(page: str, place: Path):
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    now = run_page(text, place)
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


def test_the_chinese_readme_keeps_step() -> None:
    """The same commands and outputs, the same sections, and links that lead somewhere."""
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", CHINESE))
    fenced = re.compile(r"```.*?```", re.DOTALL)
    assert fenced.findall(chinese) == fenced.findall(english)
    assert chinese.count("\n## ") == english.count("\n## ")

    def linked(text: str) -> set[str]:
        return set(re.findall(r"\]\(([^)]+)\)", fenced.sub("", text)))

    named = linked(chinese) - {"README.md"}
    assert named == linked(english) - {CHINESE}
    assert not [
        link for link in named if not link.startswith("http") and not (ROOT / link).exists()
    ]
    commands = set(re.findall(r"`(finecut [^`]+)`", english))
    assert commands == set(re.findall(r"`(finecut [^`]+)`", chinese))
