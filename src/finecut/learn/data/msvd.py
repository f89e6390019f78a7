"""MSVD: 1,970 short clips, about 40 sentences each, evaluated with every sentence as a query.

Chen and Dolan, ACL 2011. Split lists as in CLIP4Clip and collaborative-experts; captions from
`raw-captions.pkl` (lists of words, plain data only) or X-Pool's `captions_msvd.json`.
"""

from __future__ import annotations

from pathlib import Path

from finecut.learn.data.benchmark import AnnotationError, Benchmark, grouped
from finecut.learn.data.files import read_json, read_lines, read_plain_pickle, want
from finecut.learn.data.folder import Folder

_CAPTIONS = ("raw-captions.pkl", "captions_msvd.json")
_PUBLISHED = {"train": 1200, "val": 100, "test": 670}


def splits(folder: Folder) -> list[str]:
    """The splits whose list is in the folder beside the captions."""
    if not folder.find(*_CAPTIONS):
        return []
    return [split for split in _PUBLISHED if folder.find(f"{split}_list.txt")]


def read(folder: Folder, split: str) -> Benchmark:
    """One split; a listed video without a sentence is an error."""
    if split not in _PUBLISHED:
        raise AnnotationError(f"MSVD has the splits {', '.join(_PUBLISHED)}, got {split!r}.")
    path, listed = folder.need(*_CAPTIONS), folder.need(f"{split}_list.txt")
    captions = _captions(path)
    rows = []
    for video in read_lines(listed):
        if video not in captions:
            raise AnnotationError(f"{path} has no sentence for {video!r} of {listed.name}.")
        rows += [(video, video, text) for text in captions[video]]
    return Benchmark(
        "MSVD", split, "multi", grouped(rows), (path, listed), (_PUBLISHED[split], None)
    )


def _captions(path: Path) -> dict[str, list[str]]:
    data = read_plain_pickle(path) if path.suffix == ".pkl" else read_json(path)
    found: dict[str, list[str]] = {}
    for video, captions in want(data, dict, path, "the file").items():
        texts = []
        for caption in want(captions, list, path, f"captions of {video!r}"):
            words = caption if isinstance(caption, list) else [caption]
            texts.append(" ".join(want(word, str, path, f"a word of {video!r}") for word in words))
        found[str(video)] = texts
    return found
