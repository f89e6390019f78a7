"""`finecut train` on real video files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from finecut.cli.main import program
from finecut.learn.checkpoint import load_checkpoint
from finecut.learn.data.synthetic_files import write_corpus

RECIPE = """
name = "tiny"
method = "clip4clip"
model = { max_words = 16 }
start = { weights = "tiny" }
[data]
validation = "hold-out:0.2"
sampling = { max_frames = 2 }
[train]
epochs = 2
batch_size = 8
log_every = 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    write_corpus(root / "corpus", "still", 40, seconds=4, side=32)
    (root / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return root


def run(place: Path, *arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(program(), ["train", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_a_run_from_the_command_line(place: Path) -> None:
    arguments = (place / "recipe.toml", "--data", place / "corpus", "--output", place / "run")
    code, out, err = run(place, *arguments)
    assert code == 0, err
    assert out.startswith(str(place / "run")) and "2 epochs in" in out and "R@1" in out
    assert "step 2/6" in err and "pairs/s" in err and "left" in err
    assert "epoch 2/2  validation R@1" in err
    assert "325,633 parameters are trained" in err
    load_checkpoint(place / "run")
    code, out, _ = run(place, *arguments)
    assert code == 0 and "finished before" in out


def test_settings_seed_and_json(place: Path) -> None:
    code, out, err = run(
        place, place / "recipe.toml", "--data", place / "corpus", "--output", place / "json",
        "--set", "train.epochs=1", "--set", "train.batch_size=4", "--seed", "5", "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert report["epochs"] == 1 and report["stopped"] == "" and report["skipped"] == {}
    written = (place / "json" / "recipe.toml").read_text(encoding="utf-8")
    assert "seed = 5" in written and "batch_size = 4" in written


def test_a_truncated_video_is_left_out_and_named(place: Path) -> None:
    broken = place / "broken"
    shutil.copytree(place / "corpus", broken)
    victim = sorted((broken / "videos").glob("*train*"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    code, out, err = run(
        place, place / "recipe.toml", "--data", broken, "--output", place / "broken-run", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["loss"] > 0
    told = [note for note in report["notes"] if victim.name in note]
    assert len(told) == 1 and "1 videos are not there or cannot be read" in told[0]


@pytest.mark.parametrize(("arguments", "message"), [
    (("none.toml", "--output", "x"), "The recipe 'none.toml' cannot be read"),
    (("RECIPE", "--output", "RUN"), "pass --data DIR"),
    (("RECIPE", "--output", "RUN", "--set", "train.epoch=1"), "Did you mean 'epochs'?"),
    (("RECIPE", "--output", "RUN", "--data", "nowhere"), "nowhere"),
])  # fmt: skip
def test_what_the_verb_refuses(
    place: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    names = {"RECIPE": str(place / "recipe.toml"), "RUN": str(tmp_path / "run")}
    code, out, err = run(place, *(names.get(a, a) for a in arguments))
    assert code == 2 and not out and message in err
    assert not (tmp_path / "run" / "checkpoint.json").exists()
