"""The optimiser of CLIP4Clip and EERCF as published: BertAdam, its schedule and its groups.

The papers say "Adam"; the released code is this. It differs from Adam in four ways that change
results: no bias correction, decay added to the update before the learning rate is multiplied in,
every tensor's gradient clipped on its own, and a first step of learning rate 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from finecut.errors import UsageError

WEIGHT_DECAY = 0.2  # CLIP4Clip main_task_retrieval.py
_NO_DECAY = ("bias", "LayerNorm.bias", "LayerNorm.weight")


def warmup_cosine(progress: float, warmup: float = 0.1) -> float:
    """Factor of the learning rate at ``progress`` = step / total steps.

    Rises linearly to 1, then follows half a cosine that is *not* rescaled to begin at the end of
    the warm-up: it jumps from 1 to 0.976 there (for warmup 0.1), as published.

    >>> warmup_cosine(0.05), warmup_cosine(1.0)
    (0.5, 0.0)
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class BertAdam(Optimizer):
    """m ← b1·m + (1−b1)·g;  v ← b2·v + (1−b2)·g²;  w ← w − lr·(m/(√v + eps) + decay·w).

    Args:
        params: parameters or groups; a group may carry its own ``lr`` and ``weight_decay``.
        lr: at its peak.
        total_steps: of the whole training.
        warmup: share of ``total_steps``.
        max_grad_norm: each tensor's gradient is scaled down to this norm, in place; 0 = never.

    Source: modules/optimization.py of CLIP4Clip; constants from its main_task_retrieval.py.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        total_steps: int,
        warmup: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = WEIGHT_DECAY,
        max_grad_norm: float = 1.0,
    ) -> None:
        if total_steps < 1:
            raise UsageError(f"total_steps must be at least 1, got {total_steps}.")
        if not 0.0 <= warmup < 1.0:
            raise UsageError(f"warmup is a share of the steps in [0, 1), got {warmup}.")
        defaults = dict(
            lr=lr, total_steps=total_steps, warmup=warmup, betas=betas, eps=eps,
            weight_decay=weight_decay, max_grad_norm=max_grad_norm,
        )  # fmt: skip
        super().__init__(params, defaults)

    def get_lr(self) -> list[float]:
        """The learning rate that the *next* step of each parameter will use."""
        return [
            self._scheduled_lr(group, self.state[p].get("step", 0))
            for group in self.param_groups
            for p in group["params"]
        ]

    @staticmethod
    def _scheduled_lr(group: dict[str, Any], step: int) -> float:
        return group["lr"] * warmup_cosine(step / group["total_steps"], group["warmup"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad = parameter.grad
        if grad is None:
            return
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["m"] = torch.zeros_like(parameter)
            state["v"] = torch.zeros_like(parameter)
        if group["max_grad_norm"] > 0:
            nn.utils.clip_grad_norm_(parameter, group["max_grad_norm"])
        b1, b2 = group["betas"]
        m, v = state["m"], state["v"]
        m.mul_(b1).add_(grad, alpha=1 - b1)
        v.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        update = m / (v.sqrt() + group["eps"])
        if group["weight_decay"] > 0:
            update += group["weight_decay"] * parameter
        parameter.add_(update, alpha=-self._scheduled_lr(group, state["step"]))
        state["step"] += 1


def param_groups(
    model: nn.Module, lr: float = 1e-4, coef_lr: float = 1e-3, weight_decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """The four published groups: CLIP or new modules, with or without weight decay.

    "clip." in a name means CLIP (``transformerClip.`` does not count: capital C) and gets
    lr·coef_lr. No decay for biases only: CLIP's LayerNorms are called ln_*, so the list of
    exceptions misses their weights and they are decayed, as are the embeddings and logit_scale.
    Frozen parameters are left out.

    Returns: groups with keys params, names, lr, weight_decay, in the published order.
    """
    groups = [
        {"params": [], "names": [], "lr": lr * (coef_lr if clip else 1.0), "weight_decay": decay}
        for decay, clip in ((weight_decay, True), (weight_decay, False), (0.0, True), (0.0, False))
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            no_decay = any(part in name for part in _NO_DECAY)
            group = groups[2 * no_decay + ("clip." not in name)]
            group["params"].append(parameter)
            group["names"].append(name)
    return groups


def clip_grad_norm(model: nn.Module, max_norm: float = 1.0) -> Tensor:
    """Scale all gradients together to ``max_norm``, as before every published step."""
    return nn.utils.clip_grad_norm_(model.parameters(), max_norm)
