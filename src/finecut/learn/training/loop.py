"""Training, from a recipe to a run folder: read from top to bottom.

The same command goes on where a run stopped, bit for bit as if it had not; under torchrun several
processes share each batch and give what one would.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from finecut.errors import UsageError
from finecut.learn.data.pairs import ChecksModel, KnowsSizes, LearnsText, PairData
from finecut.learn.evaluation.report import hash_queries
from finecut.learn.methods.protocol import Batch
from finecut.learn.optim import clip_grad_norm
from finecut.learn.recipe import Recipe
from finecut.learn.training.backward import backward, check_method
from finecut.learn.training.batches import Order, Reader, read_ahead
from finecut.learn.training.optimisers import Schedule, build_optimiser
from finecut.learn.training.precision import Precision, checkpoint_activations
from finecut.learn.training.randomness import random_states, seed_everything, set_random_states
from finecut.learn.training.ranks import Ranks, join
from finecut.learn.training.report import Progress, RunReport, Window
from finecut.learn.training.run_folder import TEXT_STATE, RunFolder
from finecut.learn.training.start import StartingPoint
from finecut.learn.training.validate import recall_bank, validate
from finecut.learn.training.watch import LossWatch, check_gradients, check_loss, gradient_norm

Role = Literal["train", "validation"]


class OpenData(Protocol):
    """Opens the splits of a run; ``open_split`` unless told otherwise."""

    def __call__(self, role: Role, config: Any, text_state: Path) -> PairData:
        """One split.

        Args:
            role: train or validation.
            config: the method's config; None for train where only the data knows it all.
            text_state: the folder of what text preparation learnt, for validation.
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
                return done
            run = Run(recipe, folder, ranks, data or from_recipe, on_progress)
            return run.go(should_stop or (lambda: False))


