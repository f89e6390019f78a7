"""MSR-VTT: 10,000 clips of web video, 20 sentences each, and its four ways to be split.

Xu et al., CVPR 2016. `1k-A` is the JSFusion test of 1,000 pairs with 9,000 (`train-9k`) or 7,010
(`train-7k`) clips to train on; `full-*` is the official 6,513 / 497 / 2,990. A table that says
only "MSR-VTT" may mean any of them.
"""

from __future__ import annotations

from finecut.learn.data.benchmark import AnnotationError, Benchmark, Protocol, grouped
from finecut.learn.data.files import read_json, read_lines, read_table, want
from finecut.learn.data.folder import Folder

_DATA = ("MSRVTT_data.json", "videodatainfo*.json", "MSR_VTT.json")
_TEST = ("MSRVTT_JSFUSION_test.csv",)
_TRAIN = {"train-9k": "MSRVTT_train.9k.csv", "train-7k": "MSRVTT_train.7k.csv"}
_FULL = {"full-train": "train", "full-val": "validate", "full-test": "test"}

# (videos, sentences) as published; two clips have 19 sentences in some copies
_PUBLISHED = {
    "1k-A": (1000, 1000),
    "train-9k": (9000, 180_000),
    "train-7k": (7010, 140_200),
    "full-train": (6513, 130_260),
    "full-val": (497, 9_940),
    "full-test": (2990, 59_800),
}


def splits(folder: Folder) -> list[str]:
    """The splits whose files are in the folder."""
    found = ["1k-A"] if folder.find(*_TEST) else []
    data = folder.find(*_DATA)
    if data:
        found += [split for split, name in _TRAIN.items() if folder.find(name)]
        if data.name.lower() != "msr_vtt.json":
            found += list(_FULL)
    return found


def read(folder: Folder, split: str) -> Benchmark:
    """One split from the published files."""
    if split == "1k-A":
        path = folder.need(*_TEST)
        rows = read_table(path, ("video_id", "sentence"))
        items = grouped((video, video, sentence) for video, sentence in rows)
        source, protocol = (path,), "single"
    elif split in _TRAIN:
        data, path = folder.need(*_DATA), folder.need(_TRAIN[split])
        wanted = [row[0] for row in read_table(path, ("video_id",))]
        items = _with_captions(wanted, _captions(data), data)
        source, protocol = (data, path), "multi"
    elif split in _FULL:
        data = folder.need(*_DATA)
        wanted = _official(data, _FULL[split])
        items = _with_captions(wanted, _captions(data), data)
        source, protocol = (data,), "multi"
    else:
        raise AnnotationError(
            f"MSR-VTT has the splits {', '.join(_PUBLISHED)}, got {split!r}; it never has just "
            "'test'."
        )
    kind: Protocol = "single" if protocol == "single" else "multi"
    return Benchmark("MSR-VTT", split, kind, items, source, _PUBLISHED[split])


def _captions(data) -> dict[str, list[str]]:
    """video id -> sentences, from the official object or the Frozen-in-Time copy."""
    whole = want(read_json(data), dict, data, "the file")
    found: dict[str, list[str]] = {}
    if "annotations" in whole:
        for entry in want(whole["annotations"], list, data, "annotations"):
            found.setdefault(str(entry["image_id"]), []).append(str(entry["caption"]))
        return found
    for entry in want(whole.get("sentences"), list, data, "sentences"):
        try:
            found.setdefault(str(entry["video_id"]), []).append(str(entry["caption"]))
        except (KeyError, TypeError) as error:
            raise AnnotationError(f"{data}: a sentence without {error}.") from error
    return found


def _official(data, name: str) -> list[str]:
    """Ids of one official split, by the `split` of each video ("validate", "val" are one)."""
    whole = want(read_json(data), dict, data, "the file")
    same = {"validate": {"validate", "val"}}.get(name, {name})
    videos = want(whole.get("videos"), list, data, "videos")
    return [str(entry["video_id"]) for entry in videos if entry.get("split") in same]


def _with_captions(wanted: list[str], captions: dict[str, list[str]], data):
    unknown = [video for video in wanted if video not in captions]
    if unknown:
        raise AnnotationError(
            f"{data}: {len(unknown)} videos of the split have no sentence, first {unknown[0]!r}."
        )
    return grouped((video, video, text) for video in wanted for text in captions[video])


def read_list(path) -> list[str]:
    """Video ids of a list file (collaborative-experts' `{train,val,test}_list_*.txt`)."""
    return [line.split()[0] for line in read_lines(path)]
