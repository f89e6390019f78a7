"""Training, from a recipe to a run folder: read from top to bottom.

The same command goes on where a run stopped, bit for bit as if it had not; under torchrun several
processes share each batch and give what one would.
"""

from __future__ import annotations

import contextlib
import random
import time
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from finecut.errors import UsageError
from finecut.learn.data.pairs import KnowsSizes, LearnsText, PairData
from finecut.learn.optim import clip_grad_norm
from finecut.learn.recipe import Recipe
from finecut.learn.training.backward import backward, check_method
from finecut.learn.training.batches import Order, Reader, read_ahead
from finecut.learn.training.optimisers import Schedule, build_optimiser
from finecut.learn.training.precision import Precision, checkpoint_activations
from finecut.learn.training.ranks import Ranks, join
from finecut.learn.training.run_folder import TEXT_STATE, RunFolder
from finecut.learn.training.start import StartingPoint
from finecut.learn.training.validate import recall_bank, validate
from finecut.learn.training.watch import LossWatch, TrainingError, check_gradients, check_loss

Role = Literal["train", "validation"]

__all__ = ["Progress", "RunReport", "TrainingError", "train"]


@dataclass(frozen=True)
class Progress:
    """Where a run is, every ``log_every`` steps and after every epoch."""

    epoch: int  # from 1
    epochs: int
    step: int  # of the whole run, from 1
    steps: int
    loss: float  # mean since the last report
    lr: float  # the largest of the groups
    pairs_per_s: float
    eta_s: float
    validation: dict[str, float] | None = None  # text to video, after an epoch
    best: bool = False  # this epoch's checkpoint is now the run's
    warning: str = ""