class Run:
    """One run in one process: everything that `go` works with."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        ranks: Ranks,
        open_data: OpenData,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        config = recipe.train
        self.recipe, self.config, self.folder, self.ranks = recipe, config, folder, ranks
        self.on_progress = on_progress

        # Weights, data, model: each says what the next must look like.
        text_state = folder.folder / TEXT_STATE
        start = StartingPoint(recipe)
        self.training = open_data("train", start.config(), text_state)
        facts = self.training.model_facts() if isinstance(self.training, KnowsSizes) else {}
        self.model, notes = start.build(facts)
        if isinstance(self.training, LearnsText):
            if ranks.first:
                self.training.save_text_state(text_state)
            self.training.prepare_model(self.model)
        ranks.from_first(None)  # the others wait until the text state is written
        self.validation = open_data("validation", self.model.config, text_state)
        for data in (self.training, self.validation):
            if isinstance(data, ChecksModel):
                data.check_model(self.model)
            if data.missing:
                notes.append(
                    f"{data.name} {data.split}: {len(data.missing)} videos are not there or cannot "
                    f"be read ({', '.join(data.missing[:3])}{', ...' if data.missing[3:] else ''})"
                )

        self.order = Order(self.training, config, recipe.seed)
        # What a resumed run must find again: the same videos, sentences and owners, in this order.
        self.pairs = hash_queries(
            self.training.video_ids, self.training.sentences, self.training.video_of_text
        )
        self.reader = Reader(self.training, self.order, ranks.rank, ranks.size)
        self.total_steps = config.epochs * self.order.steps
        if self.order.batch_size < config.batch_size:
            notes.append(f"the data gives {self.order.batch_size} pairs a step at most")

        check_method(self.model, config.micro_batch, ranks.size)
        self.precision = Precision(config, ranks.device)
        self.precision.prepare(self.model)
        self.model.to(ranks.device).train()
        if config.activation_checkpointing:
            checkpoint_activations(self.model)
        self.optimiser = build_optimiser(self.model, config, self.total_steps)
        self.schedule = Schedule(self.optimiser, config, self.total_steps)

        self.report = RunReport(str(folder.folder), notes=notes)
        self.epoch = self.step_in_epoch = 0  # both from 0: the next step to make
        self.epoch_loss = 0.0  # sum over the epoch's steps so far
        self.best, self.waited = float("-inf"), 0
        # Every process its own random numbers, or dropout would be the same in all shares.
        seed_everything(recipe.seed + ranks.rank)

    @property
    def step(self) -> int:
        """Steps made so far in the whole run."""
        return self.epoch * self.order.steps + self.step_in_epoch

    def go(self, should_stop: Callable[[], bool]) -> RunReport:
        """Train to the end, or until told to stop."""
        config = self.config
        self.resume()
        before = self.report.seconds - time.monotonic()
        warm = int(config.warmup * self.total_steps)
        watch = LossWatch(self.order.batch_size, max(warm, self.step))
        window = Window()
        places = [divmod(step, self.order.steps) for step in range(self.step, self.total_steps)]
        steps = read_ahead(self.reader, places, config.workers)
        lr = self.schedule.before_step(max(self.step - 1, 0))

        while self.epoch < config.epochs and not self.early_stop:
            while self.step_in_epoch < self.order.steps:
                loaded = next(steps)
                self.report.skipped.update(loaded.skipped)
                lr = self.schedule.before_step(self.step)
                if not self.ranks.any(loaded.batch is None):
                    loss = self.one_step(loaded.batch)
                    self.epoch_loss += loss
                    window.add(loss, self.order.batch_size)
                    if warning := watch.see(self.step, loss):
                        self.tell(window, lr, warning=warning)
                self.step_in_epoch += 1
                self.report.seconds = before + time.monotonic()
                if self.step % config.log_every == 0:
                    self.tell(window, lr)
                    window = Window()
                stop = self.ranks.any(should_stop())
                due = config.save_every_steps and self.step % config.save_every_steps == 0
                if stop or due or self.step_in_epoch == self.order.steps:
                    self.save_last()
                if stop:
                    self.report.stopped = "it was told to"
                    self.report.steps = self.step
                    return self.report
            self.end_epoch(window, lr)
            window = Window()
        if self.early_stop:
            self.report.notes.append(f"{self.waited} epochs without a better validation: stopped")
        if self.ranks.first:
            self.folder.save_report(self.report)
        return self.report

    def one_step(self, batch: Batch) -> float:
        """Loss, gradients, update."""
        config, model = self.config, self.model
        videos = [self.training.video_ids[row] for row in batch.video_ids.tolist()]
        if config.same_video_negatives:
            batch = replace(batch, video_ids=None)
        self.optimiser.zero_grad(set_to_none=True)
        parts = backward(
            model, batch, self.ranks, micro_batch=config.micro_batch,
            autocast=self.precision.autocast, scale=self.precision.scale,
        )  # fmt: skip
        check_loss(parts, self.step, videos)
        self.precision.unscale(self.optimiser)
        if self.precision.is_error(gradient_norm(model), self.step):
            check_gradients(model, self.step)
        if config.max_grad_norm:
            clip_grad_norm(model, config.max_grad_norm)
        self.precision.step(self.optimiser)
        for module in model.modules():
            if hasattr(module, "clamp_logit_scale"):
                module.clamp_logit_scale()
        return float(parts["loss"].detach())

    def end_epoch(self, window: Window, lr: float) -> None:
        """Validate, keep the best, save."""
        figures: dict[str, float] = {}
        if self.ranks.first:
            figures, skipped = validate(self.model, self.validation, self.recipe.evaluate)
            self.report.skipped.update(skipped)
        figures = self.ranks.from_first(figures)
        figure = figures[self.config.select]
        better = figure >= self.best  # as published, of equal epochs the later one
        self.waited = 0 if figure > self.best else self.waited + 1
        self.schedule.after_epoch(figure)
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        self.report.epochs, self.report.steps = self.epoch, self.step
        self.report.loss, self.epoch_loss = self.epoch_loss / self.order.steps, 0.0
        if better:
            self.best, self.report.best, self.report.best_epoch = figure, figures, self.epoch
            if self.ranks.first:
                self.save_best()
        self.tell(window, lr, loss=self.report.loss, validation=figures, best=better)
        self.save_last()

    @property
    def early_stop(self) -> bool:
        return 0 < self.config.early_stop <= self.waited

    def tell(self, window: Window, lr: float, **more: Any) -> None:
        """Report and log where the run is."""
        if not self.ranks.first:
            return
        now = Progress(
            epoch=-(-self.step // self.order.steps),
            epochs=self.config.epochs,
            step=self.step,
            steps=self.total_steps,
            lr=lr,
            pairs_per_s=window.pairs_per_s,
            eta_s=window.seconds_per_step * (self.total_steps - self.step),
            **{"loss": window.loss, **more},
        )
        entry = asdict(now)
        figures = entry.pop("validation") or {}
        entry |= {f"validation/{name}": value for name, value in figures.items()}
        self.folder.log(entry)
        if self.on_progress:
            self.on_progress(now)

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
        of_ranks = self.ranks.collect((random_states(), self.report.skipped))
        for _, skipped in of_ranks:
            self.report.skipped.update(skipped)
        if self.ranks.first:
            self.folder.save_last(
                {
                    "epoch": self.epoch,
                    "step_in_epoch": self.step_in_epoch,
                    "steps_per_epoch": self.order.steps,
                    "pairs": self.pairs,
                    "epoch_loss": self.epoch_loss,
                    "best": self.best,
                    "waited": self.waited,
                    "report": self.report.to_json(),
                    "model": self.model.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "schedule": self.schedule.state(),
                    "precision": self.precision.state(),
                    "random": [states for states, _ in of_ranks],
                }
            )

    def resume(self) -> None:
        """Go on from the last saved state, where there is one.

        Raises:
            UsageError: the data has changed since, or the state is not one of this model.
        """
        state = self.folder.load_last()
        if state is not None:
            try:
                self.restore(state)
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]  # torch lists all keys
                raise UsageError(
                    f"The state in '{self.folder.folder}' does not fit this run ({reason}); "
                    "remove the folder 'last' in it to begin again."
                ) from error
        if self.ranks.first:
            self.folder.rewind_log(self.step)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what ``save_last`` wrote."""
        if (state["steps_per_epoch"], state["pairs"]) != (self.order.steps, self.pairs):
            raise UsageError(
                f"The data has changed: {self.order.steps} steps an epoch, "
                f"{state['steps_per_epoch']} when '{self.folder.folder}' was begun, or other "
                "videos or sentences. Put them back, or choose another --output."
            )
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.epoch_loss = state["epoch_loss"]
        self.best, self.waited = state["best"], state["waited"]
        self.report = RunReport.from_json(
            state["report"], output=self.report.output, notes=self.report.notes, stopped=""
        )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.restore(state["schedule"])
        self.precision.restore(state["precision"])
        self.resume_random(state["random"])

    def resume_random(self, states: list[Any]) -> None:
        if len(states) == self.ranks.size:
            set_random_states(states[self.ranks.rank])
            return
        self.report.notes.append(
            f"begun on {len(states)} processes, goes on with {self.ranks.size}: the same order of "
            "the data, other random numbers"
        )
