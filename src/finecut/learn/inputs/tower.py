"""The frozen part of a method: frames in, embeddings out, computed once and kept.

Training only what comes after it ("heads") needs nothing else of a video.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from finecut.errors import UsageError
from finecut.learn.preprocess import normalise

FRAMES, PATCHES = "frames_raw", "patches_raw"
BATCH = 64  # frames at a time

Arrays = dict[str, NDArray[np.float32]]


class FrozenTower(Protocol):
    """What a cache of features is made with."""

    names: tuple[str, ...]  # arguments of encode_video: frames_raw, patches_raw
    fingerprint: str  # of its weights and of all else that changes what it gives

    def __call__(self, videos: Sequence[NDArray[np.uint8]]) -> list[Arrays]:
        """uint8 [F_i, H, H, 3] each → by name float32 [F_i, ...] each."""
        ...

    def padding(self) -> Arrays:
        """What a padded frame (zeros after normalisation) gives, [...] each."""
        ...


class ClipTower:
    """CLIP's vision tower, as the CLIP-based methods use it."""

    def __init__(self, clip: Any, names: tuple[str, ...], max_frames: int) -> None:
        """Args:
        clip: the model's CLIP.
        names: what to keep.
        max_frames: padding up to here is seen by a 3D patch projection.
        """
        self.clip = clip.eval()
        self.names = names
        self.max_frames = max_frames
        self.fingerprint = visual_fingerprint(clip)

    @torch.inference_mode()
    def __call__(self, videos: Sequence[NDArray[np.uint8]]) -> list[Arrays]:
        if self.clip.config.patches == "3d":
            return [self._whole(frames) for frames in videos]
        lengths = [len(frames) for frames in videos]
        every = np.concatenate(list(videos))
        parts = [
            self._encode(torch.from_numpy(np.ascontiguousarray(every[at : at + BATCH])))
            for at in range(0, len(every), BATCH)
        ]
        ends = np.cumsum(lengths)[:-1]
        split = {
            name: np.split(np.concatenate([part[name] for part in parts]), ends)
            for name in self.names
        }
        return [{name: split[name][row] for name in self.names} for row in range(len(videos))]

    @torch.inference_mode()
    def padding(self) -> Arrays:
        size = self.clip.config.image_size
        tokens = self._tokens(torch.zeros(1, 1, 3, size, size))
        return {name: value[0] for name, value in tokens.items()}

    def _whole(self, frames: NDArray[np.uint8]) -> Arrays:
        # Neighbours are seen, the zeros of padding too.
        pixels = normalise(torch.from_numpy(np.ascontiguousarray(frames)))
        room = max(0, self.max_frames - len(frames))
        pixels = torch.cat([pixels, pixels.new_zeros(room, *pixels.shape[1:])])
        tokens = self._tokens(pixels[None])
        return {name: value[: len(frames)] for name, value in tokens.items()}

    def _encode(self, frames: torch.Tensor) -> Arrays:
        return self._tokens(normalise(frames)[None])

    def _tokens(self, pixels: torch.Tensor) -> Arrays:
        embeds, patches = self.clip.encode_frames(pixels)
        by_name = {FRAMES: embeds[0], PATCHES: patches[0]}
        return {name: by_name[name].float().numpy() for name in self.names}


def visual_fingerprint(clip: Any) -> str:
    """Short hash of a vision tower: its weights as float32, and what shapes its forward pass."""
    config = clip.config
    digest = hashlib.sha256(f"{config.activation} {config.patches}".encode())
    for name, value in sorted(clip.visual.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def feature_names(method: type[nn.Module]) -> tuple[str, ...]:
    """Which cached features a method's ``encode_video`` takes.

    Raises:
        UsageError: none: the method cannot be trained on cached features.
    """
    takes = inspect.signature(method.encode_video).parameters  # type: ignore[attr-defined]
    names = tuple(name for name in (FRAMES, PATCHES) if name in takes)
    if not names:
        raise UsageError(
            f"{method.__name__} takes no cached features (its encode_video has no {FRAMES}): "
            "cache its frames instead, without --features."
        )
    return names


def tower_of(model: nn.Module) -> FrozenTower:
    """The frozen tower of a method's model: its own ``frozen_tower()``, or its CLIP's.

    Raises:
        UsageError: it has none.
    """
    if hasattr(model, "frozen_tower"):
        return model.frozen_tower()  # type: ignore[operator]
    names = feature_names(type(model))
    clip = getattr(model, "clip", None)
    if clip is None:
        raise UsageError(f"{type(model).__name__} has no CLIP whose features could be cached.")
    config: Any = model.config
    return ClipTower(clip, names, getattr(config, "taco", config).max_frames)


def pad_features(
    videos: Sequence[Mapping[str, NDArray[np.float32]]],
    padding: Mapping[str, NDArray[np.float32]],
    max_frames: int,
) -> dict[str, torch.Tensor]:
    """By name [G, max_frames, ...] and ``frame_mask`` [G, max_frames].

    Padded frames hold what the tower gives for them, for methods that let them take part
    (EERCF as released).
    """
    mask = torch.zeros(len(videos), max_frames, dtype=torch.bool)
    made: dict[str, torch.Tensor] = {}
    for name, empty in padding.items():
        rows = np.broadcast_to(empty, (len(videos), max_frames, *empty.shape)).copy()
        for row, video in enumerate(videos):
            rows[row, : len(video[name])] = video[name]
            mask[row, : len(video[name])] = True
        made[name] = torch.from_numpy(rows)
    return {**made, "frame_mask": mask}
