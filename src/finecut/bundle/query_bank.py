"""The bank of ordinary queries that a bundle keeps to calibrate its scores with."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import BundleError, ShapeError, UsageError
from finecut.types import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.bundle.manifest import Calibration

MAX_SENTENCES = 20_000
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, repr=False)
class QueryBank:
    """Sentences and what the text graph makes of them."""

    sentences: tuple[str, ...]
    recall: NDArray[np.float32]  # [B, R]
    text: NDArray[np.float32]  # [B, D]

    def __repr__(self) -> str:
        return f"QueryBank({len(self.sentences)} sentences)"


def read_query_bank(bundle: Bundle, calibration: Calibration) -> QueryBank:
    """The bank, its embeddings read from the bundle or made by its text graph.

    Raises:
        BundleError: the bank is no list of sentences, or the embeddings do not fit it.
    """
    where = f"{bundle.files.place}: {calibration.query_bank}"
    sentences = _sentences(bundle.files.read(calibration.query_bank, _MAX_BYTES), where)
    if calibration.bank_embeds is None:
        try:
            tokens = bundle.encode_text(sentences)
        except UsageError as error:
            raise BundleError(
                f"{where} holds a sentence that cannot be encoded: {error}"
            ) from error
        recall = np.stack([item.recall for item in tokens])
        text = np.stack([item.text for item in tokens])
    else:
        video = bundle.manifest.video
        both = _embeds(
            bundle.files.read(calibration.bank_embeds),
            f"{bundle.files.place}: {calibration.bank_embeds}",
            len(sentences),
            video.recall_dim + video.embed_dim,
        )
        recall, text = both[:, : video.recall_dim], both[:, video.recall_dim :]
    return QueryBank(tuple(sentences), np.ascontiguousarray(recall), np.ascontiguousarray(text))


def _sentences(data: bytes, where: str) -> list[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not JSON ({error}).") from error
    fits = (
        isinstance(value, list)
        and 2 <= len(value) <= MAX_SENTENCES
        and all(isinstance(item, str) and item.strip() for item in value)
    )
    if not fits:
        raise BundleError(
            f"{where} must be a JSON list of 2 to {MAX_SENTENCES} sentences, got "
            f"{type(value).__name__}{f' of {len(value)}' if isinstance(value, list) else ''}."
        )
    return value


def _embeds(data: bytes, where: str, rows: int, columns: int) -> NDArray[np.float32]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        check_shape(bank_embeds=(array, f"{rows} {columns}"))
    except (ValueError, EOFError, OSError, AttributeError, ShapeError) as error:
        raise BundleError(f"{where} is no npy array [{rows}, {columns}]: {error}") from error
    if array.dtype not in (np.float16, np.float32) or not np.isfinite(array).all():
        raise BundleError(
            f"{where} must hold finite float16 or float32 numbers, got {array.dtype}."
        )
    return array.astype(np.float32)
