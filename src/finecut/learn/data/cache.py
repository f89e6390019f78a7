"""The cache of a recipe: made (`make_cache`) and opened (`open_cache`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finecut.errors import UsageError
from finecut.learn.checkpoint import method_spec
from finecut.learn.data.benchmark import AnnotationError, Benchmark, CaptionedVideo
from finecut.learn.data.cache_facts import FACTS, CacheFacts, Dtype, must_fit, read_facts
from finecut.learn.data.cache_pairs import CachedPairs, as_cached
from finecut.learn.data.cache_write import CacheProgress, CacheReport, write_cache
from finecut.learn.data.folder import Folder
from finecut.learn.inputs.text import TextInputs
from finecut.learn.inputs.tower import FrozenTower, feature_names, tower_of
from finecut.learn.inputs.video import FrameNeeds, frame_needs
from finecut.learn.recipe import expand

if TYPE_CHECKING:
    from finecut.learn.recipe import Recipe

log = logging.getLogger(__name__)

JPEG_QUALITY = 95  # docs/data.md has what 85 and 95 cost and change


def make_cache(
    recipe: Recipe,
    output: Path,
    *,
    root: Path | str | None = None,
    splits: Sequence[str] = (),
    features: bool = False,
    dtype: Dtype = "float16",
    jpeg_quality: int = JPEG_QUALITY,
    workers: int = 2,
    on_progress: Callable[[CacheProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> CacheReport:
    """Decode a recipe's videos once, at its sampling; goes on where a run was stopped.

    Args:
        recipe: says which videos, which frames, what size and, for features, what weights.
        output: the cache's folder.
        root: the data's folder instead of the recipe's.
        splits: names or roles; none: all that the recipe names and the folder has.
        features: keep what the method's frozen tower makes of the frames, not the frames.
        dtype: of features.
        jpeg_quality: of frames, 1 to 100.
        workers: threads that decode.
        on_progress: called about once a second.
        should_stop: asked after every video.

    Raises:
        UsageError: the cache there was made from something else; a method without a tower.
    """
    from finecut.learn.training.start import StartingPoint

    if not 1 <= jpeg_quality <= 100:
        raise UsageError(f"jpeg_quality must be from 1 to 100, got {jpeg_quality}.")
    start = StartingPoint(recipe)
    folder = Folder(recipe.data_root(root))
    items = _items(recipe, splits, folder)
    tower: FrozenTower | None = None
    if features:
        model, _ = start.build({})
        tower = tower_of(model)
        needs = frame_needs(recipe.method, model.config)
        facts = CacheFacts(
            kind="features",
            sampling=recipe.data.sampling,
            size=needs.size,
            backbone=tower.fingerprint,
            dtype=dtype,
            shapes={name: value.shape for name, value in tower.padding().items()},
        )
    else:
        needs = frame_needs(recipe.method, start.config())
        facts = CacheFacts("frames", recipe.data.sampling, needs.size, jpeg_quality)
    return write_cache(
        output,
        facts,
        items,
        folder,
        tower=tower,
        workers=workers,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def open_cache(
    recipe: Recipe, benchmark: Benchmark, folder: Folder, text: TextInputs, needs: FrameNeeds
) -> CachedPairs | None:
    """A split out of the recipe's cache; None where it holds no video of the split.

    The cache is the folder ``data.cache``, or the data's folder itself where that is one.

    Raises:
        UsageError: no cache, or one made from something else.
    """
    place = folder.root
    if not (place / FACTS).is_file():
        if not recipe.data.cache:
            raise UsageError(
                'data.kind is "cache": name the folder in data.cache, or with '
                "--set data.cache=FOLDER; `finecut data cache` makes one."
            )
        place = expand(recipe.data.cache)
    facts = read_facts(place)
    wanted = CacheFacts(facts.kind, recipe.data.sampling, needs.size)
    must_fit(facts, as_cached(wanted, facts), place)
    features = facts.kind == "features"
    names = feature_names(method_spec(recipe.method).model) if features else ()
    pairs = CachedPairs(benchmark, place, facts, text, needs, names)
    return pairs if pairs.video_ids else None


def _items(recipe: Recipe, splits: Sequence[str], folder: Folder) -> list[CaptionedVideo]:
    """Every video of the splits; a role whose split the folder does not have is passed over."""
    from finecut.learn.data.open_split import find_benchmark

    data = recipe.data
    wanted = list(splits) or [data.train, data.validation, data.test]
    items: list[CaptionedVideo] = []
    for name in dict.fromkeys(wanted):
        if name == data.validation and data.held_out is not None:
            continue  # a share of the training split
        try:
            found = find_benchmark(recipe, name, folder, whole=True)
        except AnnotationError as error:
            if splits:
                raise
            log.warning("the split %s is left out: %s", name, error)
            continue
        items += found.items
    if not items:
        raise UsageError(f"{folder.root}: none of the splits {', '.join(wanted)} is there.")
    return items
