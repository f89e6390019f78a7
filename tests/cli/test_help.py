"""`--help` is whole, its examples run, and docs/cli.md is what it prints."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import Library, Run
from color_bundle import make_color_bundle
from finecut.cli.main import VERBS
from finecut.cli.reference import reference
from index.clips import write_video

DOCS = Path(__file__).parents[2] / "docs"

# Examples that need a network, never end, or are shell text rather than one command.
NOT_RUN = (
    "finecut serve",
    "finecut bundle pull",
    "finecut demo",
    "FINECUT_TOKEN=",
    "finecut export",
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
    for folder in ("Videos", "media/camera", "MSRVTT"):
        (root / folder).mkdir(parents=True)
    (root / "MSRVTT" / "x.jsonl").write_text('{"video": "a.mp4", "caption": "a"}\n')
    (root / "queries.jsonl").write_text('{"query": "red", "video": "red.mp4"}\n')
    Image.new("RGB", (32, 32), (250, 0, 0)).save(root / "photo.jpg")
    make_color_bundle(root / "my-bundle")
    return root


@pytest.mark.parametrize(
    "line", [line for line in examples() if not line.startswith(NOT_RUN)], ids=str
)
def test_examples_of_help_are_accepted(line: str, library: Library, run: Run, place: Path):
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
    elif words[0] == "data":
        expected = 1  # the folder's video is missing
    done = run(*words, cwd=place, env=env)
    assert done.code == expected, done.err
    assert "Usage:" not in done.err and "Traceback" not in done.err
