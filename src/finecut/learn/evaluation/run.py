"""Evaluate the folder that training wrote: its model, its text preparation, its query bank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finecut.errors import UsageError, VideoError
from finecut.learn.checkpoint import CONFIG, load_checkpoint
from finecut.learn.data.benchmark import Protocol
from finecut.learn.data.folder import Folder
from finecut.learn.data.open_split import find_benchmark, open_split
from finecut.learn.data.pairs import ChecksModel, PairData
from finecut.learn.data.video_pairs import VideoPairs
from finecut.learn.encoders.archive import read_tensors
from finecut.learn.evaluation.cache import PartCache, hash_checkpoint, hash_folder
from finecut.learn.evaluation.evaluate import evaluate_model
from finecut.learn.evaluation.report import Report
from finecut.learn.evaluation.standing import standing
from finecut.learn.evaluation.tokens import Progress
from finecut.learn.recipe import Recipe, expand, load_recipe
from finecut.learn.training.run_folder import BANK, RECIPE, TEXT_STATE
from finecut.learn.training.validate import without_unreadable

ON_LOGITS = frozenset({"clip4clip", "eercf", "camoe"})  # methods whose loss scales similarities


@dataclass(frozen=True)
class Options:
    """What is asked for beside the plain column; None takes the recipe's number."""

    rerank: bool | None = None  # None: where the method re-ranks
    recall_k: int | None = None
    every_candidate: bool = False
    dsl: bool = False
    dsl_temperature: float | None = None  # of similarities; the recipe's is of logits
    qbnorm: bool = False
    beta: float | None = None
    batch_size: int | None = None
    cache: bool = True
    device: str = "cpu"
    relevance: Path | None = None
    protocol: Protocol | None = None  # None: the split's own


def evaluate_run(
    run: Path,
    split: str,
    *,
    root: Path | None = None,
    options: Options | None = None,
    on_progress: Progress | None = None,
    on_open: Callable[[PairData], None] | None = None,
) -> Report:
    """Every column asked for, of the best epoch of a run on one split.

    Args:
        run: the folder that `finecut train` wrote.
        split: a name that `finecut data check` prints, or the recipe's train, validation, test.
        root: the data's folder instead of the recipe's; may hold this split alone.
        options: what to measure.
        on_progress: called with (what, done, total).
        on_open: called with the opened split before anything is encoded.

    Raises:
        UsageError: no run, no such split, no query bank where QB-Norm is asked for.
    """
    options = options or Options()
    recipe = read_run(run)
    model: Any = load_checkpoint(run).to(torch_device(options.device))
    data, own_protocol = _open(run, recipe, split, root, model, options.protocol)
    if on_open:
        on_open(data)
    published = getattr(data, "published", (None, None))
    settings = _settings(run, recipe, model, options)
    files = _hash_data(run, recipe, root) if options.cache else ""

    def measured(data: PairData, unreadable: Mapping[str, str]) -> Report:
        facts = _facts(recipe, split, data, published, own_protocol)
        if unreadable:
            facts["unreadable"] = dict(unreadable)
        store = None
        if options.cache:
            asked = [files, recipe.to_toml(), data.name, data.split, str(settings["batch_size"])]
            texts = [*data.video_ids, "", *data.sentences]
            store = PartCache(run, hash_checkpoint(run), [*asked, *texts])
        return evaluate_model(
            model, data, store=store, facts=facts, on_progress=on_progress, **settings
        )

    try:
        return measured(data, {})
    except VideoError:  # its first frame could be read and others cannot: go on without it
        rest, reasons = without_unreadable(data)
        return measured(rest, reasons)


def _settings(run: Path, recipe: Recipe, model: Any, options: Options) -> dict[str, Any]:
    """Arguments of ``evaluate_model``: what was asked for, and the recipe's numbers."""
    wanted = recipe.evaluate
    every = options.every_candidate
    rerank = options.rerank
    if rerank is None:
        rerank = every or bool(options.recall_k) or bool(getattr(model, "reranks", True))
    temperature = options.dsl_temperature
    if temperature is None:
        temperature = wanted.dsl_temperature / logit_scale(recipe.method, model)
    return {
        "recall_k": None if every else options.recall_k or wanted.recall_k,
        "rerank": rerank,
        "dsl": temperature if options.dsl else None,
        "qbnorm": read_bank(run) if options.qbnorm else None,
        "beta": options.beta or wanted.qbnorm_beta,
        "relevance": options.relevance,
        "batch_size": options.batch_size or wanted.batch_size,
    }


