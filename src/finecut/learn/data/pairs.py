"""One split, ready for one method: what training and evaluation ask of any source of data.

`PairData` is the only thing a trainer or an evaluator knows: rows of videos, rows of sentences,
which belongs to which, and the keyword arguments of a method's two encoders for the rows asked
for. Behind it are video files, a cache of frames or features, or ready-made feature files
(``open_split.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from finecut.errors import UsageError
from finecut.learn.data.benchmark import Protocol as RetrievalProtocol
from finecut.learn.methods.protocol import Batch


@runtime_checkable
class PairData(Protocol):
    """G videos and Q sentences of one split, each sentence belonging to one video.

    ``missing`` names the videos of the annotations that are not there or cannot be read: they are
    in neither ``video_ids`` nor ``sentences``, and a run without them is not standard.
    """

    name: str  # the data set
    split: str
    protocol: RetrievalProtocol
    video_ids: Sequence[str]  # [G]
    sentences: Sequence[str]  # [Q]; "" where only embeddings of the sentence are known
    video_of_text: NDArray[np.int64]  # [Q] row into video_ids
    moments: Sequence[tuple[float, float]] | None  # [Q] seconds of the video
    missing: Sequence[str]

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``encode_video`` for rows of ``video_ids``: CPU tensors, collated.

        Raises:
            VideoError: a video of these rows cannot be read; the message names it.
        """
        ...

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``encode_text`` for rows of ``sentences``: CPU tensors, collated."""
        ...


@runtime_checkable
class LearnsText(Protocol):
    """Data whose text preparation is learnt from the training sentences (IDF, vocabularies).

    The trainer calls both once, before the first step: the files make a run readable without its
    training data, and the model gets the tables that an exported bundle needs.
    """

    def save_text_state(self, folder: Path) -> None:
        """Write what was learnt into ``folder`` (``RUN/text_state``), atomically."""
        ...

    def prepare_model(self, model: torch.nn.Module) -> None:
        """Fill the model's own tables (CAMoE's key pieces, TACo's piece weights)."""
        ...


@runtime_checkable
class ChecksModel(Protocol):
    """Data that fits some models only: features of a frozen tower, which must be the model's."""

    def check_model(self, model: torch.nn.Module) -> None:
        """Called before training and before evaluation.

        Raises:
            UsageError: the features are of another tower.
        """
        ...


@runtime_checkable
class KnowsSizes(Protocol):
    """Data that knows fields of the method's config: sizes of its features, of a vocabulary."""

    def model_facts(self) -> dict[str, Any]:
        """Fields of the config, which the recipe's [model] may override."""
        ...


def make_batch(data: PairData, text_rows: Sequence[int]) -> Batch:
    """Pairs of the given sentences and their videos, as a method's ``loss`` takes them.

    Row i of the text belongs to row i of the video; ``video_ids`` are rows of ``data.video_ids``,
    so that losses can leave out other captions of the same video as negatives. A video that several
    of the sentences belong to is read once and repeated.

    Raises:
        UsageError: no rows, or a row that is not there.
    """
    rows = np.asarray(text_rows, np.int64)
    n_texts = len(data.video_of_text)
    if not len(rows) or rows.min() < 0 or rows.max() >= n_texts:
        raise UsageError(f"make_batch: rows must be 0 to {n_texts - 1}, at least one; got {rows}.")
    videos = np.asarray(data.video_of_text)[rows]
    distinct, place = np.unique(videos, return_inverse=True)
    read = data.video_inputs(distinct.tolist())
    if len(distinct) < len(videos) or not np.array_equal(distinct, videos):
        read = _repeat(read, torch.from_numpy(place), len(distinct))
    return Batch(
        video=read,
        text=data.text_inputs(rows.tolist()),
        video_ids=torch.from_numpy(videos.copy()),
    )


def _repeat(value: Any, place: torch.Tensor, count: int) -> Any:
    """Rows ``place`` of every tensor with ``count`` rows, also inside dictionaries."""
    if torch.is_tensor(value):
        return value[place] if value.ndim and value.shape[0] == count else value
    if isinstance(value, dict):
        return {name: _repeat(inner, place, count) for name, inner in value.items()}
    return value
