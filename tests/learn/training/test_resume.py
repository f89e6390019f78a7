"""A run that was killed or stopped, and went on, gives what it would have given."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finecut.errors import UsageError
from finecut.learn.recipe import load_recipe
from finecut.learn.training.loop import train

from .conftest import Start, free_port
from .tiny_pairs import opener, recipe

WITH_DROPOUT = {"head": "tightTransf", "head_layers": 1, "max_words": 12}  # dropout in the loss


def losses(run: Path) -> list[tuple[int, float]]:
    """(step, loss) of every step, and of every epoch's mean."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def assert_same_run(a: Path, b: Path) -> None:
    for name in ("model.safetensors", "query_bank.safetensors"):
        x, y = load_file(a / name), load_file(b / name)
        assert x.keys() == y.keys()
        assert all(x[key].equal(y[key]) for key in x), name
    assert (a / "checkpoint.json").read_text() == (b / "checkpoint.json").read_text()
    assert losses(a) == losses(b)


@pytest.mark.parametrize("settings", [
    {},
    {"optimiser": "bertadam"},
    {"schedule": "plateau", "plateau_patience": 0, "lr_decay": 0.9, "optimiser": "rmsprop"},
    {"sample": "videos", "captions_per_video": 2, "micro_batch": 3},
    {"precision": "amp", "amp_dtype": "float16"},
    {"precision": "official-fp16", "optimiser": "bertadam"},
], ids=["adamw", "bertadam", "plateau", "videos", "scaled-fp16", "official-fp16"])  # fmt: skip
def test_stopping_after_any_step_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = recipe(model=WITH_DROPOUT, **settings)
    whole = train(made, tmp_path / "whole", data=opener())
    assert whole.steps == whole.epochs * (whole.steps // whole.epochs) > 2
    starts = 0
    report = None
    while report is None or report.stopped:
        countdown = iter([False, True])
        report = train(
            made, tmp_path / "parts", data=opener(), should_stop=lambda c=countdown: next(c)
        )
        starts += 1
        assert starts < 20
    assert starts > 2
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert report.best == whole.best and report.best_epoch == whole.best_epoch


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(
    tmp_path: Path, corpus: Path, recipe_file: Path, start_cli: Start
) -> None:
    arguments = ("train", recipe_file, "--data", corpus, "--set", "train.epochs=5", "--output")
    whole = start_cli(*arguments, tmp_path / "whole")
    _, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors

    run = tmp_path / "killed"
    kills = 0
    for wanted in (2, 7):  # inside the first epoch, and inside the second
        process = start_cli(*arguments, run)
        log = run / "log.jsonl"
        while process.poll() is None:
            if log.exists() and log.read_text().count("\n") >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert not (run / "report.json").exists()
    assert kills == 2
    again = start_cli(*arguments, run)
    out, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "best epoch" in out
    assert_same_run(tmp_path / "whole", run)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_saves_and_says_how_to_go_on(
    tmp_path: Path, corpus: Path, recipe_file: Path, start_cli: Start, processes: int
) -> None:
    run = tmp_path / "run"
    settings = ("--set", "train.epochs=5", "--set", "train.save_every_steps=0",
                "--set", "train.workers=1")  # fmt: skip
    arguments = ("train", recipe_file, "--data", corpus, "--output", run, *settings)
    process = start_cli(*arguments, processes=processes, port=free_port())
    while process.poll() is None:
        if (run / "log.jsonl").exists() and (run / "log.jsonl").read_text().count("\n") >= 2:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does, torchrun's own included
            break
        time.sleep(0.005)
    _, errors = process.communicate(timeout=120)
    if processes == 1:
        assert process.returncode == 130, errors
    assert "the same command goes on" in errors
    assert (run / "last" / "state.pt").exists()
    done = start_cli(*arguments, processes=processes, port=free_port())
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    steps = [step for step, _ in losses(run)]
    assert steps == sorted(steps) and len(set(steps)) == max(steps)  # no step twice, none missing


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    made = recipe(epochs=1)
    first = train(made, tmp_path / "run", data=opener())
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    again = train(made, tmp_path / "run", data=opener())
    assert not first.already_finished and again.already_finished
    assert again.best == first.best
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(recipe(epochs=1), tmp_path / "run", data=opener())
    with pytest.raises(UsageError, match=r"train\.lr is 0.001 there, 0.002 here"):
        train(recipe(epochs=1, lr=2e-3), tmp_path / "run", data=opener())


def test_a_run_that_failed_at_its_start_binds_nobody(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training needs two pairs"):
        train(recipe(batch_size=4, sample="videos"), tmp_path / "run", data=opener(videos=1))
    made = recipe(epochs=1)
    train(made, tmp_path / "run", data=opener())
    assert load_recipe(tmp_path / "run" / "recipe.toml") == made


def test_data_that_has_changed_is_refused(tmp_path: Path) -> None:
    made = recipe()
    train(made, tmp_path / "run", data=opener(), should_stop=lambda: True)
    with pytest.raises(UsageError, match="The data has changed: 1 steps an epoch, 3 when"):
        train(made, tmp_path / "run", data=opener(videos=6))

    def reworded(role: str, config: Any, text_state: Any) -> Any:
        data = opener()(role, config, text_state)
        data.sentences = [f"{sentence}!" for sentence in data.sentences]
        return data

    with pytest.raises(UsageError, match="other videos or sentences"):
        train(made, tmp_path / "run", data=reworded)


def test_a_broken_state_is_refused(tmp_path: Path) -> None:
    made = recipe()
    train(made, tmp_path / "run", data=opener(), should_stop=lambda: True)
    state = tmp_path / "run" / "last" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UsageError, match="remove the folder 'last'"):
        train(made, tmp_path / "run", data=opener())


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    made = recipe()
    train(made, tmp_path / "run", data=opener(), should_stop=lambda: True)
    path = tmp_path / "run" / "last" / "state.pt"
    state = torch.load(path, weights_only=True)
    for other in ({"version": 1}, {**state, "model": {}}, {**state, "report": {"x": 1}}):
        torch.save(other, path)
        with pytest.raises(UsageError, match=r"does not fit this run.*remove the folder 'last'"):
            train(made, tmp_path / "run", data=opener())


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"not empty and no run \('thesis\.tex'"):
        train(recipe(), tmp_path, data=opener())


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    made, run = recipe(epochs=1), tmp_path / "run"
    train(made, run, data=opener(), should_stop=lambda: True)
    (run / ".writing").mkdir()
    for name in (".writing/model.safetensors", "last/state.pt.123.tmp", "log.jsonl.9.tmp"):
        (run / name).write_bytes(b"half")
    train(made, run, data=opener())
    assert not [path for path in run.rglob("*") if "tmp" in path.name or "writing" in path.name]


@pytest.mark.parametrize(("name", "text", "message"), [
    ("report.json", "{", "is not the report of a run"),
    ("report.json", '{"x": 1}', "is not the report of a run"),
    ("recipe.toml", "name =", "is not the recipe this run was begun with"),
])  # fmt: skip
def test_a_folder_whose_files_are_broken(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    run = tmp_path / "run"
    train(recipe(epochs=1), run, data=opener(), should_stop=lambda: True)
    (run / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        train(recipe(epochs=1), run, data=opener())


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    made = recipe(epochs=1)
    refused = []

    def from_within() -> bool:
        with pytest.raises(UsageError, match="is being trained by process"):
            train(made, tmp_path / "run", data=opener())
        refused.append(True)
        return True

    train(made, tmp_path / "run", data=opener(), should_stop=from_within)
    assert refused
