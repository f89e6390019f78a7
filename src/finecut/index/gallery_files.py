"""What makes a gallery quick to search, kept beside its recall vectors in the cache.

Codes of new clips are appended; the cells of k-means are found by whoever has the time, clips that
come later are put into them, and they are found anew when the gallery has doubled.
"""

from __future__ import annotations

import shutil
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.index.cells import Cells, by_cell, cells_of, centres_of
from finecut.index.codes import CODED_ROWS, Codes, encoded, mean_of
from finecut.index.columns import appending, copy_rows, mapped
from finecut.index.gallery import EXACT_ROWS, LOOKED_ROWS, Gallery

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROWTH = 2  # times the clips the cells were found with, from which they are found anew
UNPACKED = 0.1  # of the packed clips that may come after them until all are packed again
PACKED_ROWS = 1 << 16  # at a time
LOPSIDED = 4  # times the largest cell then, if a search would feel it
_COLUMNS = {"code": "int8", "code_scale": "float32", "code_error": "float32"}


def save_gallery(
    folder: Path,
    number: int,
    recall: NDArray[np.float32],
    before: dict[str, Any] | None,
    *,
    patient: bool,
) -> dict[str, Any] | None:
    """Bring the files beside ``recall.bin`` up to date; what the snapshot's head says of them.

    Args:
        folder: of the generation.
        number: of the snapshot.
        recall: [G, R] all vectors.
        before: what the head said of the clips that were there before; they come first.
        patient: whether there is time to find cells: a minute for a million clips.
    """
    if len(recall) < CODED_ROWS:
        return None
    about = _save_codes(folder, recall, before or {})
    if len(recall) > EXACT_ROWS:
        about |= _save_cells(folder, number, recall, before or {}, patient)
    return about


