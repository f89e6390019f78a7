"""Candidates' stored tokens to the inputs of `rerank.onnx`.

Tokens are int8 with a scale each. Frames are few: their integers meet the query in float32, in
blocks that fit a cache, and the scale is applied to the result. Patches are many, and meet it as
integers (`token_products`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from finecut.errors import IndexMismatch
from finecut.search.token_products import patch_products

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.bundle.manifest import Manifest
    from finecut.index.rows import StoredTokens
    from finecut.types import TextTokens

Values = TypeVar("Values")

_BLOCK_BYTES = 1 << 20  # float32 copies of tokens are made in pieces of about this size


def lacking(manifest: Manifest, tokens: StoredTokens) -> list[str]:
    """Stored levels the bundle's re-ranker needs and these tokens do not have.

    An index built with ``--levels video`` or ``frame`` may not be able to serve every re-ranker.
    """
    rerank = manifest.rerank
    if rerank is None:
        return []
    inputs = set(rerank.inputs) if rerank.kind == "late" else {"frame_sims"}
    gram_of_frames = not manifest.video.frame_values and "frame_gram" in inputs
    gram_of_values = manifest.video.frame_values and "frame_gram" in inputs
    needed = {
        "frame": bool(inputs & {"frame_sims", "word_frame_sims"}) or gram_of_frames,
        "patch": "patch_sims" in inputs,
        "frame_values": "frame_value_sims" in inputs or gram_of_values,
    }
    have = {
        "frame": tokens.frames is not None,
        "patch": tokens.patches is not None,
        "frame_values": tokens.frame_values is not None,
    }
    return [level for level, wanted in needed.items() if wanted and not have[level]]


def rerank_inputs(
    manifest: Manifest,
    query: TextTokens,
    recall_score: NDArray[np.float32],
    tokens: StoredTokens,
    *,
    threads: int | None = None,
) -> dict[str, NDArray[Any]]:
    """The arrays the manifest's re-ranker asks for, for the K candidates of one query.

    Args:
        manifest: of the bundle that made the tokens.
        query: text [D], words [W, D] or None (an image: its one token stands for the words).
        recall_score: [K] float32.
        tokens: of the K candidates, padded to F frames.
        threads: to read patches with; None for all cores.

    Returns: name -> array, as `bundle.graph_io.rerank_io` shapes them; 0 where a frame is padding.
    Raises:
        IndexMismatch: the index does not hold a level the re-ranker needs.
    """
    rerank = manifest.rerank
    if rerank is None:
        return {}
    missing = lacking(manifest, tokens)
    if missing:
        raise IndexMismatch(
            f"The re-ranker of {manifest.name} needs the level {' and '.join(missing)}, which this "
            "index was built without. Search with rerank off, or index again with --levels patch."
        )
    mask = tokens.frame_mask
    words = query.text[None] if query.words is None else query.words  # [W, D]
    if rerank.kind == "cross":
        inputs: dict[str, NDArray[Any]] = {
            "text_embeds": query.text,
            "frame_embeds": _floats(tokens.frames, tokens.frame_scale, mask),
            "frame_mask": mask,
        }
        if manifest.text.words:
            inputs |= {"word_embeds": words, "word_mask": np.ones(len(words), bool)}
        return inputs
    made: dict[str, NDArray[Any]] = {}
    for name in rerank.inputs:
        if name == "recall_score":
            made[name] = np.asarray(recall_score, np.float32)
        elif name == "frame_mask":
            made[name] = mask
        elif name == "frame_sims":
            made[name] = token_sims(tokens.frames, tokens.frame_scale, mask, query.text)
        elif name == "frame_value_sims":
            made[name] = token_sims(tokens.frame_values, tokens.value_scale, mask, query.text)
        elif name == "patch_sims":
            made[name] = patch_sims(tokens, query.text, threads=threads)
        elif name == "word_mask":
            made[name] = np.ones(len(words), bool)
        elif name == "word_frame_sims":
            made[name] = word_sims(tokens.frames, tokens.frame_scale, mask, words)
        elif manifest.video.frame_values:
            made[name] = frame_gram(tokens.frame_values, tokens.value_scale, mask)
        else:
            made[name] = frame_gram(tokens.frames, tokens.frame_scale, mask)
    return made


def token_sims(
    values: NDArray[np.int8] | None,
    scale: NDArray[np.float32] | None,
    frame_mask: NDArray[np.bool_],
    text: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Inner products of a text [D] with frame tokens [K, F, D]: [K, F], 0 for padding.

    >>> token_sims(np.array([[[127, 0]]], np.int8), np.array([[0.5]], np.float32) / 127,
    ...            np.array([[True]]), np.array([1.0, 0.0], np.float32)).round(3).tolist()
    [[0.5]]
    """
    values, scale = _stored(values, scale)
    kept = values[frame_mask]  # [T, D]
    sims = np.empty(len(kept), np.float32)
    for rows in _blocks(len(kept), kept.shape[-1]):
        sims[rows] = kept[rows].astype(np.float32) @ text
    made = np.zeros(frame_mask.shape, np.float32)
    made[frame_mask] = sims * scale[frame_mask]
    return made


