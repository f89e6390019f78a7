"""The figures by which the best epoch is chosen, and the query bank that goes with it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from finecut.learn.data.pairs import PairData
from finecut.learn.evaluation.evaluate import evaluate_model
from finecut.learn.evaluation.tokens import device_of, to_device
from finecut.learn.recipe import EvaluateConfig


@torch.no_grad()
def validate(model: nn.Module, data: PairData, config: EvaluateConfig) -> dict[str, float]:
    """Text-to-video figures of stage 1 on the validation split, in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        report = evaluate_model(model, data, rerank=False, batch_size=config.batch_size)
    finally:
        model.train(was_training)
    return {name: float(value) for name, value in report.to_json()["t2v"].items()}


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
