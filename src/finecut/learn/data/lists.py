"""Formats that carry any set: VindLU and mmaction2 JSON, LAFF collections, and our own JSONL.

Our own JSONL has one object a line: {"video": "file.mp4", "captions": ["…"]} (or "caption": "…"),
optional "id", "start_s", "end_s" and "split". "video" may be a still, and {"frames": ["a.jpg",
"b.jpg"]} in its place is a video of so many frames.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from finecut.learn.data.benchmark import AnnotationError, Benchmark, CaptionedVideo, grouped
from finecut.learn.data.files import read_json, read_jsonl, read_lines, read_text, want
from finecut.learn.data.folder import Folder

# -- VindLU (UMT, InternVideo2, …): a list of {"video", "caption"} --------------------------------


def vindlu_splits(folder: Folder) -> list[str]:
    """One split for each JSON file that is a list of videos with captions, by the file's name."""
    return [
        path.stem
        for path in folder.find_all("*.json")
        if _starts(path, "[", '"video"', '"caption"')
    ]


def read_vindlu(folder: Folder, split: str) -> Benchmark:
    """`caption` is a sentence or a list; `video_id` replaces the file name as id where given."""
    path = folder.need(f"{split}.json")
    rows = []
    for entry in want(read_json(path), list, path, "the file"):
        want(entry, dict, path, "an entry")
        video = want(entry.get("video"), str, path, "video")
        captions = entry.get("caption")
        for text in [captions] if isinstance(captions, str) else want(captions, list, path, video):
            rows.append((str(entry.get("video_id", video)), video, want(text, str, path, video)))
    return _of_any(path, split, "VindLU", rows)


# -- mmaction2: {"video0.mp4": ["…", …]} ----------------------------------------------------------


def mmaction2_splits(folder: Folder) -> list[str]:
    """One split for each JSON file that maps file names to lists of sentences."""
    return [path.stem for path in folder.find_all("*.json") if _is_mapping(path)]


def read_mmaction2(folder: Folder, split: str) -> Benchmark:
    """The object's keys are files, its values their sentences."""
    path = folder.need(f"{split}.json")
    rows = []
    for video, captions in want(read_json(path), dict, path, "the file").items():
        for text in want(captions, list, path, video):
            rows.append((video, video, want(text, str, path, video)))
    return _of_any(path, split, "mmaction2", rows)


def _is_mapping(path: Path) -> bool:
    head = _head(path)
    first = head[1:].lstrip()
    key, colon, rest = first.partition(":")
    suffix = key.strip().strip('"').rpartition(".")[2].lower()
    return (
        head.startswith("{")
        and bool(colon)
        and f".{suffix}" in _FILE_ENDS
        and rest.lstrip()[:1] == "["
    )


_FILE_ENDS = frozenset([".mp4", ".avi", ".webm", ".mkv", ".mov", ".gif"])


# -- W2VV++ / LAFF collections: <c>/TextData/<c>.caption.txt -------------------------------------


def laff_splits(folder: Folder) -> list[str]:
    """The names of the collections below the folder."""
    return [
        path.name.removesuffix(".caption.txt")
        for path in folder.find_all("*.caption.txt")
        if path.parent.name == "TextData"
    ]


def read_laff(folder: Folder, split: str) -> Benchmark:
    """`video7010#enc#0 text` a line; the video's id is the part before the first #."""
    path = folder.need(f"{split}.caption.txt")
    listed = path.parent.parent / "VideoSets" / f"{split}.txt"
    captions: dict[str, list[str]] = {}
    for _, video, text in laff_captions(path):
        captions.setdefault(video, []).append(text)
    wanted = read_lines(listed) if listed.is_file() else list(captions)
    silent = sum(video not in captions for video in wanted)
    rows = [(video, video, text) for video in wanted for text in captions.get(video, [])]
    notes = (f"{silent} listed videos have no sentence",) if silent else ()
    source = (path, listed) if listed.is_file() else (path,)
    return Benchmark(split, "all", _protocol(rows), grouped(rows), source, notes=notes)


