"""Benchmarks of procedures: CrossTask (find each step's second) and COIN (label each second).

Every second of a video is one frame token of the method, made in windows of as many frames as it
takes. CrossTask compares them with the steps' sentences, with no training; COIN trains a linear
classifier on the tokens of the training videos. Decoding and measures are in ``learn/steps.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finecut.errors import ShapeError, UsageError
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import Footage, list_frames, read_frames
from finecut.learn.data.procedures import (
    Coin,
    CoinVideo,
    StepVideo,
    has_coin,
    has_crosstask,
    read_coin,
    read_crosstask,
)
from finecut.learn.data.sampling import Sampling
from finecut.learn.evaluation.arrays import load_array
from finecut.learn.evaluation.tokens import PartStore, Progress, device_of, to_device
from finecut.learn.inputs.text import TextInputs
from finecut.learn.inputs.video import FrameNeeds, pixel_inputs
from finecut.learn.steps import (
    StepAnnotation,
    StepHits,
    frame_accuracy,
    locate_steps,
    step_hits,
    step_recall,
    train_frame_classifier,
)
from finecut.video.container import open_video

Windows = Callable[[str], Iterator[dict[str, Any]] | None]
"""A video's id to the keyword arguments of ``encode_video`` of window after window; None: it is
not there."""


def holds_procedures(root: Path, split: str) -> bool:
    """Whether the split is one of CrossTask's or COIN's, as `finecut data check` names them."""
    if split not in ("primary", "testing") or not root.is_dir():
        return False
    folder = Folder(root)
    return has_crosstask(folder) if split == "primary" else has_coin(folder)


@dataclass(frozen=True)
class SecondsOf:
    """Windows of a video, a frame or a feature a second, in the order of time.

    Videos are decoded where the method takes pixels; else ``<video id>.npy`` [seconds, channels]
    is read, as CrossTask's release has it.
    """

    folder: Folder
    max_frames: int
    needs: FrameNeeds | None  # None: ready-made features
    channels: int = 0

    def __call__(self, video_id: str) -> Iterator[dict[str, Any]] | None:
        """The windows, or None where the video is not there."""
        if self.needs is None:
            path = self.folder.find(f"{video_id}.npy")
            return self._features(path) if path else None
        path = self.folder.video(video_id)
        return self._pixels(path) if path else None

    def _features(self, path: Path) -> Iterator[dict[str, Any]]:
        features = load_array(path, f"features [seconds, {self.channels}]")
        if features.ndim != 2 or features.shape[1] != self.channels or not len(features):
            raise ShapeError(
                f"{path}: expected features [seconds, {self.channels}], got {list(features.shape)}."
            )
        for start in range(0, len(features), self.max_frames):
            some = np.array(features[start : start + self.max_frames], dtype=np.float32)
            mask = torch.ones(1, len(some), dtype=torch.bool)
            yield {"features": torch.from_numpy(some)[None], "frame_mask": mask}

    def _pixels(self, path: Path) -> Iterator[dict[str, Any]]:
        assert self.needs is not None
        sampling = Sampling(max_frames=self.max_frames, rule="time")
        with open_video(path) as (container, stream):
            seconds = max(1, int(np.ceil(list_frames(container, stream).times[-1] + 1e-6)))
        for start in range(0, seconds, self.max_frames):
            expected = min(self.max_frames, seconds - start)
            footage = Footage((path,), float(start), float(start + expected))
            frames = read_frames(footage, sampling, self.needs.size).pixels
            # a slide stays on show for seconds: repeat what is there, so that times hold
            places = np.arange(expected) * len(frames) // expected
            yield pixel_inputs([frames[places]], self.needs)


@torch.no_grad()
def second_tokens(
    model: Any, windows: Iterator[dict[str, Any]], store: PartStore | None, side: str, number: int
) -> Tensor:
    """[T, D] a token a second of one video."""
    kept = store.load(side, number) if store else None
    if kept is not None:
        return kept["tokens"]
    device, parts = device_of(model), []
    for window in windows:
        tokens = model.encode_video(**to_device(window, device))
        if tokens.frame_embeds is None:
            raise UsageError("This method keeps nothing of single frames: it cannot find seconds.")
        parts.append(tokens.frame_embeds[0][window["frame_mask"][0]].float().cpu())
    tokens = torch.cat(parts)
    return store.save(side, number, {"tokens": tokens})["tokens"] if store else tokens


@torch.no_grad()
def crosstask_figures(
    model: Any,
    folder: Folder,
    windows_of: Windows,
    text: TextInputs,
    *,
    store: PartStore | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Average recall of CrossTask's primary tasks in percent, zero-shot, over the videos there.

    Raises:
        UsageError: not one of its videos is there.
    """
    data = read_crosstask(folder)
    device = device_of(model)
    steps = {}
    for task in data.tasks:
        encoded = model.encode_text(**to_device(text(list(task.steps)), device))
        steps[task.task_id] = encoded.text_embeds.float().cpu()  # [K, D]
    found: list[tuple[str, StepHits]] = []
    missing = []
    for number, video in enumerate(data.videos):
        windows = windows_of(video.video_id)
        if windows is None:
            missing.append(video.video_id)
            continue
        tokens = second_tokens(model, windows, store, "seconds", number)
        scores = (tokens @ steps[video.task_id].T).numpy()  # [T, K]
        found.append((video.task_id, hits_of(video, scores)))
        if on_progress:
            on_progress("videos", number + 1, len(data.videos))
    if not found:
        raise UsageError(f"{folder.root}: none of CrossTask's {len(data.videos)} videos is there.")
    per_task, mean = step_recall(found)
    return {
        "recall": 100.0 * mean,
        "per_task": {task: 100.0 * value for task, value in per_task.items()},
        "videos": len(found),
        "missing": len(missing),
    }


