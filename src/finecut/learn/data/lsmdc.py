"""LSMDC: clips of films with their audio descriptions (Rohrbach et al., IJCV 2017).

The files end in .csv but are tab-separated, have no header and are not UTF-8 throughout.
"""

from __future__ import annotations

from finecut.learn.data.benchmark import AnnotationError, Benchmark, grouped
from finecut.learn.data.files import read_text
from finecut.learn.data.folder import Folder

_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",  # spelt so by its makers
}
_PUBLISHED = {"train": (None, 101_079), "val": (7408, 7408), "test": (1000, 1000)}


def splits(folder: Folder) -> list[str]:
    """The splits whose file is in the folder."""
    return [split for split, name in _FILES.items() if folder.find(name)]


def read(folder: Folder, split: str) -> Benchmark:
    """One split: clip_id, two pairs of times, sentence; clip ids of training repeat."""
    if split not in _FILES:
        raise AnnotationError(f"LSMDC has the splits {', '.join(_FILES)}, got {split!r}.")
    path = folder.need(_FILES[split])
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 6:
            raise AnnotationError(
                f"{path}:{number} has {len(cells)} tab-separated columns, expected 6."
            )
        clip = cells[0].strip()
        film = clip.split(".")[0][:-3]  # the folder of the film: the id without its last number
        rows.append((clip, f"{film}/{clip}.avi", cells[5]))
    protocol = "single" if split == "test" else "multi"
    return Benchmark("LSMDC", split, protocol, grouped(rows), (path,), _PUBLISHED[split])
