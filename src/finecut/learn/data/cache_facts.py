"""What a cache of decoded videos was made from, and whether a recipe may use it.

``CACHE/cache.json`` holds these facts; ``CACHE/videos.lance`` the videos.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from finecut.errors import UsageError
from finecut.index.quantise import dequantise, quantise
from finecut.learn.data.benchmark import CaptionedVideo
from finecut.learn.data.files import read_json
from finecut.learn.data.sampling import Sampling

FORMAT, VERSION = "finecut-cache", 1
FACTS, TABLE, PADDING = "cache.json", "videos.lance", "padding.safetensors"

Kind = Literal["frames", "features"]
Dtype = Literal["float16", "int8"]


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """All that decides what is in the rows of a cache."""

    kind: Kind
    sampling: Sampling
    size: int  # pixels, square, of a frame
    jpeg_quality: int = 0  # kind "frames"
    backbone: str = ""  # kind "features": fingerprint of the tower
    dtype: Dtype | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None  # of one frame's feature, by name

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def write_facts(folder: Path, facts: CacheFacts) -> None:
    """Write ``cache.json``, whole or not at all."""
    beside = folder / f".{FACTS}.{os.getpid()}"
    beside.write_text(json.dumps(facts.to_json(), indent=2) + "\n", encoding="utf-8")
    os.replace(beside, folder / FACTS)


def read_facts(folder: Path) -> CacheFacts:
    """What a cache says about itself.

    Raises:
        UsageError: no cache is there, or one of another version.
    """
    path = folder / FACTS
    if not path.is_file():
        raise UsageError(
            f"{folder} is no cache: it has no {FACTS}. Make one: finecut data cache RECIPE "
            f"--data DIR --output {folder}"
        )
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"{path} is not a {FORMAT}.")
    if found.get("version") != VERSION:
        raise UsageError(
            f"{path} has version {found.get('version')!r}, this finecut reads {VERSION}: make the "
            "cache anew."
        )
    try:
        shapes = found["shapes"]
        return CacheFacts(
            kind=_one_of(found["kind"], ("frames", "features")),
            sampling=Sampling(**found["sampling"]),
            size=int(found["size"]),
            jpeg_quality=int(found["jpeg_quality"]),
            backbone=str(found["backbone"]),
            dtype=_one_of(found["dtype"], ("float16", "int8", None)),
            shapes=None
            if shapes is None
            else {str(name): tuple(int(n) for n in shape) for name, shape in shapes.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}): make the cache anew.") from error


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {allowed}")
    return value


def must_fit(found: CacheFacts, wanted: CacheFacts, folder: Path) -> None:
    """Refuse a cache that was made from something else, naming both values.

    Raises:
        UsageError: as said.
    """
    pairs = [
        (f"sampling {name}", getattr(found.sampling, name), getattr(wanted.sampling, name))
        for name in asdict(wanted.sampling)
    ]
    pairs += [
        ("content", found.kind, wanted.kind),
        ("frame size", found.size, wanted.size),
        ("backbone", found.backbone, wanted.backbone),
        ("jpeg_quality", found.jpeg_quality, wanted.jpeg_quality),
        ("dtype", found.dtype, wanted.dtype),
        ("features", _names(found), _names(wanted)),
    ]
    for name, there, asked in pairs:
        if there != asked:
            raise UsageError(
                f"The cache {folder} does not fit: its {name} is {there}, the recipe's is {asked}. "
                "Make another cache for this recipe, in a folder of its own."
            )


def _names(facts: CacheFacts) -> str:
    return ", ".join(sorted(facts.shapes or {})) or "none"


# ---------------------------------------------------------------------- rows


def item_key(item: CaptionedVideo) -> str:
    """What a row is found by: the files and the stretch, whatever the item is called.

    >>> item_key(CaptionedVideo("a", "a.mp4", (), 1.5, 4.0))
    '[["a.mp4"], 1.5, 4.0]'
    """
    names = item.frames or (item.video,)
    return json.dumps([list(names), item.start_s, item.end_s], ensure_ascii=False)


def pack(values: NDArray[np.float32], dtype: Dtype) -> bytes:
    """Features [F, ...] as bytes: float16, or int8 behind one float32 scale a vector."""
    if dtype == "float16":
        return np.clip(values, -65504, 65504).astype(np.float16).tobytes()
    small, scale = quantise(values)
    return scale.tobytes() + small.tobytes()


def unpack(data: bytes, frames: int, shape: tuple[int, ...], dtype: Dtype) -> NDArray[np.float32]:
    """[frames, *shape] float32 of what ``pack`` made.

    >>> values = np.array([[1.0, -0.5]], np.float32)
    >>> unpack(pack(values, "float16"), 1, (2,), "float16").tolist()
    [[1.0, -0.5]]
    """
    whole = (frames, *shape)
    if dtype == "float16":
        return np.frombuffer(data, np.float16).reshape(whole).astype(np.float32)
    vectors = int(np.prod(whole[:-1]))
    scale = np.frombuffer(data, np.float32, vectors).reshape(whole[:-1])
    return dequantise(np.frombuffer(data, np.int8, offset=4 * vectors).reshape(whole), scale)
