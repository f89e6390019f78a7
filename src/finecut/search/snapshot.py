"""One version of an index with what searching derives from it: a refresh makes a new one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from finecut.search.answering import Library
from finecut.search.calibration import Confidence
from finecut.search.depth import Depths
from finecut.search.fusion import KeptWeights
from finecut.search.known_copies import KnownCopies

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.index.store import Index
    from finecut.search.filters import Filters

_MASKS = 16  # filters remembered for one version of the index


class Snapshot:
    """One version of an index. Safe to use from many threads."""

    def __init__(self, index: Index, bundle: Bundle) -> None:
        self.index = index
        self.confidence = Confidence(bundle, index)
        self.depths = Depths(bundle, index)
        self._copies = KnownCopies(index.directory)
        self._weights = KeptWeights(index.directory)
        self._masks: dict[Filters, NDArray[np.bool_] | None] = {}

    def mask(self, filters: Filters) -> NDArray[np.bool_] | None:
        """[G] bool of the clips the filters allow; None where that is all of them."""
        if filters.empty:
            return None
        if filters not in self._masks:
            made = filters.mask(self.index.videos, self.index.clips)
            kept = list(self._masks.items())[-_MASKS + 1 :]
            self._masks = {**dict(kept), filters: None if made.all() else made}
        return self._masks[filters]

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Channels of text that the index holds."""
        return tuple(self.index.channels)

    def library(self, bundle: Bundle) -> Library:
        """What answering takes of it."""
        weights = self._weights.now()
        copies = self._copies.groups()
        return Library(
            bundle, self.index, self.confidence, weights, self.channels, copies, self.depths
        )
