"""The recipe's optimiser, and its learning rate at every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from finecut.learn.optim import BertAdam, param_groups, warmup_cosine
from finecut.learn.recipe import TrainConfig

ONE_CYCLE_START = 1 / 25  # of the peak; torch's OneCycleLR
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def build_optimiser(model: nn.Module, config: TrainConfig, total_steps: int) -> Optimizer:
    """The optimiser over the four published groups; empty groups are left out."""
    groups = param_groups(model, config.lr, config.coef_lr, config.weight_decay)
    groups = [group for group in groups if group["params"]]
    if config.optimiser == "bertadam":
        return BertAdam(groups, config.lr, total_steps, config.warmup)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    return kinds[config.optimiser](groups, lr=config.lr)


class Schedule:
    """Sets the learning rate of each group before a step; BertAdam does that by itself."""

    def __init__(self, optimiser: Optimizer, config: TrainConfig, total_steps: int) -> None:
        self.optimiser, self.config, self.total_steps = optimiser, config, total_steps
        self.peaks = [group["lr"] for group in optimiser.param_groups]
        self.factor = 1.0  # what epochs have made of the peak
        self.best = -math.inf
        self.waited = 0

    def before_step(self, step: int) -> float:
        """Set the rates of step ``step`` (from 0); returns the largest one."""
        if isinstance(self.optimiser, BertAdam):
            return self.optimiser._scheduled_lr(max(self.optimiser.param_groups, key=_rate), step)
        factor = self.factor * shape(self.config, step / self.total_steps)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        return max(self.peaks) * factor

    def after_epoch(self, figure: float) -> None:
        """Decay by epoch, and by ``plateau_factor`` where validation has stopped rising."""
        self.factor *= self.config.lr_decay
        if figure > self.best:
            self.best, self.waited = figure, 0
            return
        self.waited += 1
        if self.config.schedule == "plateau" and self.waited > self.config.plateau_patience:
            self.factor *= self.config.plateau_factor
            self.waited = 0

    def state(self) -> dict[str, Any]:
        return {"factor": self.factor, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        self.factor, self.best, self.waited = state["factor"], state["best"], state["waited"]


def shape(config: TrainConfig, progress: float) -> float:
    """Factor of the peak rate at ``progress`` = step / all steps, without what epochs do.

    >>> config = TrainConfig(optimiser="adamw", schedule="warmup-linear", warmup=0.5)
    >>> [shape(config, p) for p in (0.0, 0.25, 0.5, 0.75)]
    [0.0, 0.5, 1.0, 0.5]
    """
    warmup = config.warmup
    if config.schedule == "warmup-cosine":
        return warmup_cosine(progress, warmup)
    if config.schedule == "warmup-linear":
        return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)
    if config.schedule == "one-cycle":
        if progress < warmup:
            return _cosine(ONE_CYCLE_START, 1.0, progress / warmup)
        return _cosine(1.0, ONE_CYCLE_END, (progress - warmup) / (1 - warmup))
    return progress / warmup if progress < warmup else 1.0  # constant, plateau


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _rate(group: dict[str, Any]) -> float:
    return group["lr"]
