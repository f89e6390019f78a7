"""Benchmarks of procedures: CrossTask (find each step) and COIN (label each second)."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finecut.learn.data.benchmark import AnnotationError
from finecut.learn.data.files import read_json, read_text, want
from finecut.learn.data.folder import Folder


@dataclass(frozen=True, slots=True)
class Task:
    """A CrossTask task: its steps in order are the sentences that are looked for."""

    task_id: str
    name: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepVideo:
    """A video of a task with its annotated steps: (step from 0, start_s, end_s), end exclusive."""

    video_id: str
    task_id: str
    steps: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class CrossTask:
    """Primary tasks and the videos that have annotations (Zhukov et al., CVPR 2019)."""

    tasks: tuple[Task, ...]
    videos: tuple[StepVideo, ...]
    source: tuple[Path, ...]


def has_crosstask(folder: Folder) -> bool:
    """Whether the release's task file is in the folder."""
    return folder.find("tasks_primary.txt") is not None


def read_crosstask(folder: Folder) -> CrossTask:
    """The release: `tasks_primary.txt` and `annotations/<task>_<video>.csv`.

    A task is five lines (id, name, address, number of steps, steps separated by commas), then an
    empty one. An annotation line is "step,start,end" with steps from 1; as in the official code it
    covers the seconds floor(start) to ceil(end), the last one not included.
    """
    path = folder.need("tasks_primary.txt")
    tasks = []
    blocks = read_text(path).replace("\r\n", "\n").strip().split("\n\n")
    for block in blocks:
        lines = [line.strip() for line in block.strip().split("\n")]
        if len(lines) != 5 or not lines[3].isdigit():
            raise AnnotationError(
                f"{path}: a task is five lines (id, name, address, number of steps, steps), "
                f"got {lines[:5]}."
            )
        steps = tuple(step.strip() for step in lines[4].split(","))
        if len(steps) != int(lines[3]):
            raise AnnotationError(
                f"{path}: task {lines[0]} says {lines[3]} steps and names {len(steps)}."
            )
        tasks.append(Task(lines[0], lines[1], steps))
    by_id = {task.task_id: task for task in tasks}
    videos = []
    for file in folder.find_all("*_*.csv"):
        task_id, _, video = file.stem.partition("_")
        if file.parent.name != "annotations" or task_id not in by_id:
            continue
        videos.append(StepVideo(video, task_id, _steps(file, len(by_id[task_id].steps))))
    return CrossTask(tuple(tasks), tuple(videos), (path,))


def _steps(file: Path, n_steps: int) -> tuple[tuple[int, int, int], ...]:
    found = []
    for number, row in enumerate(csv.reader(io.StringIO(read_text(file))), start=1):
        if not row:
            continue
        try:
            step, start, end = int(row[0]), float(row[1]), float(row[2])
        except (ValueError, IndexError) as error:
            raise AnnotationError(
                f"{file}:{number}: expected step,start,end, got {row}."
            ) from error
        if not 1 <= step <= n_steps or not 0 <= start <= end or not math.isfinite(end):
            raise AnnotationError(
                f"{file}:{number}: expected a step of 1 to {n_steps} and times in order, got {row}."
            )
        found.append((step - 1, math.floor(start), math.ceil(end)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class CoinVideo:
    """A COIN video: labelled stretches (label, start_s, end_s); the rest is background."""

    video_id: str
    task: str
    duration_s: float
    segments: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class Coin:
    """One subset of COIN (Tang et al., CVPR 2019); label 0 is the background, steps follow."""

    split: str
    labels: tuple[str, ...]
    videos: tuple[CoinVideo, ...]
    source: tuple[Path, ...]

    def frame_labels(self, video: CoinVideo) -> list[int]:
        """The label of each whole second of a video, by the second's middle."""
        seconds = max(1, math.ceil(video.duration_s))
        labels = [0] * seconds
        for label, start, end in video.segments:
            for second in range(seconds):
                if start <= second + 0.5 < end:
                    labels[second] = label
        return labels


def has_coin(folder: Folder) -> bool:
    """Whether COIN.json is in the folder."""
    return folder.find("COIN.json") is not None


def read_coin(folder: Folder, split: str) -> Coin:
    """`COIN.json`: {"database": {id: {subset, class, duration, annotation: [...]}}}.

    Labels are numbered by the ids of the steps over the whole file, so that training and testing
    agree.
    """
    path = folder.need("COIN.json")
    data = want(read_json(path), dict, path, "the file").get("database")
    names: dict[str, str] = {}
    for video, entry in want(data, dict, path, "database").items():
        for piece in _pieces(entry, path, video):
            names[str(piece.get("id"))] = str(piece.get("label"))
    order = sorted(names, key=lambda key: (len(key), key))
    number = {key: place for place, key in enumerate(order, start=1)}
    videos = []
    for video, entry in data.items():
        if entry.get("subset") != split:
            continue
        segments = []
        for piece in _pieces(entry, path, video):
            pair = want(piece.get("segment"), list, path, f"segment of {video}")
            if len(pair) != 2 or not all(isinstance(t, (int, float)) for t in pair):
                raise AnnotationError(f"{path}: {video}: expected [start, end], got {pair!r}.")
            segments.append((number[str(piece.get("id"))], float(pair[0]), float(pair[1])))
        duration = want(entry.get("duration"), (int, float), path, f"duration of {video}")
        videos.append(CoinVideo(video, str(entry.get("class")), float(duration), tuple(segments)))
    if not videos:
        known = sorted({str(entry.get("subset")) for entry in data.values()})
        raise AnnotationError(f"{path} has no videos of the subset {split!r}; it has {known}.")
    labels = ("background", *(names[key] for key in order))
    return Coin(split, labels, tuple(videos), (path,))


def _pieces(entry: Any, path: Path, video: str) -> list[dict[str, Any]]:
    pieces = want(want(entry, dict, path, video).get("annotation"), list, path, f"of {video}")
    return [want(piece, dict, path, f"annotation of {video}") for piece in pieces]
