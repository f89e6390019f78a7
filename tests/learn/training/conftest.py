"""A small corpus of real video files, and the real command line on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finecut.learn.data.synthetic_files import write_corpus

RECIPE = """
name = "tiny"
method = "clip4clip"
seed = 3

[model]
head = "tightTransf"  # the one with dropout: resuming needs the random numbers
head_layers = 1
max_words = 16

[start]
weights = "tiny"

[data]
validation = "validation"

[data.sampling]
max_frames = 3

[train]
epochs = 2
batch_size = 8
lr = 1e-3
coef_lr = 1.0
log_every = 1
save_every_steps = 1
"""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About forty clips of four seconds, 32 pixels wide."""
    folder = tmp_path_factory.mktemp("training") / "corpus"
    write_corpus(folder, "still", 40, seconds=4, side=32)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_cli() -> Start:
    """Starts ``finecut`` with these arguments, by torchrun where ``processes`` says so."""

    def start(*arguments: object, processes: int = 1, port: int = 0) -> subprocess.Popen[str]:
        launcher: list[str] = []
        if processes > 1:
            launcher = [
                "torch.distributed.run", f"--nproc-per-node={processes}",
                "--master-addr=127.0.0.1", f"--master-port={port}", "-m",
            ]  # fmt: skip
        command = [sys.executable, "-m", *launcher, "finecut.cli.main", *map(str, arguments)]
        return subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip

    return start
