"""finecut: text-to-video retrieval, from rough cut to fine cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle
    from finecut.index.build import build_index
    from finecut.index.store import Index
    from finecut.search.engine import Searcher
    from finecut.search.filters import Filters
    from finecut.search.quality import quality
    from finecut.types import Moment, Results

__version__ = "0.1.0"

# Public names and where they live: loaded when first asked for, so that importing costs nothing.
_HOMES = {
    "Bundle": "finecut.bundle.load",
    "Filters": "finecut.search.filters",
    "Index": "finecut.index.store",
    "Moment": "finecut.types",
    "Results": "finecut.types",
    "Searcher": "finecut.search.engine",
    "build_index": "finecut.index.build",
    "quality": "finecut.search.quality",
}

__all__ = [  # noqa: RUF022 (by what one reaches for first)
    "build_index",
    "Searcher",
    "Filters",
    "Bundle",
    "Index",
    "Moment",
    "Results",
    "quality",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'finecut' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