def patch_sims(
    tokens: StoredTokens, text: NDArray[np.float32], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Inner products of a text [D] with the patches of K clips: [K, F, P], 0 for padding.

    Of patches that were merged each has that of the token it went into.
    """
    patches, scale = _stored(tokens.patches, tokens.patch_scale)
    products = patch_products(patches.parts, text, threads=threads)
    made = np.zeros(scale.shape, np.float32)  # [K, F, N]
    made[tokens.frame_mask] = products.reshape(-1, patches.per_frame)
    made *= scale
    if tokens.patch_home is None:
        return made
    return np.take_along_axis(made, tokens.patch_home.astype(np.intp), axis=2)


def word_sims(
    values: NDArray[np.int8] | None,
    scale: NDArray[np.float32] | None,
    frame_mask: NDArray[np.bool_],
    words: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Inner products of words [W, D] with frame tokens [K, F, D]: [K, W, F], 0 for padding."""
    values, scale = _stored(values, scale)
    kept = values[frame_mask]  # [T, D]
    sims = np.empty((len(kept), len(words)), np.float32)
    for rows in _blocks(len(kept), kept.shape[-1]):
        sims[rows] = kept[rows].astype(np.float32) @ words.T
    made = np.zeros((*frame_mask.shape, len(words)), np.float32)  # [K, F, W]
    made[frame_mask] = sims * scale[frame_mask][:, None]
    return np.ascontiguousarray(made.transpose(0, 2, 1))  # [K, W, F]


def frame_gram(
    values: NDArray[np.int8] | None,
    scale: NDArray[np.float32] | None,
    frame_mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Inner products of each candidate's frame tokens: [K, F, F], 0 for padding."""
    floats = _floats(values, scale, frame_mask)  # [K, F, D]
    return floats @ floats.transpose(0, 2, 1)


def _floats(
    values: NDArray[np.int8] | None,
    scale: NDArray[np.float32] | None,
    frame_mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    values, scale = _stored(values, scale)
    made = values.astype(np.float32)
    made *= np.where(frame_mask, scale, np.float32(0))[..., None]
    return made


def _stored(
    values: Values | None, scale: NDArray[np.float32] | None
) -> tuple[Values, NDArray[np.float32]]:
    if values is None or scale is None:
        raise IndexMismatch("This index does not hold the tokens that were asked for.")
    return values, scale


def _blocks(rows: int, dim: int) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (4 * max(1, dim)))
    return [slice(start, start + step) for start in range(0, rows, step)]


def rerank(
    bundle: Bundle,
    query: TextTokens,
    recall_score: NDArray[np.float32],
    tokens: StoredTokens,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Re-rank score [K] and frame relevance [K, F] of the candidates of one query."""
    inputs = rerank_inputs(bundle.manifest, query, recall_score, tokens, threads=bundle.threads)
    answer = bundle.rerank(inputs)
    if answer is None:
        raise IndexMismatch(f"The bundle {bundle.name} has no re-ranker; search with rerank off.")
    return answer