def laff_captions(path: Path) -> list[tuple[str, str, str]]:
    """(key, video, sentence) of every line of a collection's captions; keys are the lines' own.

    Raises:
        AnnotationError: a line that is not "video#n sentence".
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        key, _, text = line.strip().partition(" ")
        if "#" not in key or not text.strip():
            raise AnnotationError(
                f"{path}:{number}: expected 'video#n sentence', got {line[:60]!r}."
            )
        rows.append((key, key.split("#", 1)[0], text))
    return rows


# -- our own JSONL -------------------------------------------------------------------------------


def jsonl_splits(folder: Folder) -> list[str]:
    """`<file>` for each JSONL of ours, `<file>:<split>` where its lines name splits."""
    found: list[str] = []
    for path in folder.find_all("*.jsonl"):
        if not any(
            _starts(path, "{", f'"{name}"', '"caption') for name in ("video", "clip", "frames")
        ):
            continue
        names = {entry.get("split") for _, entry in read_jsonl(path) if isinstance(entry, dict)}
        found += [path.stem] if names == {None} else sorted(f"{path.stem}:{n}" for n in names if n)
    return found


def read_jsonl_set(folder: Folder, split: str) -> Benchmark:
    """Lines of one video are one item; a stretch of it (start_s, end_s) is an item of its own."""
    stem, _, part = split.partition(":")
    path = folder.need(f"{stem}.jsonl")
    captions: dict[str, list[str]] = {}
    about: dict[str, tuple[str, float, float | None, tuple[str, ...]]] = {}
    for number, entry in read_jsonl(path):
        where = f"line {number}"
        want(entry, dict, path, where)
        if part and entry.get("split") != part:
            continue
        frames = tuple(
            want(name, str, path, f"frames in {where}")
            for name in want(entry.get("frames", []), list, path, f"frames in {where}")
        )
        if frames:
            video = str(entry.get("video", frames[0]))
        else:
            video = want(entry.get("video", entry.get("clip")), str, path, f"video in {where}")
        texts = entry.get("captions", entry.get("caption"))
        texts = (
            [texts] if isinstance(texts, str) else want(texts, list, path, f"captions in {where}")
        )
        start = _time(entry.get("start_s", 0.0), path, where)
        end = None if entry.get("end_s") is None else _time(entry["end_s"], path, where)
        if end is not None and end <= start:
            raise AnnotationError(
                f"{path}:{number}: end_s must be after start_s, got {start}-{end}."
            )
        stretch = (
            "" if start == 0 and end is None else f"#{start:g}-{'' if end is None else f'{end:g}'}"
        )
        key = str(entry.get("id", video + stretch))
        if about.setdefault(key, (video, start, end, frames)) != (video, start, end, frames):
            raise AnnotationError(f"{path}:{number}: the id {key!r} means another video above.")
        kept = captions.setdefault(key, [])
        kept += [want(text, str, path, where) for text in texts]
    items = tuple(
        CaptionedVideo(
            key,
            video,
            tuple(" ".join(t.split()) for t in captions[key] if t.strip()),
            start_s=start,
            end_s=end,
            frames=frames,
        )
        for key, (video, start, end, frames) in about.items()
    )
    several = any(len(item.captions) > 1 for item in items)
    return Benchmark(stem, part or "all", "multi" if several else "single", items, (path,))


# -- values --------------------------------------------------------------------------------------


def _of_any(path: Path, split: str, name: str, rows: list[tuple[str, str, str]]) -> Benchmark:
    return Benchmark(name, split, _protocol(rows), grouped(rows), (path,))


def _protocol(rows: list[tuple[str, str, str]]) -> Any:
    return "single" if len({row[0] for row in rows}) == len(rows) else "multi"


def _time(value: Any, path: Path, where: str) -> float:
    number = float(want(value, (int, float), path, f"a time in {where}"))
    if not math.isfinite(number) or number < 0:
        raise AnnotationError(f"{path}: {where}: times are seconds of at least 0, got {number}.")
    return number


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(4000).decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")


def _starts(path: Path, first: str, *words: str) -> bool:
    head = _head(path)
    return head.startswith(first) and all(word in head for word in words)
