"""`--help` is whole, its examples run, and docs/cli.md is what it prints."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from cli.conftest import Library, Run
from color_bundle import make_color_bundle
from finecut.cli.main import HOMES, VERBS, program
from finecut.cli.reference import reference
from index.clips import write_video

DOCS = Path(__file__).parents[2] / "docs"

# Examples that need a network, never end, or are shell text rather than one command.
NOT_RUN = (
    "finecut serve",
    "finecut watch",
    "finecut mcp",  # tests/agents has a session
    "finecut bundle pull",
    "finecut demo",
    "FINECUT_TOKEN=",
    "finecut export",
    "finecut evaluate runs/",  # tests/cli/test_evaluate.py has a run
    "finecut index /media/archive",  # tests/cluster has a cluster
    "finecut data cache",  # tests/cli/test_data.py
    "finecut train",  # tests/cli/test_train.py
)


def examples() -> list[str]:
    """Every line under "Examples:" in the reference."""
    found, inside = [], False
    for line in reference().splitlines():
        inside = line.strip() == "Examples:" or (inside and line.startswith("    "))
        if inside and line.strip().startswith(("finecut ", "FINECUT_")):
            found.append(line.strip())
    return list(dict.fromkeys(found))


def test_the_docs_are_what_help_prints():
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m finecut.cli.reference > docs/cli.md"
    )


def with_output() -> dict[str, str]:
    """Examples that say what they print: command -> output, both without their indent."""
    found: dict[str, str] = {}
    command = ""
    for line in reference().splitlines():
        if line.startswith("    finecut "):
            command = line.strip()
        elif command and line.startswith("      "):
            found[command] = found.get(command, "") + line[6:] + "\n"
        else:
            command = ""
    return found


@pytest.mark.parametrize("module", HOMES)
def test_a_module_registers_the_verbs_it_is_the_home_of(module: str):
    whole = program()
    mine = program(HOMES[module][0])

    def verbs(app: typer.Typer) -> set[str]:
        commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
        return commands | {str(group.name) for group in app.registered_groups}

    assert verbs(mine) == set(HOMES[module])
    assert verbs(whole) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_examples(verb: str):
    assert any(f"finecut {verb}" in line for line in examples())


def test_the_number_of_examples():
    assert len(examples()) >= 28


@pytest.fixture(scope="module")
def place(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with things named as in the examples."""
    root = tmp_path_factory.mktemp("examples")
    write_video(root / "clip.mp4", ["red"], seconds=80, fps=1)
    (root / "clips").symlink_to(library.videos)
    (root / "clips.index").symlink_to(library.index)
    (root / "finecut-demo" / "library").mkdir(parents=True)
    shutil.copytree(library.index, root / "finecut-demo" / "index")
    write_video(root / "finecut-demo" / "library" / "a-day-out.mp4", ["red"], seconds=40, fps=2)
    for folder in ("Videos", "media/camera", "MSRVTT"):
        (root / folder).mkdir(parents=True)
    (root / "MSRVTT" / "x.jsonl").write_text('{"video": "a.mp4", "caption": "a"}\n')
    for folder in (root, root / "finecut-demo"):
        (folder / "queries.jsonl").write_text('{"query": "red", "video": "red.mp4"}\n' * 10)
    Image.new("RGB", (32, 32), (250, 0, 0)).save(root / "photo.jpg")
    make_color_bundle(root / "my-bundle")
    for name, array in (("sims", np.eye(3)), ("right", np.arange(3)), ("bank", np.eye(2, 3))):
        np.save(root / f"{name}.npy", array)
    (root / "my.run").write_text("601 Q0 shot1_1 1 9999 me\n")
    (root / "avs.qrels.tv19").write_text("1601 0 shot1_1 1 1\n")
    (root / "tv19.avs.txt").write_text("601 a red car\n")
    return root


@pytest.mark.parametrize(
    "line", [line for line in examples() if not line.startswith(NOT_RUN)], ids=str
)
def test_examples_of_help_are_accepted(line: str, library: Library, call: Run, place: Path):
    """Each example parses and means something: it runs, on things named as in the example."""
    words = shlex.split(line.split(" | ")[0].replace("/media", "media").replace("~/", ""))[1:]
    env, expected = {"FINECUT_INDEX": str(library.index)}, 0
    if words[0] == "index":  # into an index of its own: the others look at the library's
        words = [word.replace("clips.index", "new.index") for word in words]
        words += ["--bundle", str(library.bundle)]
        env["FINECUT_INDEX"] = str(place / "new.index")
        expected = int("clips" in words)  # where one file is broken
        if "--levels" in words:
            words[words.index("new.index")] = "frames.index"
    elif words[0] == "rm":
        words[1:], expected = ["no-such-video.mp4"], 1
    elif words[:2] == ["data", "check"]:
        expected = 1  # the folder's video is missing
    done = call(*words, cwd=place, env=env)
    assert done.code == expected, done.err
    assert "Usage:" not in done.err and "Traceback" not in done.err


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `finecut demo` was run."""
    if any(find_spec(name) is None for name in ("skimage", "sklearn", "skvideo")):
        pytest.skip('the extra "demo" is not installed')
    place = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "finecut", "demo", "--json"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr  # tests/demo judges the answers
    return place


def shape(text: str) -> list[str]:
    """Lines without what may vary: figures, how sure they are, and the room they take."""
    varying = r"strong|fair|weak|\d+(?:[.:]\d+)*"
    return [re.sub(r"\s+", " ", re.sub(varying, "#", line)) for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("command", list(with_output()), ids=str)
def test_examples_print_what_help_says(command: str, demo: Path):
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=demo,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert shape(done.stdout) == shape(with_output()[command])


def test_some_examples_show_their_output():
    verbs = {command.split()[1] for command in with_output()}
    assert verbs >= {"index", "search", "cut", "quality"}


def test_the_list_of_verbs_fits_a_narrow_terminal(run: Run):
    listed = run("--help", env={"COLUMNS": "80"})
    assert listed.code == 0
    assert "..." not in listed.out.split("Commands:")[1]