def hits_of(video: StepVideo, scores: NDArray[np.float32]) -> StepHits:
    """Steps found in a video's [T, K] scores; none where it has fewer seconds than steps."""
    truth = [StepAnnotation(step + 1, start, end) for step, start, end in video.steps]
    if len(scores) < scores.shape[1]:
        return StepHits(0, len({one.step for one in truth}))
    return step_hits(locate_steps(scores), truth)


def coin_figures(
    model: Any,
    folder: Folder,
    windows_of: Windows,
    *,
    seed: int = 0,
    store: PartStore | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Frame accuracy of COIN's testing split in percent, a linear classifier on frozen tokens.

    Raises:
        UsageError: a split has no video there.
    """
    tokens, labels, there, missing = {}, {}, {}, {}
    for split in ("training", "testing"):
        coin = read_coin(folder, split)
        tokens[split], labels[split] = [], []
        lost = []
        for number, video in enumerate(coin.videos):
            windows = windows_of(video.video_id)
            if windows is None:
                lost.append(video.video_id)
                continue
            found = second_tokens(model, windows, store, f"{split}-seconds", number)
            made, true = as_labelled(coin, video, found)
            tokens[split].append(made)
            labels[split].append(true)
            if on_progress:
                on_progress(f"{split} videos", number + 1, len(coin.videos))
        if not tokens[split]:
            raise UsageError(
                f"{folder.root}: none of COIN's {len(coin.videos)} {split} videos is there."
            )
        there[split], missing[split] = len(tokens[split]), len(lost)
    classes = len(coin.labels)
    head = train_frame_classifier(
        torch.cat(tokens["training"]), torch.cat(labels["training"]), classes, seed=seed
    )
    with torch.no_grad():
        pairs = [
            (head(made).argmax(dim=1).numpy(), true.numpy())
            for made, true in zip(tokens["testing"], labels["testing"], strict=True)
        ]
    return {
        "frame_accuracy": 100.0 * frame_accuracy(pairs),
        "classes": classes,
        "videos": there["testing"],
        "training_videos": there["training"],
        "missing": sum(missing.values()),
    }


def as_labelled(coin: Coin, video: CoinVideo, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens and labels of the annotated seconds; a shorter file's last token stands for the
    rest."""
    labels = torch.tensor(coin.frame_labels(video))
    places = torch.arange(len(labels)).clamp(max=len(tokens) - 1)
    return tokens[places], labels
