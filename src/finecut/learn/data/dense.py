"""Benchmarks with times: ActivityNet Captions, DiDeMo, YouCook2, QVHighlights.

ActivityNet and DiDeMo are retrieved by paragraph (all sentences of a video joined), YouCook2 by
clip; QVHighlights asks for moments inside a known video.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from finecut.learn.data.benchmark import AnnotationError, Benchmark, CaptionedVideo
from finecut.learn.data.files import read_json, read_jsonl, read_lines, want
from finecut.learn.data.folder import Folder

# -- ActivityNet Captions (Krishna et al., ICCV 2017) ---------------------------------------------

_ANET = {"train": ("train_ids.json", "train.json"), "val1": ("val_ids.json", "val_1.json")}
_ANET_PUBLISHED = {"train": (10_009, None), "val1": (4917, None)}


def activitynet_splits(folder: Folder) -> list[str]:
    """The splits whose captions are in the folder."""
    return [split for split, (_, name) in _ANET.items() if folder.find(name)]


def read_activitynet(folder: Folder, split: str) -> Benchmark:
    """Paragraphs against whole videos; ids lose their "v_" for the file name."""
    if split not in _ANET:
        raise AnnotationError(f"ActivityNet has the splits {', '.join(_ANET)}, got {split!r}.")
    ids, captions = folder.find(_ANET[split][0]), folder.need(_ANET[split][1])
    data = want(read_json(captions), dict, captions, "the file")
    wanted = want(read_json(ids), list, ids, "the file") if ids else list(data)
    items, absent = [], []
    for video in map(str, wanted):
        entry = data.get(video)
        if entry is None:
            absent.append(video)
            continue
        want(entry, dict, captions, video)
        texts = [str(text).strip() for text in want(entry.get("sentences"), list, captions, video)]
        times = [_interval(pair, captions, video) for pair in entry.get("timestamps", [])]
        duration = _number(entry.get("duration"), captions, f"duration of {video}")
        items.append(
            CaptionedVideo(
                video.removeprefix("v_"),
                video.removeprefix("v_"),
                tuple(texts),
                end_s=float(math.ceil(duration)),
                moments=tuple(times),
            )
        )
    notes = (f"{len(absent)} ids have no captions, first {absent[0]}",) if absent else ()
    source = (ids, captions) if ids else (captions,)
    return Benchmark(
        "ActivityNet", split, "paragraph", tuple(items), source, _ANET_PUBLISHED[split], notes
    )


# -- DiDeMo (Hendricks et al., ICCV 2017) ---------------------------------------------------------

_DIDEMO_PUBLISHED = {"train": (8395, None), "val": (1065, None), "test": (1004, None)}
_CHUNK_S = 5.0
_DIDEMO_END_S = 31.0  # the published loaders read 0 to 31 s; annotation ends at 30 s


def didemo_splits(folder: Folder) -> list[str]:
    """The splits whose file is in the folder (and is a list of DiDeMo's entries)."""
    found = []
    for split in _DIDEMO_PUBLISHED:
        path = folder.find(f"{split}_data.json")
        if path and '"num_segments"' in path.read_text("utf-8", errors="replace")[:4000]:
            found.append(split)
    return found


def read_didemo(folder: Folder, split: str) -> Benchmark:
    """Paragraphs; chunk i is [5 i, 5 i + 5) s, a sentence's moment the median of its annotators."""
    if split not in _DIDEMO_PUBLISHED:
        raise AnnotationError(
            f"DiDeMo has the splits {', '.join(_DIDEMO_PUBLISHED)}, got {split!r}."
        )
    path = folder.need(f"{split}_data.json")
    listed = folder.find(f"{split}_list.txt")
    texts: dict[str, list[str]] = {}
    moments: dict[str, list[tuple[float, float]]] = {}
    for entry in want(read_json(path), list, path, "the file"):
        want(entry, dict, path, "an entry")
        try:
            video, text, times = entry["video"], entry["description"], entry["times"]
        except KeyError as error:
            raise AnnotationError(f"{path}: an entry lacks {error}.") from error
        chunks = [_interval(pair, path, str(video)) for pair in want(times, list, path, "times")]
        if not chunks:
            raise AnnotationError(f"{path}: {video} has a sentence without times.")
        first = statistics.median_low(pair[0] for pair in chunks)
        last = statistics.median_high(pair[1] for pair in chunks)
        texts.setdefault(str(video), []).append(" ".join(str(text).split()))
        moments.setdefault(str(video), []).append((_CHUNK_S * first, _CHUNK_S * (last + 1)))
    order = list(texts)
    notes: list[str] = []
    if listed:
        order, notes = _by_list(read_lines(listed), texts)
    items = tuple(
        CaptionedVideo(
            video, video, tuple(texts[video]), end_s=_DIDEMO_END_S, moments=tuple(moments[video])
        )
        for video in order
    )
    return Benchmark(
        "DiDeMo",
        split,
        "paragraph",
        items,
        (path, listed) if listed else (path,),
        _DIDEMO_PUBLISHED[split],
        tuple(notes),
    )


def _by_list(names: list[str], texts: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Videos in the list's order; names may end in a bare dot, so stems decide."""
    by_stem = {_stem(video): video for video in texts}
    found = [by_stem[_stem(name)] for name in names if _stem(name) in by_stem]
    absent = len(names) - len(found)
    return list(dict.fromkeys(found)), [f"{absent} listed videos have no sentence"] * bool(absent)


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


# -- YouCook2 (Zhou et al., AAAI 2018) ------------------------------------------------------------

_YOUCOOK = ("youcookii_annotations_trainval.json", "youcook*_annotations*.json")
_YOUCOOK_FOLDER = {"training": "training", "validation": "validation", "testing": "testing"}


def youcook2_splits(folder: Folder) -> list[str]:
    """training and validation (testing has no published sentences)."""
    return ["training", "validation"] if folder.find(*_YOUCOOK) else []


def read_youcook2(folder: Folder, split: str) -> Benchmark:
    """Every annotated segment is a clip `<video>_<id>` with one sentence."""
    if split not in ("training", "validation"):
        raise AnnotationError(f"YouCook2 has the splits training, validation, got {split!r}.")
    path = folder.need(*_YOUCOOK)
    data = want(read_json(path), dict, path, "the file").get("database")
    items = []
    for video, entry in want(data, dict, path, "database").items():
        if want(entry, dict, path, video).get("subset") != split:
            continue
        file = f"{_YOUCOOK_FOLDER[split]}/{entry.get('recipe_type')}/{video}"
        for piece in want(entry.get("annotations"), list, path, f"annotations of {video}"):
            start, end = _interval(piece.get("segment"), path, video)
            items.append(
                CaptionedVideo(
                    f"{video}_{piece.get('id')}",
                    file,
                    (str(piece.get("sentence")).strip(),),
                    start_s=start,
                    end_s=end,
                )
            )
    return Benchmark("YouCook2", split, "single", tuple(items), (path,))


# -- QVHighlights (Lei et al., NeurIPS 2021) ------------------------------------------------------


def qvhighlights_splits(folder: Folder) -> list[str]:
    """The splits whose released file is in the folder."""
    return [s for s in ("train", "val") if folder.find(f"highlight_{s}_release.jsonl")]


def read_qvhighlights(folder: Folder, split: str) -> Benchmark:
    """Queries with the windows that answer them; the first window stands as the moment.

    A video's file is `<youtube id>_<start>_<end>.mp4`, cut already.
    """
    path = folder.need(f"highlight_{split}_release.jsonl")
    texts: dict[str, list[str]] = {}
    moments: dict[str, list[tuple[float, float]]] = {}
    for number, entry in read_jsonl(path):
        where = f"line {number}"
        want(entry, dict, path, where)
        video = want(entry.get("vid"), str, path, f"vid in {where}")
        windows = want(entry.get("relevant_windows"), list, path, f"windows in {where}")
        if not windows:
            raise AnnotationError(f"{path}:{number} has no relevant window.")
        texts.setdefault(video, []).append(want(entry.get("query"), str, path, where).strip())
        moments.setdefault(video, []).append(_interval(windows[0], path, where))
    items = tuple(
        CaptionedVideo(video, f"{video}.mp4", tuple(texts[video]), moments=tuple(moments[video]))
        for video in texts
    )
    return Benchmark("QVHighlights", split, "multi", items, (path,))


# -- values --------------------------------------------------------------------------------------


def _number(value: Any, path: Path, what: str) -> float:
    number = float(want(value, (int, float), path, what))
    if not math.isfinite(number) or number < 0:
        raise AnnotationError(f"{path}: {what} must be a time of at least 0, got {number}.")
    return number


def _interval(pair: Any, path: Path, what: str) -> tuple[float, float]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise AnnotationError(f"{path}: {what}: expected [start, end], got {pair!r}.")
    start, end = (_number(value, path, f"time of {what}") for value in pair)
    # A few published segments are written backwards; they mean the same stretch.
    return (start, end) if start <= end else (end, start)
