"""Pairs whose videos come out of a cache: ``kind = "cache"`` of a recipe."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from finecut.errors import UsageError
from finecut.index.tables import load_lance
from finecut.learn.data.benchmark import Benchmark
from finecut.learn.data.cache_facts import (
    PADDING,
    TABLE,
    CacheFacts,
    item_key,
    unpack,
)
from finecut.learn.data.video_pairs import Captions
from finecut.learn.inputs.text import TextInputs
from finecut.learn.inputs.tower import pad_features, tower_of
from finecut.learn.inputs.video import FrameNeeds, pixel_inputs

if TYPE_CHECKING:
    import pyarrow as pa


class CachedPairs(Captions):
    """Videos of a cache with their captions: decoded JPEG frames, or a frozen tower's features."""

    def __init__(
        self,
        benchmark: Benchmark,
        folder: Path,
        facts: CacheFacts,
        text: TextInputs,
        needs: FrameNeeds,
        names: tuple[str, ...] = (),
    ) -> None:
        """Args:
        benchmark: the split.
        folder: the cache.
        facts: its facts.
        text: of the method.
        needs: of the method.
        names: features that the method takes.

        Raises:
            UsageError: the cache lacks a feature.
        """
        self._place, self._version, self._dataset = str(folder / TABLE), None, None
        self.folder, self.facts, self.needs = folder, facts, needs
        place = _places(self._open()) if (folder / TABLE).exists() else {}
        there = [item for item in benchmark.items if item_key(item) in place]
        super().__init__(benchmark, there, text)
        self._rows = np.array([place[item_key(item)] for item in there], np.int64)
        self._padding: dict[str, NDArray[np.float32]] = {}
        if facts.kind == "features":
            from safetensors.numpy import load_file

            padding = load_file(folder / PADDING)
            lacking = sorted(set(names) - set(padding))
            if lacking:
                raise UsageError(
                    f"The cache {folder} has no {', '.join(lacking)}, which this method takes: "
                    "make a cache with this method's recipe."
                )
            self._padding = {name: padding[name] for name in names}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}  # a worker opens the table itself

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``encode_video``: ``pixels``, or ``frames_raw`` and more."""
        names = ["n_frames", *(("frames",) if self.facts.kind == "frames" else self._padding)]
        order = self._rows[list(rows)]
        # Lance gives rows in the order asked for; asking in rising order reads once through.
        distinct, place = np.unique(order, return_inverse=True)
        table = self._open().take(distinct.tolist(), columns=names)
        if self.facts.kind == "frames":
            frames = [_decode(jpegs) for jpegs in table["frames"].to_pylist()]
            return pixel_inputs([frames[i] for i in place], self.needs)
        features = self._features(table)
        return pad_features([features[i] for i in place], self._padding, self.needs.max_frames)

    def check_model(self, model: nn.Module) -> None:
        """Refuse a model whose tower is not the one the features were made with.

        Raises:
            UsageError: with both fingerprints.
        """
        if self.facts.kind != "features":
            return
        own = tower_of(model).fingerprint
        if own != self.facts.backbone:
            raise UsageError(
                f"The cache {self.folder} holds features of the backbone {self.facts.backbone}, "
                f"this model's is {own}: make the features anew with these weights, "
                "or use the weights they were made with."
            )

    def _features(self, table: pa.Table) -> list[dict[str, NDArray[np.float32]]]:
        counts = table["n_frames"].to_pylist()
        dtype, shapes = self.facts.dtype or "float16", self.facts.shapes or {}
        columns = {name: table[name].to_pylist() for name in self._padding}
        return [
            {name: unpack(columns[name][i], n, shapes[name], dtype) for name in self._padding}
            for i, n in enumerate(counts)
        ]

    def _open(self) -> Any:
        if self._dataset is None:
            lance = load_lance()
            self._dataset = lance.dataset(self._place, version=self._version)
            self._version = self._dataset.version
        return self._dataset


def _places(dataset: Any) -> dict[str, int]:
    """Row of each readable item, by key."""
    table = dataset.to_table(columns=["key", "reason"])
    pairs = zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return {key: row for row, (key, reason) in enumerate(pairs) if not reason}


def _decode(jpegs: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"])) for data in jpegs])


def as_cached(wanted: CacheFacts, facts: CacheFacts) -> CacheFacts:
    """``wanted`` with what a recipe does not decide taken over from the cache.

    The kind, the JPEG quality and the number format are the cache's own affair when it is read;
    the backbone is checked against the model (``check_model``).
    """
    return replace(
        wanted,
        kind=facts.kind,
        jpeg_quality=facts.jpeg_quality,
        dtype=facts.dtype,
        backbone=facts.backbone,
        shapes=facts.shapes,
    )
