"""Two processes that share a batch give what one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finecut.errors import UsageError
from finecut.learn.training.batches import Order, Reader
from finecut.learn.training.ranks import Ranks, join

from ..tiny_models import TINY_MODELS
from .conftest import Start, free_port
from .gradients_by_torchrun import colour_batch, gradients
from .tiny_pairs import ColourPairs, recipe

ALONE = Ranks(0, 1, torch.device("cpu"))
TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradients of every method as two processes found them; one launch for all."""
    out = tmp_path_factory.mktemp("gradients")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
        "--master-addr=127.0.0.1", f"--master-port={free_port()}",
        "-m", "learn.training.gradients_by_torchrun", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", TINY_MODELS)
def test_gradients_of_two_processes_are_those_of_one(name: str, gathered: Path) -> None:
    want = gradients(name, colour_batch(name), ALONE, 0)
    for micro_batch in (0, 1):
        got = load_file(gathered / f"{name}-{micro_batch}.safetensors")
        assert got.keys() == want.keys()
        for key, grad in want.items():
            scale = max(grad.abs().max().item(), 1.0)
            torch.testing.assert_close(
                got[key] / scale, grad / scale, rtol=0, atol=1e-5, msg=f"{name} {key}"
            )


def arguments_of(recipe_file: Path, corpus: Path, output: Path) -> tuple[object, ...]:
    # seqTransf has no dropout, whose draws would differ; BertAdam's epsilon is large enough not to
    # magnify the rounding of gradients that are zero.
    return ("train", recipe_file, "--data", corpus, "--set", "model.head=seqTransf",
            "--json", "--output", output)  # fmt: skip


def assert_trained_the_same(folders: Sequence[Path], reports: Sequence[dict[str, Any]]) -> None:
    assert reports[0]["best_epoch"] == reports[1]["best_epoch"]
    assert reports[0]["steps"] == reports[1]["steps"] > 4
    a, b = (load_file(folder / "model.safetensors") for folder in folders)
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=0, atol=1e-5, msg=key)
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in folders]
    for x, y in zip(*[[json.loads(line) for line in log] for log in logs], strict=True):
        assert x["step"] == y["step"]
        assert x["loss"] == pytest.approx(y["loss"], abs=1e-4)


@pytest.mark.slow
def test_the_command_under_torchrun_trains_the_same_model(
    tmp_path: Path, corpus: Path, recipe_file: Path, start_cli: Start
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    processes = (
        start_cli(*arguments_of(recipe_file, corpus, one)),
        start_cli(*arguments_of(recipe_file, corpus, two), processes=2, port=free_port()),
    )
    reports = []
    for process in processes:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        reports.append(json.loads(out))  # the first process alone reports
    assert_trained_the_same((one, two), reports)


@pytest.mark.slow
@pytest.mark.cluster
def test_nodes_that_meet_at_a_rendezvous_train_the_same_model(
    tmp_path: Path, corpus: Path, recipe_file: Path, start_cli: Start
) -> None:
    """As docs/training.md has it: the same torchrun command on each node; here both nodes are this
    machine."""
    one, nodes = tmp_path / "one", tmp_path / "nodes"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-id=same-run",
        "--local-addr=127.0.0.1", "-m", "finecut.cli.main",
        *map(str, arguments_of(recipe_file, corpus, nodes)),
    ]  # fmt: skip
    started = [
        subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    alone = start_cli(*arguments_of(recipe_file, corpus, one))
    try:
        said = [process.communicate(timeout=300) for process in started]
        report, errors = alone.communicate(timeout=300)
    finally:
        for process in (*started, alone):
            process.kill()
    assert alone.returncode == 0, errors
    assert [process.returncode for process in started] == [0, 0], said
    told = [out for out, _ in said if out]  # whichever node is the first
    assert len(told) == 1
    assert_trained_the_same((one, nodes), [json.loads(report), json.loads(told[0])])


def test_alone_nothing_is_sent() -> None:
    with join() as ranks:
        assert ranks.size == 1 and ranks.first
        x = torch.ones(2, 3)
        assert ranks.gather_rows(x) is x
        assert ranks.any(True) and not ranks.any(False)
        assert ranks.collect("a") == ["a"] and ranks.from_first("b") == "b"


def test_shares_of_a_batch_make_the_batch() -> None:
    data, config = ColourPairs(12), recipe().train
    order = Order(data, config, seed=0)
    shares = [Reader(data, order, rank, 4)[(0, 1)].batch for rank in range(4)]
    whole = Reader(data, order)[(0, 1)].batch
    assert torch.cat([share.video_ids for share in shares]).equal(whole.video_ids)
    with pytest.raises(UsageError, match="cannot be shared among 3 processes"):
        Reader(data, order, 0, 3)
