"""Pairs whose videos are decoded when they are asked for: ``kind = "videos"`` of a recipe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from finecut.errors import VideoError
from finecut.learn.data.benchmark import Benchmark, CaptionedVideo
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import Footage, check_readable, read_frames
from finecut.learn.data.sampling import Sampling
from finecut.learn.inputs.text import TextInputs
from finecut.learn.inputs.tower import FrozenTower, pad_features
from finecut.learn.inputs.video import FrameNeeds, pixel_inputs

log = logging.getLogger(__name__)

Moments = list[tuple[float, float]] | None


class Captions:
    """The sentences of the videos that are there: what every kind of data has in common."""

    def __init__(
        self, benchmark: Benchmark, there: Sequence[CaptionedVideo], text: TextInputs
    ) -> None:
        kept = Benchmark(
            benchmark.name, benchmark.split, benchmark.protocol, tuple(there), benchmark.source
        )
        pairs = kept.pairs()
        self.name, self.split, self.protocol = kept.name, kept.split, kept.protocol
        self.video_ids = [item.video_id for item in there]
        self.sentences = [sentence for _, sentence in pairs]
        self.video_of_text = np.array([row for row, _ in pairs], np.int64)
        self.moments = _moments(kept)
        found = {item.video_id for item in there}
        self.missing = [item.video for item in benchmark.items if item.video_id not in found]
        self.published = benchmark.published
        self.text = text

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``encode_text`` for the rows."""
        return self.text([self.sentences[row] for row in rows])

    def save_text_state(self, folder: Path) -> None:
        """Write what text preparation learnt (nothing for most methods)."""
        self.text.save(Path(folder))

    def model_facts(self) -> dict[str, Any]:
        """Fields of the method's config that text preparation knows (size of a vocabulary)."""
        facts = getattr(self.text, "model_facts", None)
        return facts() if facts is not None else {}

    def prepare_model(self, model: nn.Module) -> None:
        """Fill the model's tables of words, before training."""
        self.text.prepare_model(model)


class VideoPairs(Captions):
    """Video files with their captions, decoded at the recipe's sampling on every call."""

    def __init__(
        self,
        benchmark: Benchmark,
        footage: dict[str, Footage],
        text: TextInputs,
        sampling: Sampling,
        needs: FrameNeeds,
        tower: FrozenTower | None = None,
    ) -> None:
        """Args:
        benchmark: the split.
        footage: files by video id, of those that can be read.
        text: of the method.
        sampling: which frames.
        needs: of the method; the sampling takes no more than its ``max_frames``.
        tower: of a method that takes features: each video goes through it once, and what comes
            out is held in memory in half precision (49 KB for 12 frames of the starter).
        """
        super().__init__(benchmark, [i for i in benchmark.items if i.video_id in footage], text)
        self.footage = [footage[video_id] for video_id in self.video_ids]
        most = min(sampling.max_frames, needs.max_frames)
        self.sampling = replace(sampling, max_frames=most)
        self.needs = needs
        self.tower = tower
        self._features: dict[int, dict[str, np.ndarray]] = {}

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``encode_video``: ``pixels``, or features, and ``frame_mask``."""
        if self.tower is None:
            return pixel_inputs([self.frames(row) for row in rows], self.needs)
        for row in rows:
            if row not in self._features:
                (made,) = self.tower([self.frames(row)])
                self._features[row] = {n: x.astype(np.float16) for n, x in made.items()}
        features = [self._features[row] for row in rows]
        return pad_features(features, self.tower.padding(), self.needs.max_frames)

    def frames(self, row: int) -> np.ndarray:
        """uint8 [F, H, H, 3] of one video."""
        try:
            return read_frames(self.footage[row], self.sampling, self.needs.size).pixels
        except VideoError as error:
            raise VideoError(
                f"the video {self.video_ids[row]!r} could be read at the start and cannot now: "
                f"{error}",
                reason=error.reason,
            ) from error


def readable(benchmark: Benchmark, folder: Folder, *, threads: int = 4) -> dict[str, Footage]:
    """Footage by video id of the items that are there and whose first frame decodes.

    Args:
        benchmark: the split.
        folder: where its videos are.
        threads: files opened at a time.
    """
    found = {item.video_id: Footage.of(item, folder) for item in benchmark.items}
    present = {video_id: footage for video_id, footage in found.items() if footage is not None}
    files = dict.fromkeys(footage.files for footage in present.values())  # clips share them
    with ThreadPoolExecutor(max(1, threads)) as pool:
        reasons = dict(zip(files, pool.map(check_readable, map(Footage, files)), strict=True))
    for names, reason in reasons.items():
        if reason:
            log.warning("%s cannot be read (%s): left out", names[0], reason)
    return {key: footage for key, footage in present.items() if not reasons[footage.files]}


def _moments(benchmark: Benchmark) -> Moments:
    """[Q] seconds of each sentence in its video; None unless the annotations give all of them."""
    if benchmark.protocol == "paragraph" or not all(item.moments for item in benchmark.items):
        return None
    return [moment for item in benchmark.items for moment in item.moments or ()]
