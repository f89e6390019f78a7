"""Fewer patch tokens per frame: those most alike become one, until as many are left as asked.

Sky is sky in twenty patches and needs one token; a small thing keeps its own, which averaging over
a coarser grid would drown. Where each patch went is stored, so that a re-ranker gets a similarity
for every patch, and the page a heat map, as if nothing had been merged.

Source: bipartite matching of Bolya et al., "Token Merging: Your ViT But Faster" (arXiv 2210.09461),
section 3; there between the layers of a network, here once, on what it gives, and with at most a
quarter of the tokens a step, so that no odd one is forced into the other half at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP_PART = 4  # at most one in so many tokens is merged in a step


def merge_patches(
    patches: NDArray[np.float32], kept: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Merge the patches of each frame into ``kept`` tokens.

    Args:
        patches: [F, P, D] unit length.
        kept: tokens per frame, 1 to `meta.MOST_KEPT`; with P or more nothing is merged.

    Returns: tokens [F, N, D] unit length, each in the direction of the mean of its patches, N =
        min(kept, P); and the token each patch went into, [F, P]. The mean itself would say less to
        every text the more different its patches are: measured, docs/decisions.md.

    >>> tokens, home = merge_patches(np.array([[[1, 0], [1, 0], [0, 1]]], np.float32), 2)
    >>> tokens[0, home[0]].tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    frames, count, _ = patches.shape
    left = min(kept, count)
    sums = patches.astype(np.float32)  # [F, n, D] of each token's patches
    home = np.broadcast_to(np.arange(count), (frames, count)).copy()
    rows = np.arange(frames)[:, None]
    while (n := sums.shape[1]) > left:
        even, odd = np.arange(0, n, 2), np.arange(1, n, 2)
        likeness = _unit(sums[:, even]) @ _unit(sums[:, odd]).transpose(0, 2, 1)  # [F, e, o]
        partner = likeness.argmax(axis=2)  # [F, e]
        closest = np.argsort(-likeness.max(axis=2), axis=1, kind="stable")
        merged = min(n - left, max(1, n // _STEP_PART))
        gone, stay = closest[:, :merged], np.sort(closest[:, merged:], axis=1)
        into = np.take_along_axis(partner, gone, axis=1)  # [F, merged] among the odd ones
        grown = sums[:, odd].copy()
        np.add.at(grown, (rows, into), sums[rows, even[gone]])
        place = np.empty((frames, n), np.int64)  # of each old token among the new ones
        place[:, odd] = stay.shape[1] + np.arange(len(odd))
        np.put_along_axis(place, even[stay], np.arange(stay.shape[1])[None], axis=1)
        np.put_along_axis(place, even[gone], stay.shape[1] + into, axis=1)
        home = np.take_along_axis(place, home, axis=1)
        sums = np.concatenate([sums[rows, even[stay]], grown], axis=1)
    return _unit(sums), home.astype(np.uint8)


def _unit(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
