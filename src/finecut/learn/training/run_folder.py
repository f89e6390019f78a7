"""The folder of one run: what is in it, and how it is written so that nothing is half there.

checkpoint.json, model.safetensors   best epoch by validation (``learn/checkpoint.py``)
recipe.toml                          the recipe with every default
last/state.pt                        where an unfinished run goes on
log.jsonl, tensorboard/              figures by step and epoch
query_bank.safetensors               recall vectors of training sentences, for QB-Norm
text_state/                          what text preparation learnt
report.json                          of a finished run
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finecut.errors import UsageError
from finecut.index.lock import FileLock
from finecut.learn.checkpoint import CONFIG, WEIGHTS, save_checkpoint
from finecut.learn.recipe import Recipe
from finecut.learn.training.report import RunReport

RECIPE, LOG, REPORT, BANK = "recipe.toml", "log.jsonl", "report.json", "query_bank.safetensors"
STATE, TEXT_STATE = "last/state.pt", "text_state"
STATE_VERSION = 1


class RunFolder:
    """Reads and writes the folder; the first process of a run alone has one."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._board: Any = None

    @contextlib.contextmanager
    def opened(self, recipe: Recipe) -> Iterator[None]:
        """Hold the folder for one process; a new one gets its recipe.

        Raises:
            UsageError: it is held by another process, is the run of another recipe, or holds
                something that is no run.
        """
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        others = [name for name in names if name != "lock"]
        if others and RECIPE not in names:
            raise UsageError(
                f"'{self.folder}' is not empty and no run ({others[0]!r} is in it); choose "
                "another folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        if not lock.try_acquire():
            raise UsageError(f"'{self.folder}' is being trained by {lock.holder()}.")
        try:
            if self._begun():
                self._check_recipe(recipe)
            else:
                write_text(self.folder / RECIPE, recipe.to_toml())
            self._clear_unfinished()
            yield
        finally:
            if self._board is not None:
                self._board.close()
            lock.release()

    def _begun(self) -> bool:
        """Whether there is anything of a run: one that failed at its start binds nobody."""
        return any((self.folder / name).exists() for name in (CONFIG, STATE, REPORT))

    def _clear_unfinished(self) -> None:
        """Remove what a process that was killed was writing."""
        shutil.rmtree(self.folder / ".writing", ignore_errors=True)
        for left in (*self.folder.glob("*.tmp"), *self.folder.glob("last/*.tmp")):
            left.unlink()

    def _check_recipe(self, recipe: Recipe) -> None:
        path = self.folder / RECIPE
        try:
            stored = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # no text, or no TOML
            raise UsageError(
                f"'{path}' is not the recipe this run was begun with: {error}"
            ) from error
        given = tomllib.loads(recipe.to_toml())
        for table in (stored, given):
            table.get("data", {}).pop("root", None)  # the data may have moved
        different = sorted(_differences(stored, given))
        if different:
            raise UsageError(
                f"'{self.folder}' is a run of another recipe: {'; '.join(different[:4])}. Choose "
                "another --output, or the recipe it was started with "
                f"('{self.folder / RECIPE}')."
            )

    # ------------------------------------------------------------------ where to go on

    def save_last(self, state: Mapping[str, Any]) -> None:
        """Replace the state to go on from, at once or not at all."""
        path = self.folder / STATE
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            torch.save({"version": STATE_VERSION, **state}, temporary)

    def load_last(self) -> dict[str, Any] | None:
        """The state to go on from; None where there is none.

        Raises:
            UsageError: it cannot be read, or another version wrote it.
        """
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            version = state["version"]
        except Exception as error:  # torch raises many kinds for a broken file
            raise UsageError(
                f"'{path}' cannot be read ({error}); remove the folder 'last' to begin again."
            ) from error
        if version != STATE_VERSION:
            raise UsageError(
                f"'{path}' has version {version}, expected {STATE_VERSION}: another finecut "
                "wrote it."
            )
        return state

    # ------------------------------------------------------------------ what a run gives

    def save_best(
        self, model: nn.Module, method: str, provenance: dict[str, Any], bank: Tensor
    ) -> None:
        """Replace the checkpoint and the query bank [N, R] by those of a better epoch."""
        from safetensors.torch import save_file

        writing = self.folder / ".writing"
        shutil.rmtree(writing, ignore_errors=True)
        save_checkpoint(model, writing, method=method, provenance=provenance)
        save_file({"recall": bank.contiguous()}, writing / BANK)
        for name in (BANK, WEIGHTS, CONFIG):
            sync(writing / name)
            shutil.copymode(self.folder / RECIPE, writing / name)  # safetensors writes 0600
            os.replace(writing / name, self.folder / name)
        writing.rmdir()

    def save_report(self, report: RunReport) -> None:
        """Mark the run finished; the state to go on from is dropped."""
        write_text(self.folder / REPORT, json.dumps(report.to_json(), indent=2) + "\n")
        shutil.rmtree((self.folder / STATE).parent, ignore_errors=True)

    def finished(self) -> RunReport | None:
        """The report of a finished run, else None.

        Raises:
            UsageError: it cannot be read.
        """
        path = self.folder / REPORT
        if not path.exists():
            return None
        try:
            return RunReport.from_json(
                json.loads(path.read_text(encoding="utf-8")), already_finished=True
            )
        except (ValueError, TypeError) as error:
            raise UsageError(f"'{path}' is not the report of a run: {error}") from error

    # ------------------------------------------------------------------ the log

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line; the figures go to TensorBoard too where that is installed."""
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        board = self._tensorboard(int(entry["step"]))
        if board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    board.add_scalar(name, value, entry["step"])
            board.flush()

    def rewind_log(self, step: int) -> None:
        """Forget what was logged after ``step``: that will be done again."""
        path = self.folder / LOG
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line of a killed run may be cut off
                if json.loads(line)["step"] <= step:
                    kept.append(line)
        write_text(path, "".join(line + "\n" for line in kept))

    def _tensorboard(self, step: int) -> Any:
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._board = _NoBoard()
            else:
                # What an earlier process showed of later steps is done again.
                self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        return None if isinstance(self._board, _NoBoard) else self._board


class _NoBoard:
    """TensorBoard is not installed; log.jsonl has it all."""

    def close(self) -> None:
        pass


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], at: str = "") -> list[str]:
    found = []
    for name in stored.keys() | given.keys():
        a, b = stored.get(name), given.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{at}{name}.")
        elif a != b:
            found.append(f"{at}{name} is {a!r} there, {b!r} here")
    return found


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when all went well."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until a file is on the disk: a rename must not overtake what it renames."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
