"""`finecut data cache` as a person runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import Run
from learn.data.small_set import write_set

RECIPE = """
name = "small"
method = "eercf"
[model]
head_layers = 1
[start]
weights = "tiny"
[data]
validation = "hold-out:0.2"
[data.sampling]
max_frames = 3
[train]
epochs = 1
batch_size = 4
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


def test_cache_then_train_on_it(videos: Path, recipe: Path, tmp_path: Path, call: Run):
    made = call("data", "cache", recipe, "--data", videos, "--output", tmp_path / "c", "--features")
    assert made.code == 0, made.err
    assert (
        "5 videos in" in made.out and "x real time" in made.out and "per hour of video" in made.out
    )
    place = tmp_path / "c"
    again = call(
        "data", "cache", recipe, "--data", videos, "--output", place, "--features", "--json"
    )
    assert again.json["videos_done"] == 0 and again.json["videos_unchanged"] == 5
    on_cache = ("--set", "data.kind=cache", "--set", f"data.cache={tmp_path / 'c'}")
    run = tmp_path / "run"
    trained = call("train", recipe, "--data", videos, "--output", run, "--json", *on_cache)
    assert trained.code == 0, trained.err
    assert trained.json["best"]["r_at_1"] == 100  # one video was held out
    measured = call("evaluate", run, "--data", videos, "--split", "train", "--json")
    assert measured.code == 0, measured.err
    assert measured.json["gallery"] == 4


def test_what_was_left_out_is_named(videos: Path, recipe: Path, tmp_path: Path, call: Run):
    folder = tmp_path / "set"
    folder.mkdir()
    for file in videos.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "red.mp4").write_bytes(b"nothing")
    (folder / "blue.mp4").unlink()
    ran = call("data", "cache", recipe, "--data", folder, "--output", tmp_path / "c")
    assert ran.code == 1
    assert "missing: blue.mp4" in ran.err and "failed: red.mp4: unreadable" in ran.err
    assert "4 videos in" in ran.out


def test_a_cache_of_another_recipe_is_refused(
    videos: Path, recipe: Path, tmp_path: Path, call: Run
):
    place = tmp_path / "c"
    assert call("data", "cache", recipe, "--data", videos, "--output", place).code == 0
    other = call("data", "cache", recipe, "--data", videos, "--output", place,
                 "--set", "data.sampling.max_frames=9")  # fmt: skip
    assert other.code == 2 and "sampling max_frames is 3, the recipe's is 9" in other.err
    wrong = call("data", "cache", recipe, "--data", videos, "--output", place, "--dtype", "int3")
    assert wrong.code == 2 and "float16 or int8, got 'int3'" in wrong.err


def test_killed_at_once_it_goes_on(tmp_path: Path, recipe: Path, call: Run):
    """SIGKILL while it writes: what was committed stays, the rest is done by the next run."""
    videos = write_set(tmp_path / "set")
    lines = (videos / "train.jsonl").read_text().splitlines()
    copies = []
    for number in range(40):
        for line in lines:
            name = line.split('"')[3]
            os.link(videos / name, videos / f"{number}-{name}")
            copies.append(line.replace(name, f"{number}-{name}"))
    (videos / "train.jsonl").write_text("\n".join(copies))
    place = tmp_path / "c"
    command = [sys.executable, "-m", "finecut.cli.main", "data", "cache", recipe, "--data", videos,
               "--output", place, "--workers", "1"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and not list((place / "videos.lance").glob("_versions/*")):
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    ended = call("data", "cache", recipe, "--data", videos, "--output", place, "--json")
    assert ended.code == 0, ended.err
    told = ended.json
    assert told["videos_done"] + told["videos_unchanged"] == 200
    assert told["videos_unchanged"] >= 32
