"""A split of a recipe's data, ready for its method: one door for every kind of data."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finecut.errors import UsageError
from finecut.learn.checkpoint import method_spec
from finecut.learn.data.benchmark import Benchmark
from finecut.learn.data.folder import Folder
from finecut.learn.data.pairs import PairData
from finecut.learn.data.readers import read, sniff
from finecut.learn.data.video_pairs import VideoPairs, readable
from finecut.learn.inputs.text import text_inputs_for
from finecut.learn.inputs.video import frame_needs
from finecut.learn.recipe import expand

if TYPE_CHECKING:
    from finecut.learn.recipe import Recipe

log = logging.getLogger(__name__)

ROLES = ("train", "validation", "test")


def open_split(
    recipe: Recipe,
    split: str,
    *,
    root: Path | str | None = None,
    training: bool = False,
    text_state: Path | str | None = None,
    config: object = None,
) -> PairData:
    """One split of a recipe's data.

    Args:
        recipe: the run's.
        split: a role of the recipe (train, validation, test), or a split's own name.
        root: the data's folder instead of the recipe's.
        training: text preparation learns from this split's sentences.
        text_state: the folder in which a run keeps what text preparation learnt.
        config: the method's config where it is not the recipe's (a loaded checkpoint's).

    Raises:
        UsageError: no such split, no folder, or text preparation that has nothing to go by.
        AnnotationError: annotation files that are broken or of no known benchmark.
    """
    data = recipe.data
    if data.kind == "features":
        from finecut.learn.data.feature_pairs import open_features

        return open_features(
            recipe, split, root=root, training=training, text_state=text_state, config=config
        )
    if config is None:
        from finecut.learn.training.start import StartingPoint

        config = StartingPoint(recipe).config()
    folder = Folder(recipe.data_root(root))
    benchmark = find_benchmark(recipe, split, folder)
    text = text_inputs_for(
        recipe.method,
        config,
        training_sentences=[sentence for _, sentence in benchmark.pairs()] if training else None,
        state=None if training or text_state is None else Path(text_state),
        # What is read of it is in the text state afterwards.
        vocabulary=expand(data.vocabulary) if training and data.vocabulary else None,
    )
    needs = frame_needs(recipe.method, config)
    if data.kind == "cache":
        from finecut.learn.data.cache import open_cache

        cached = open_cache(recipe, benchmark, folder, text, needs)
        if cached is not None:
            return cached
        log.warning(
            "the cache holds no video of the split %s: its videos are decoded", benchmark.split
        )
    footage = readable(benchmark, folder)
    if not footage:
        raise UsageError(
            f"{folder.root}: not one of the {benchmark.n_videos} videos of the split "
            f"{benchmark.split!r} is there and can be read; `finecut data check` says more."
        )
    kind = method_spec(recipe.method).model
    tower = kind.frozen_tower() if hasattr(kind, "frozen_tower") else None
    return VideoPairs(benchmark, footage, text, data.sampling, needs, tower)


def find_benchmark(recipe: Recipe, split: str, folder: Folder, *, whole: bool = False) -> Benchmark:
    """The annotations of a role or split of the recipe, a held-out share taken off or alone.

    Args:
        recipe: the run's.
        split: role or name.
        folder: the data's.
        whole: nothing is held out.
    """
    data = recipe.data
    if not whole and data.held_out is not None and split in ("train", "validation"):
        every = _read(recipe, data.train, folder)
        return hold_out(every, data.held_out, recipe.seed)[split == "validation"]
    named = getattr(data, split, None) if split in ROLES else None
    if named and named != split and not _has(recipe, named, folder) and _has(recipe, split, folder):
        named = None  # a folder that holds the split under its plain name only
    return _read(recipe, named or split, folder)


def hold_out(whole: Benchmark, share: float, seed: int) -> tuple[Benchmark, Benchmark]:
    """(the rest, the share): whole videos, drawn by the seed, at least one on each side.

    Raises:
        UsageError: fewer than two videos.
    """
    count = len(whole.items)
    if count < 2:
        raise UsageError(f"{whole.name} {whole.split}: {count} videos cannot be held out from.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    kept = set(order[: min(count - 1, max(1, round(share * count)))])
    parts = [
        replace(
            whole,
            split=name,
            items=tuple(item for row, item in enumerate(whole.items) if (row in kept) is inside),
            published=(None, None),
        )
        for name, inside in ((whole.split, False), (f"{whole.split}, held out", True))
    ]
    return parts[0], parts[1]


def _has(recipe: Recipe, name: str, folder: Folder) -> bool:
    return any(
        split == name and kind == (recipe.data.format or kind) for kind, split in sniff(folder)
    )


def _read(recipe: Recipe, name: str, folder: Folder) -> Benchmark:
    return read(folder, name, name=recipe.data.format or None)