@dataclass
class RunReport:
    """What a run came to. ``stopped`` is empty when it is finished."""

    output: str
    epochs: int = 0  # done
    steps: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)  # validation of the best epoch
    loss: float | None = None  # mean of the last epoch
    seconds: float = 0.0
    stopped: str = ""  # why an unfinished run ended
    skipped: dict[str, str] = field(default_factory=dict)  # video -> why it could not be read
    notes: list[str] = field(default_factory=list)
    already_finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """As ``report.json`` and ``--json`` have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], **changes: Any) -> RunReport:
        """What ``to_json`` gave, with some fields changed."""
        return cls(**{**values, **changes})


class OpenData(typing.Protocol):
    """Opens the splits of a run; `open_split` unless told otherwise."""

    def __call__(self, role: Role, config: Any, text_state: Path) -> PairData:
        """
        Args:
            role: train or validation.
            config: the method's config; None for train where only the data knows it all.
            text_state: what text preparation learnt of the training split, for validation.
        """
        ...


def train(
    recipe: Recipe,
    output: Path | str,
    *,
    root: Path | str | None = None,
    data: OpenData | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> RunReport:
    """Train what a recipe says, into a run folder; goes on where an unfinished run stopped.

    Args:
        recipe: from ``load_recipe``.
        output: the run folder; new, or of the same recipe.
        root: the data's folder, in place of the recipe's.
        data: opens other data than the recipe's.
        on_progress: called with a `Progress`.
        should_stop: asked after every step; True saves the state and returns.

    Raises:
        UsageError: data, weights or folder that do not fit the recipe.
        TrainingError: a loss or gradient that is not finite.
    """

    def from_recipe(role: Role, config: Any, text_state: Path) -> PairData:
        from finecut.learn.data.open_split import open_split

        training = role == "train"
        state = None if training else text_state
        return open_split(
            recipe, role, root=root, training=training, text_state=state, config=config
        )

    with join() as ranks:
        folder = RunFolder(output)
        with folder.opened(recipe) if ranks.first else contextlib.nullcontext():
            done = ranks.from_first(folder.finished() if ranks.first else None)
            if done is not None:
                return RunReport.from_json(done, already_finished=True)
            run = _Run(recipe, folder, ranks, data or from_recipe, on_progress or _silent)
            return run.go(should_stop or (lambda: False))


def _silent(progress: Progress) -> None:
    pass


class _Run:
    """One run in one process: everything `go` works with."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        ranks: Ranks,
        open_data: OpenData,
        on_progress: Callable[[Progress], None],
    ) -> None:
        config = recipe.train
        self.recipe, self.config, self.folder, self.ranks = recipe, config, folder, ranks
        self.on_progress = on_progress
        text_state = folder.folder / TEXT_STATE

        start = StartingPoint(recipe)
        training = open_data("train", start.config(), text_state)
        facts = training.model_facts() if isinstance(training, KnowsSizes) else {}
        self.model, notes = start.build(facts)
        if isinstance(training, LearnsText):
            if ranks.first:
                training.save_text_state(text_state)
            training.prepare_model(self.model)
        ranks.from_first(None)  # the others wait for the text state
        self.training = training
        self.validation = open_data("validation", self.model.config, text_state)
        self.order = Order(training, config, recipe.seed)
        self.reader = Reader(training, self.order, ranks.rank, ranks.size)
        self.total_steps = config.epochs * self.order.steps
        check_method(self.model, config.micro_batch, ranks.size)
        self.precision = Precision(config, ranks.device)
        self.precision.prepare(self.model)
        self.model.to(ranks.device).train()
        if config.activation_checkpointing:
            checkpoint_activations(self.model)
        self.optimiser = build_optimiser(self.model, config, self.total_steps)
        self.schedule = Schedule(self.optimiser, config, self.total_steps)

        self.report = RunReport(str(folder.folder), notes=notes)
        if self.order.batch_size < config.batch_size:
            self.report.notes.append(
                f"the data has {self.order.batch_size} pairs a step, fewer than batch_size "
                f"{config.batch_size}"
            )
        self.epoch = self.step_in_epoch = 0  # both from 0: the next step to make
        self.best, self.waited = float("-inf"), 0
        self.epoch_loss = 0.0  # sum over the epoch's steps
        # Every process its own random numbers, or dropout would be the same in all shares.
        seed_everything(recipe.seed + ranks.rank)

    @property
    def step(self) -> int:
        """Steps made so far in the whole run."""
        return self.epoch * self.order.steps + self.step_in_epoch

    def go(self, should_stop: Callable[[], bool]) -> RunReport:
        """Train to the end, or until told to stop."""
        self.resume()
        started, seconds_before = time.monotonic(), self.report.seconds
        warm = int(self.config.warmup * self.total_steps)
        watch = LossWatch(self.order.batch_size, max(warm, self.step))
        window = _Window(self.step)
        places = [divmod(step, self.order.steps) for step in range(self.step, self.total_steps)]
        steps = read_ahead(self.reader, places, self.config.workers)
        while self.epoch < self.config.epochs and not self.early_stop():
            while self.step_in_epoch < self.order.steps:
                loaded = next(steps)
                self.report.skipped.update(loaded.skipped)
                lr = self.schedule.before_step(self.step)
                if not self.ranks.any(loaded.batch is None):
                    loss, pairs = self.one_step(loaded.batch)
                    self.epoch_loss += loss
                    window.add(loss, pairs)
                    warning = watch.see(self.step, loss)
                    if warning:
                        self.tell(window, lr, warning=warning)
                self.step_in_epoch += 1
                self.report.seconds = seconds_before + time.monotonic() - started
                if self.step % self.config.log_every == 0:
                    self.tell(window, lr)
                stop = self.ranks.any(should_stop())
                due = self.config.save_every_steps
                if stop or (due and self.step % due == 0):
                    self.save_last()
                if stop:
                    return self.stopped("it was told to")
            self.end_epoch(window, lr)
        if self.early_stop():
            self.report.notes.append(
                f"stopped early: {self.waited} epochs without a better validation"
            )
        return self.finish()

    def one_step(self, batch: Any) -> tuple[float, int]:
        """Loss, gradients, update; returns the loss and the pairs of the global batch."""
        config, model = self.config, self.model
        pairs = len(batch.video_ids) * self.ranks.size
        videos = [self.training.video_ids[row] for row in batch.video_ids.tolist()]
        if config.same_video_negatives:
            batch = type(batch)(batch.video, batch.text, None, batch.extra)
        self.optimiser.zero_grad(set_to_none=True)
        parts = backward(
            model, batch, self.ranks, micro_batch=config.micro_batch,
            autocast=self.precision.autocast, scale=self.precision.scale,
        )  # fmt: skip
        check_loss(parts, self.step, videos)
        self.precision.unscale(self.optimiser)
        largest = config.max_grad_norm or float("inf")
        norm = clip_grad_norm(model, largest)
        if self.precision.may_step(norm, self.step):
            check_gradients(model, norm, self.step)
        self.precision.step(self.optimiser)
        for module in model.modules():
            if hasattr(module, "clamp_logit_scale"):
                module.clamp_logit_scale()
        return float(parts["loss"].detach()), pairs

    def end_epoch(self, window: _Window, lr: float) -> None:
        """Validate, keep the best, save."""
        figures, better = {}, False
        if self.ranks.first:
            figures = validate(self.model, self.validation, self.recipe.evaluate)
        figures = self.ranks.from_first(figures)
        figure = figures[self.config.select]
        self.waited = 0 if figure > self.best else self.waited + 1
        self.epoch += 1
        self.step_in_epoch = 0
        self.report.loss, self.epoch_loss = self.epoch_loss / self.order.steps, 0.0
        self.report.epochs, self.report.steps = self.epoch, self.step
        better = figure >= self.best  # as published, of equal epochs the later one
        if better:
            self.best, self.report.best, self.report.best_epoch = figure, figures, self.epoch
            if self.ranks.first:
                self.save_best()
        self.schedule.after_epoch(figure)
        self.tell(window, lr, validation=figures, best=better)
        self.save_last()

    def early_stop(self) -> bool:
        return 0 < self.config.early_stop <= self.waited

    def stopped(self, why: str) -> RunReport:
        self.report.stopped = why
        self.report.steps = self.step
        self.merge_skipped()
        return self.report

    def finish(self) -> RunReport:
        self.merge_skipped()
        if self.ranks.first:
            self.folder.save_report(self.report.to_json())
        return self.report

    def merge_skipped(self) -> None:
        """The videos that any process could not read."""
        for skipped in self.ranks.collect(self.report.skipped):
            self.report.skipped.update(skipped)

    def tell(self, window: _Window, lr: float, **more: Any) -> None:
        """Report and log where the run is; the window begins anew unless it is a warning."""
        left = self.total_steps - self.step
        now = Progress(
            epoch=min(self.epoch + 1, self.config.epochs) if self.step_in_epoch else self.epoch,
            epochs=self.config.epochs,
            step=self.step,
            steps=self.total_steps,
            loss=window.loss,
            lr=lr,
            pairs_per_s=window.pairs_per_s,
            eta_s=window.seconds_per_step * left,
            **more,
        )
        if self.ranks.first:
            entry = {k: v for k, v in asdict(now).items() if k not in ("validation", "best")}
            if now.validation:
                entry |= {f"validation/{k}": v for k, v in now.validation.items()}
                entry |= {"best": now.best, "epoch_loss": self.report.loss}
            self.folder.log({k: v for k, v in entry.items() if v != ""})
            self.on_progress(now)
        if not now.warning:
            window.clear(self.step)

    # ------------------------------------------------------------------ saving and going on

    def save_best(self) -> None:
        """The checkpoint of this epoch, with the query bank that belongs to it."""
        recipe = self.recipe
        provenance = {
            "recipe": recipe.name,
            "source": recipe.source,
            "seed": recipe.seed,
            "trained_on": f"{self.training.name} {self.training.split}",
            "validated_on": f"{self.validation.name} {self.validation.split}",
            "epoch": self.report.best_epoch,
            "validation_t2v": self.report.best,
        }
        bank = recall_bank(self.model, self.training, recipe.evaluate, recipe.seed)
        self.folder.save_best(self.model, recipe.method, provenance, bank)

    def save_last(self) -> None:
        """All that the next step depends on."""
        randomness = self.ranks.collect(random_states())
        if not self.ranks.first:
            return
        self.folder.save_last(
            {
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "steps_per_epoch": self.order.steps,
                "epoch_loss": self.epoch_loss,
                "best": self.best,
                "waited": self.waited,
                "report": self.report.to_json(),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state(),
                "scaler": self.precision.state(),
                "random": randomness,
            }
        )

    def resume(self) -> None:
        """Go on from the last saved state, where there is one.

        Raises:
            UsageError: the data has changed since.
        """
        state = self.folder.load_last()
        if state is None:
            if self.ranks.first:
                self.folder.rewind_log(-1)
            return
        if state["steps_per_epoch"] != self.order.steps:
            raise UsageError(
                f"The data has changed: {self.order.steps} steps an epoch, "
                f"{state['steps_per_epoch']} when '{self.folder.folder}' was begun. Put it back, "
                "or choose another --output."
            )
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.epoch_loss, self.best, self.waited = (
            state["epoch_loss"], state["best"], state["waited"],
        )  # fmt: skip
        notes = self.report.notes
        self.report = RunReport.from_json(
            state["report"], output=self.report.output, notes=notes, stopped=""
        )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.restore(state["schedule"])
        self.precision.restore(state["scaler"])
        if len(state["random"]) == self.ranks.size:
            set_random_states(state["random"][self.ranks.rank])
        else:
            notes.append(
                f"begun on {len(state['random'])} processes, goes on with {self.ranks.size}: the "
                "same data order, other random numbers"
            )
        if self.ranks.first:
            self.folder.rewind_log(self.step)


class _Window:
    """Means since the last report."""

    def __init__(self, step: int) -> None:
        self.clear(step)

    def clear(self, step: int) -> None:
        self.sum, self.count, self.pairs = 0.0, 0, 0
        self.first_step, self.started = step, time.monotonic()

    def add(self, loss: float, pairs: int) -> None:
        self.sum += loss
        self.count += 1
        self.pairs += pairs
        self.seconds = time.monotonic() - self.started

    @property
    def loss(self) -> float:
        return self.sum / max(self.count, 1)

    @property
    def pairs_per_s(self) -> float:
        return self.pairs / max(time.monotonic() - self.started, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        return (time.monotonic() - self.started) / max(self.count, 1)


def seed_everything(seed: int) -> None:
    """Torch's, numpy's and Python's generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states() -> dict[str, Any]:
    """All generators, in types that load without unpickling code."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), keys.tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def set_random_states(state: dict[str, Any]) -> None:
    """Back to what ``random_states`` saw."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    """Those that are trained."""
    return [p for p in model.parameters() if p.requires_grad]