def carry_gallery(
    source: Path,
    folder: Path,
    dim: int,
    rows: NDArray[np.int64],
    about: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """Copy what is kept of some clips into a new generation, as its first clips.

    Args:
        source: folder of the generation before.
        folder: of the new one.
        dim: of the recall vectors.
        rows: [N] rising, of the clips in the generation before.
        about: what its head says of the gallery.

    Returns: what `save_gallery` takes as ``before``.
    Raises:
        OSError, ValueError, KeyError: something of it is damaged.
    """
    if about is None:
        return None
    columns = {f"{name}.bin": 4 for name in _COLUMNS} | {"code.bin": dim}
    plain = ["mean.npy"]
    if about.get("cells"):
        name = Path(about["cells"]).name
        columns[f"cell-{name}.bin"] = 4
        plain.append(f"centres-{name}.npy")
    for name, width in columns.items():
        copy_rows(source / name, folder / name, width, rows)
    for name in plain:
        shutil.copyfile(source / name, folder / name)
    return about | {"coded": len(rows), "pack": None}


def _save_codes(
    folder: Path, recall: NDArray[np.float32], before: dict[str, Any]
) -> dict[str, Any]:
    done, longest = int(before.get("coded", 0)), float(before.get("longest", 0.0))
    if done:
        mean = np.load(folder / "mean.npy", allow_pickle=False)
    else:
        mean = mean_of(recall)
        np.save(folder / "mean.npy", mean)
    widths = (recall.shape[1], 4, 4)
    with ExitStack() as stack:
        files = [
            stack.enter_context(appending(folder / f"{name}.bin", done * width))
            for name, width in zip(_COLUMNS, widths, strict=True)
        ]
        for *columns, reach in encoded(recall[done:], mean):
            longest = max(longest, reach)
            for file, column in zip(files, columns, strict=True):
                file.write(np.ascontiguousarray(column).data)
    return {"coded": len(recall), "longest": longest}


def _save_cells(
    folder: Path,
    number: int,
    recall: NDArray[np.float32],
    before: dict[str, Any],
    patient: bool,
) -> dict[str, Any]:
    name, trained, largest = before.get("cells"), before.get("trained", 0), before.get("largest", 0)
    done = int(before.get("coded", 0)) if name else 0
    anew = not name or len(recall) > GROWTH * trained or before.get("lopsided", False)
    if anew and patient:
        name, trained, done, largest = uuid.uuid4().hex[:12], len(recall), 0, 0
        np.save(folder / f"centres-{name}.npy", centres_of(recall))
        _drop(folder, "centres-*", name, before.get("cells"))
        _drop(folder, "cell-*", name, before.get("cells"))
    if not name:
        return {}
    centres = np.load(folder / f"centres-{Path(name).name}.npy", allow_pickle=False)
    place = folder / f"cell-{Path(name).name}.bin"
    with appending(place, done * 4) as file:
        file.write(cells_of(recall[done:], centres).data)
    order, starts = by_cell(np.asarray(mapped(place, "int32", recall.shape[:1])), len(centres))
    np.save(folder / f"{number}.order.npy", order)
    np.save(folder / f"{number}.starts.npy", starts)
    pack = before.get("pack") if name == before.get("cells") else None
    if pack:
        _packed(folder, pack, recall.shape[1])  # raises where it is damaged: all is made anew
    if not pack or len(recall) > (1 + UNPACKED) * pack["rows"]:
        code = mapped(folder / "code.bin", "int8", recall.shape)
        pack = {"name": uuid.uuid4().hex[:12], "rows": len(recall)}
        with open(folder / f"pack-{pack['name']}.bin", "wb") as file:
            for start in range(0, len(order), PACKED_ROWS):
                file.write(np.take(code, order[start : start + PACKED_ROWS], axis=0).data)
        np.save(folder / f"pack-{pack['name']}.npy", starts)
        _drop(folder, "pack-*", pack["name"], (before.get("pack") or {}).get("name"))
    now = int(np.diff(starts).max())
    largest = largest or now
    return {
        "cells": name,
        "trained": trained,
        "largest": largest,
        "pack": pack,
        "lopsided": now > max(LOOKED_ROWS, LOPSIDED * largest),
    }


def _packed(
    folder: Path, pack: dict[str, Any], dim: int
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    name, rows = Path(pack["name"]).name, int(pack["rows"])
    starts = np.load(folder / f"pack-{name}.npy", allow_pickle=False)
    if starts[-1] != rows:
        raise ValueError("The packed codes are of another gallery.")
    packed = mapped(folder / f"pack-{name}.bin", "int8", (rows, dim))
    return np.asarray(packed), starts  # its slices are cheaper than those of a memmap


def _drop(folder: Path, pattern: str, *needed: str | None) -> None:
    """Remove files that neither this snapshot nor the one before it uses."""
    for path in folder.glob(pattern):
        if path.stem.partition("-")[2] not in needed:
            path.unlink(missing_ok=True)


def load_gallery(
    folder: Path, number: int, recall: NDArray[np.float32], about: dict[str, Any] | None
) -> Gallery | None:
    """The gallery as it was kept; None where it is so small that nothing was.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is damaged.
    """
    if about is None:
        return None
    size, dim = recall.shape
    code, scale, error = (
        mapped(folder / f"{name}.bin", dtype, (size, dim) if name == "code" else (size,))
        for name, dtype in _COLUMNS.items()
    )
    mean = np.load(folder / "mean.npy", allow_pickle=False)
    if mean.shape != (dim,):
        raise ValueError("The mean is of another gallery.")
    codes = Codes(mean, code, scale, error, float(about["longest"]))
    return Gallery(recall, codes, _load_cells(folder, number, recall, about))


def _load_cells(
    folder: Path, number: int, recall: NDArray[np.float32], about: dict[str, Any]
) -> Cells | None:
    if not about.get("cells"):
        return None
    centres = np.load(folder / f"centres-{Path(about['cells']).name}.npy", allow_pickle=False)
    order = np.load(folder / f"{number}.order.npy", allow_pickle=False)
    starts = np.load(folder / f"{number}.starts.npy", allow_pickle=False)
    packed, packed_starts = _packed(folder, about["pack"], recall.shape[1])
    if packed_starts.shape != starts.shape or (np.diff(packed_starts) > np.diff(starts)).any():
        raise ValueError("The packed codes are of another gallery.")
    whole = len(order) == starts[-1] == len(recall) and len(starts) == len(centres) + 1
    if not (whole and order.min() >= 0 and order.max() < len(recall)):
        raise ValueError("The cells are of another gallery.")
    return Cells(centres, order, starts, packed, packed_starts)
