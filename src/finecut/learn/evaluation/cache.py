"""Encoded parts of a split kept on disk, so that an interrupted evaluation goes on where it was.

A folder inside the run, safe to delete at any time. Its name says which weights, data, split and
part size it is of; parts of other weights are thrown away when a new evaluation starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from finecut.learn.evaluation.whole_file import whole_file

FOLDER = "evaluation-cache"
_NAME_LETTERS = 16


class PartCache:
    """Parts of one evaluation, one safetensors file each, read back mapped into memory."""

    def __init__(self, run: Path, weights: str, settings: Iterable[str]) -> None:
        """Open the cache of a run.

        Args:
            run: the run's folder.
            weights: hash of the checkpoint.
            settings: all else the parts depend on: data, split, part size.
        """
        root = run / FOLDER
        mark = weights[:_NAME_LETTERS]
        self.folder = root / f"{mark}-{_hash(settings)[:_NAME_LETTERS]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        for other in root.iterdir():
            if other.is_dir() and not other.name.startswith(mark):
                shutil.rmtree(other, ignore_errors=True)

    def load(self, side: str, number: int) -> dict[str, Tensor] | None:
        """The part, or None where it is not there or not whole."""
        path = self._path(side, number)
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return None

    def save(self, side: str, number: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Write the part whole or not at all; gives back what is on disk, so memory is freed."""
        with whole_file(self._path(side, number)) as part:
            # clones: LAFF's and TACo's recall is their text_embeds, and a file shares nothing
            save_file(
                {n: t.clone(memory_format=torch.contiguous_format) for n, t in tensors.items()},
                part,
            )
        return self.load(side, number) or tensors

    def _path(self, side: str, number: int) -> Path:
        return self.folder / f"{side}-{number:06d}.safetensors"


def hash_checkpoint(run: Path) -> str:
    """SHA-256 of a checkpoint's weights and configuration.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
    """
    from finecut.learn.checkpoint import CONFIG, WEIGHTS

    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (run / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_folder(root: Path, *, but: Path | None = None) -> str:
    """A hash of which files are below a folder, their sizes and times: another video under the
    same name is another gallery. ``but`` is a folder that is left out."""
    lines = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(n for n in names if but is None or Path(folder, n) != but)
        for name in sorted(files):
            with contextlib.suppress(OSError):  # gone meanwhile
                found = os.stat(os.path.join(folder, name))
                where = os.path.relpath(os.path.join(folder, name), root)
                lines.append(f"{where}\0{found.st_size}\0{found.st_mtime_ns}")
    return _hash(lines)


def _hash(items: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for item in items:
        data = item.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
