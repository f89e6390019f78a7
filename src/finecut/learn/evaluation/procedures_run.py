"""A run evaluated on CrossTask or COIN, from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finecut.errors import UsageError
from finecut.learn.checkpoint import load_checkpoint
from finecut.learn.data.folder import Folder
from finecut.learn.evaluation.cache import PartCache, hash_checkpoint, hash_folder
from finecut.learn.evaluation.procedures import (
    SecondsOf,
    coin_figures,
    crosstask_figures,
    holds_procedures,
)
from finecut.learn.evaluation.run import read_run, torch_device
from finecut.learn.evaluation.tokens import Progress
from finecut.learn.inputs.text import text_inputs_for
from finecut.learn.inputs.video import frame_needs
from finecut.learn.training.run_folder import TEXT_STATE


def is_procedure(runs: Sequence[Path], root: Path | None, split: str) -> bool:
    """Whether the split asked for is CrossTask's ``primary`` or COIN's ``testing``."""
    if root is None and split in ("primary", "testing"):
        root = read_run(runs[0]).data_root()
    return root is not None and holds_procedures(root, split)


def evaluate_procedures(
    run: Path,
    split: str,
    *,
    root: Path | None = None,
    device: str = "cpu",
    cache: bool = True,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """``crosstask`` or ``coin`` figures of the best epoch of a run, in percent.

    Args:
        run: the folder that `finecut train` wrote.
        split: ``primary`` (CrossTask) or ``testing`` (COIN, trained on ``training``).
        root: the data's folder instead of the recipe's.
        device: where the model runs.
        cache: keep every video's tokens, so that an interrupted evaluation goes on.
        on_progress: called with (what, done, total).

    Raises:
        UsageError: no run, no video, or a method that keeps nothing of single frames.
    """
    recipe = read_run(run)
    model: Any = load_checkpoint(run).to(torch_device(device))
    place = recipe.data_root(root)
    folder = Folder(place)
    config = model.config
    inner = getattr(config, "taco", config)
    if hasattr(config, "clip"):
        needs = frame_needs(recipe.method, config)
        windows = SecondsOf(folder, needs.max_frames, needs)
    elif hasattr(config, "feature_dim"):
        windows = SecondsOf(folder, inner.max_frames, None, config.feature_dim)
    else:
        raise UsageError(
            f"{recipe.method} takes neither frames nor one feature a second: CrossTask and COIN "
            "are measured with the CLIP-based methods, or with taco on features."
        )
    store = None
    if cache:
        what = [hash_folder(place, but=run), recipe.to_toml(), "seconds"]
        store = PartCache(run, hash_checkpoint(run), what)
    facts = {
        "split": split,
        "method": recipe.method,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "standard": False,
    }
    if split == "primary":
        state = run / TEXT_STATE
        text = text_inputs_for(recipe.method, config, state=state if state.is_dir() else None)
        figures = crosstask_figures(
            model, folder, windows, text, store=store, on_progress=on_progress
        )
        why = "every annotated video counts; the articles differ in which are left out"
        found = {"crosstask": figures, "name": "CrossTask", **facts}
    else:
        figures = coin_figures(
            model, folder, windows, seed=recipe.seed, store=store, on_progress=on_progress
        )
        why = "the articles do not say how their classifier was trained"
        found = {"coin": figures, "name": "COIN", **facts}
    missing = f"; {figures['missing']} videos are missing" if figures["missing"] else ""
    return {**found, "why_not": why + missing}
