"""`finecut train`: a recipe and data in, a run folder out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli import options
from finecut.cli.show import EXIT_INTERRUPTED, command, out, print_json, say, time_text
from finecut.errors import MissingDependency

if TYPE_CHECKING:
    from finecut.learn.training.report import Progress, RunReport

SHOWN = ("r_at_1", "r_at_5", "r_at_10", "MdR")


def register(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command(
        epilog=options.examples(
            "finecut train recipes/laff-flickr8k.toml --output runs/laff",
            "finecut train finetune-starter --data my-videos --output runs/mine",
            "finecut train recipes/laff-flickr8k.toml --output runs/short --set train.epochs=2",
        )
    )(train)


@command
def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of ours.")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="RUN", help="The run's folder.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="The data's folder; the recipe's otherwise."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
    as_json: options.Json = False,
) -> None:
    """Train a method as a recipe says.

    RUN gets the best epoch by validation as a checkpoint for `finecut evaluate` and `finecut
    export`. The same command goes on where it was stopped (Ctrl-C saves first) or killed. Several
    processes: torchrun --nproc-per-node N -m finecut.cli.main train ...
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingDependency(
            'This verb needs torch, which is not installed: pip install "finecut[learn]"'
        )
    from finecut.learn.recipe import load_recipe
    from finecut.learn.training.loop import train as run

    changes = [*(settings or []), *([f"seed={seed}"] if seed is not None else [])]
    loaded = load_recipe(recipe, changes)
    first = os.environ.get("RANK", "0") == "0"
    with _Interrupts() as interrupts:
        report = run(
            loaded,
            output,
            root=data,
            on_progress=_say_progress,
            should_stop=lambda: interrupts.asked,
        )
    if first:
        _tell(report, as_json)
    if report.stopped:
        raise typer.Exit(EXIT_INTERRUPTED)


class _Interrupts:
    """The first Ctrl-C (or SIGTERM) asks the loop to save and stop; the second one ends at once.

    torchrun passes on to its processes what the terminal has sent them already: for a moment the
    same signal counts once.
    """

    ECHO_S = 2.0

    def __init__(self) -> None:
        self.asked_at: float | None = None

    @property
    def asked(self) -> bool:
        return self.asked_at is not None

    def __enter__(self) -> _Interrupts:
        import signal

        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        import signal

        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
            say("stopping after this step; once more to stop at once")
        elif "TORCHELASTIC_RUN_ID" not in os.environ or now - self.asked_at > self.ECHO_S:
            raise KeyboardInterrupt


def _say_progress(now: Progress) -> None:
    if now.warning:
        say(f"warning: {now.warning}")
        return
    if now.validation is not None:
        best = "  (best so far)" if now.best else ""
        say(f"epoch {now.epoch}/{now.epochs}  validation {_figures(now.validation)}{best}")
        return
    loss = "-" if now.loss is None else f"{now.loss:.4f}"
    say(
        f"epoch {now.epoch}/{now.epochs}  step {now.step}/{now.steps}  loss {loss}  "
        f"lr {now.lr:.2e}  {now.pairs_per_s:.0f} pairs/s  {time_text(now.eta_s)} left"
    )


def _figures(values: dict[str, float]) -> str:
    names = {"r_at_1": "R@1", "r_at_5": "R@5", "r_at_10": "R@10", "MdR": "MdR"}
    return "  ".join(f"{names[name]} {values[name]:.1f}" for name in SHOWN if name in values)


def _tell(report: RunReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    for note in report.notes:
        say(note)
    for video, reason in sorted(report.skipped.items()):
        say(f"left out {video}: {reason}")
    if report.stopped:
        say(f"stopped at step {report.steps}; what is done is kept: the same command goes on")
        return
    before = "finished before; " if report.already_finished else ""
    out(
        f"{report.output}  {before}{report.epochs} epochs in {time_text(report.seconds)}, best "
        f"epoch {report.best_epoch}: {_figures(report.best)}"
    )
