"""Why a moment was found: the relevance of its frames, and of the regions of its best frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from finecut.index.quantise import dequantise
from finecut.types import Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.store import Index
    from finecut.search.moments import Span
    from finecut.types import TextTokens


def evidence_of(index: Index, query: TextTokens, spans: Sequence[Span]) -> list[Evidence]:
    """One `Evidence` per moment; patches are read for the best clips of these moments only."""
    heats: list[NDArray[np.float32] | None] = [None] * len(spans)
    meta = index.meta
    if spans and meta.levels == "patch":
        tokens = index.tokens(np.array([span.hits[0].row for span in spans]))
        # Only the best frame of each.
        best = [
            int(np.abs(np.where(mask, times, np.inf) - span.best_s).argmin())
            for span, times, mask in zip(spans, tokens.times, tokens.frame_mask, strict=True)
        ]
        if tokens.patches is not None and tokens.patch_scale is not None:
            patches, scale, home = tokens.patches, tokens.patch_scale, tokens.patch_home
            for i, frame in enumerate(best):
                sims = dequantise(patches.frame(i, frame), scale[i, frame]) @ query.text  # [N]
                own = sims if home is None else sims[home[i, frame]]  # [P]
                heats[i] = heat(own, meta.patch_rows, meta.patch_columns)
    made = []
    for span, heat_map in zip(spans, heats, strict=True):
        in_time = sorted(span.hits, key=lambda hit: hit.number)
        made.append(
            Evidence(
                times=np.concatenate([hit.times for hit in in_time]),
                frame_relevance=np.concatenate([hit.relevance for hit in in_time]),
                patch_relevance=heat_map,
            )
        )
    return made


def heat(sims: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Patch similarities [P] of one frame as [rows, columns] from 0 (least) to 1 (most).

    >>> heat(np.array([0.1, 0.3], np.float32), 1, 2).tolist()
    [[0.0, 1.0]]
    """
    spread = float(sims.max() - sims.min())
    flat = np.zeros_like(sims) if spread <= 1e-9 else (sims - sims.min()) / spread
    return flat.reshape(rows, columns).astype(np.float32)