def _facts(
    recipe: Recipe,
    split: str,
    data: PairData,
    published: tuple[int | None, int | None],
    own_protocol: str,
) -> dict[str, Any]:
    chosen_on = data.split if split == "validation" else recipe.data.validation
    return {
        "method": recipe.method,
        "recipe": recipe.name,
        "seed": recipe.seed,
        **standing(
            data,
            published=published,
            changed_protocol=own_protocol if own_protocol != data.protocol else None,
            chosen_on=chosen_on,
        ),
    }


def _open(
    run: Path,
    recipe: Recipe,
    split: str,
    root: Path | None,
    model: Any,
    protocol: Protocol | None,
) -> tuple[PairData, str]:
    """The split, under another protocol where that is asked for; and its own protocol."""
    state = run / TEXT_STATE
    data = open_split(
        recipe,
        split,
        root=root,
        text_state=state if state.is_dir() else None,
        config=model.config,
    )
    if isinstance(data, ChecksModel):
        data.check_model(model)
    if protocol is None or protocol == data.protocol:
        return data, data.protocol
    if not isinstance(data, VideoPairs):
        raise UsageError(
            f'--protocol {protocol} takes videos (data.kind = "videos"), not {recipe.data.kind}: '
            f"this split's own protocol is {data.protocol}."
        )
    benchmark = find_benchmark(recipe, split, Folder(recipe.data_root(root)))
    footage = dict(zip(data.video_ids, data.footage, strict=True))
    changed = VideoPairs(
        replace(benchmark, protocol=protocol), footage, data.text, data.sampling, data.needs
    )
    return changed, data.protocol


def _hash_data(run: Path, recipe: Recipe, root: Path | None) -> str:
    """Of the data's files, and of a cache that is kept elsewhere."""
    places = [recipe.data_root(root)]
    if recipe.data.cache:
        places.append(expand(recipe.data.cache))
    return " ".join(hash_folder(place, but=run) for place in places)


def read_run(run: Path) -> Recipe:
    """The recipe of a run.

    Raises:
        UsageError: the folder is no run.
    """
    if not (run / RECIPE).is_file() or not (run / CONFIG).is_file():
        found = "there is no such folder" if not run.is_dir() else "it lacks one of them"
        raise UsageError(
            f"'{run}' is no run: expected a folder with {RECIPE} and {CONFIG}, as `finecut train "
            f"--output` writes; {found}."
        )
    return load_recipe(run / RECIPE)


def read_bank(run: Path) -> NDArray[np.float32]:
    """Recall vectors [N, R] of training sentences that the run keeps for QB-Norm.

    Raises:
        UsageError: the run keeps none.
    """
    path = run / BANK
    if not path.is_file():
        raise UsageError(
            f"'{run}' has no {BANK}: QB-Norm needs sentences of the training split. Train with "
            "evaluate.bank_size above 0."
        )
    tensors = read_tensors(path)
    bank = tensors.get("recall")
    if bank is None or bank.ndim != 2 or not len(bank):
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        raise UsageError(f"'{path}': expected a tensor recall [N, R], got {shapes}.")
    return bank.float().numpy()


def logit_scale(method: str, model: Any) -> float:
    """What a loss multiplies similarities by, of methods whose recipes state temperatures of
    logits; else 1: LAFF's recipes state them of its cosines."""
    if method == "laff-starter":
        return float(model.scale().detach())
    clip = getattr(model, "clip", None)
    if method not in ON_LOGITS or clip is None:
        return 1.0
    return float(clip.logit_scale.detach().float().exp())


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UsageError: there is none here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name!r}: {error}") from error
    return device


def same_method(runs: Sequence[Path]) -> None:
    """Refuse runs that are no seeds of one another.

    Raises:
        UsageError: methods differ.
    """
    methods = {str(run): read_run(run).method for run in runs}
    if len(set(methods.values())) > 1:
        raise UsageError(
            f"Several runs are averaged as seeds of one method, got {methods}; evaluate them one "
            "by one and compare with --against."
        )
