"""The figures by which the best epoch is chosen, and the query bank that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finecut.errors import VideoError
from finecut.learn.data.pairs import PairData
from finecut.learn.evaluation.evaluate import evaluate_model
from finecut.learn.evaluation.tokens import device_of, to_device
from finecut.learn.recipe import EvaluateConfig


@torch.no_grad()
def validate(
    model: nn.Module, data: PairData, config: EvaluateConfig
) -> tuple[dict[str, float], dict[str, str]]:
    """Text-to-video figures on the validation split, in evaluation mode.

    They are of the method's own score: re-ranked where it re-ranks, else of stage 1, for a
    cross-encoder's loss never sees the recall vectors.

    Returns: the figures, and the videos that could not be read with the reason: they and their
    sentences are left out, for a run of days should not end there.
    """
    was_training = model.training
    model.eval()
    skipped: dict[str, str] = {}
    fine = bool(getattr(model, "reranks", False))
    options = {"rerank": fine, "recall_k": config.recall_k, "batch_size": config.batch_size}
    try:
        try:
            report = evaluate_model(model, data, **options)
        except VideoError:
            data, skipped = without_unreadable(data)
            report = evaluate_model(model, data, **options)
    finally:
        model.train(was_training)
    answer = report.to_json()
    found = answer["reranked"]["t2v"] if fine else answer["t2v"]
    figures = {name: float(value) for name, value in found.items()}
    return figures, skipped


def without_unreadable(data: PairData) -> tuple[PairData, dict[str, str]]:
    """The data without the videos that cannot be read, and why they cannot."""
    reasons: dict[str, str] = {}
    kept = []
    for row, video_id in enumerate(data.video_ids):
        try:
            data.video_inputs([row])
            kept.append(row)
        except VideoError as error:
            reasons[video_id] = str(error)
    return SomeVideos(data, kept), reasons


class SomeVideos:
    """Some videos of other data, and their sentences."""

    def __init__(self, data: PairData, videos: Sequence[int]) -> None:
        self.data, self.videos = data, list(videos)
        self.texts = np.flatnonzero(np.isin(data.video_of_text, self.videos))
        self.name, self.split, self.protocol = data.name, data.split, data.protocol
        self.video_ids = [data.video_ids[row] for row in self.videos]
        self.sentences = [data.sentences[row] for row in self.texts]
        self.video_of_text = np.searchsorted(self.videos, data.video_of_text[self.texts])
        self.moments = data.moments and [data.moments[row] for row in self.texts]
        left_out = set(data.video_ids) - set(self.video_ids)
        self.missing = [*data.missing, *sorted(left_out)]

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """As the data's, for rows of ``video_ids`` here."""
        return self.data.video_inputs([self.videos[row] for row in rows])

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """As the data's, for rows of ``sentences`` here."""
        return self.data.text_inputs([int(self.texts[row]) for row in rows])


@torch.no_grad()
def recall_bank(model: nn.Module, data: PairData, config: EvaluateConfig, seed: int) -> Tensor:
    """[N, R] recall vectors of up to ``bank_size`` training sentences, chosen by the seed."""
    count = len(data.sentences)
    size = min(config.bank_size, count)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:size]).tolist()
    device, was_training = device_of(model), model.training
    model.eval()
    try:
        parts = [
            model.encode_text(
                **to_device(data.text_inputs(rows[start : start + config.batch_size]), device)
            )
            .recall.float()
            .cpu()
            for start in range(0, size, config.batch_size)
        ]
    finally:
        model.train(was_training)
    return torch.cat(parts) if parts else torch.zeros(0, 0)
