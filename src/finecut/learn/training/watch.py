"""What can go wrong silently in a loop: numbers that are none, and a loss that does not move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from finecut.errors import FinecutError

WINDOW = 25  # steps that are averaged
STILL = 0.005  # share of the first window's loss by which the later one must differ
CHANCE = 0.01  # this near to ln B is no better than guessing
GIVE_UP_SKIPS = 50  # steps in a row that half precision could not make


class TrainingError(FinecutError):
    """Training cannot go on; what was saved before stays."""


def check_loss(parts: Mapping[str, Tensor], step: int, video_ids: Sequence[str]) -> None:
    """Refuse a loss that is not finite.

    Raises:
        TrainingError: it names the step, the parts and the videos of the batch.
    """
    if torch.isfinite(parts["loss"]):
        return
    values = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
    raise TrainingError(
        f"The loss is not finite at step {step} ({values}); videos of the batch: "
        f"{', '.join(video_ids[:8])}{' ...' if len(video_ids) > 8 else ''}. The run keeps its last "
        "saved state. Lower lr, or look at those videos; official-fp16 overflows at times: try "
        "precision = 'amp'."
    )


def gradient_norm(model: nn.Module) -> Tensor:
    """The length of all gradients together, in float32; not finite where one of them is not."""
    norms = [p.grad.float().norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def check_gradients(model: nn.Module, step: int) -> None:
    """Refuse gradients that are not finite; to be asked before they are clipped.

    Raises:
        TrainingError: it names the step and the first such parameter.
    """
    bad = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    if bad:
        others = f" (nor those of {len(bad) - 1} more)" if bad[1:] else ""
        raise TrainingError(
            f"The gradient of {bad[0]} is not finite at step {step}{others}. No weight was changed "
            "by it, and the run keeps its last saved state. Lower lr or max_grad_norm, or use "
            "precision = 'fp32'."
        )


class LossWatch:
    """Says once when the loss does not move, or stays at what guessing would have."""

    def __init__(self, batch_size: int, first_step: int) -> None:
        self.chance = math.log(batch_size)
        self.first_step = first_step  # the warm-up is over: before, nothing needs to move
        self.early: list[float] = []
        self.late: list[float] = []
        self.said = False

    def see(self, step: int, loss: float) -> str | None:
        """A warning, at most once in a run."""
        if self.said or step < self.first_step:
            return None
        if len(self.early) < WINDOW:
            self.early.append(loss)
            return None
        self.late.append(loss)
        if len(self.late) < 2 * WINDOW:
            return None
        early, late = (sum(part) / len(part) for part in (self.early, self.late[-WINDOW:]))
        self.late = self.late[-WINDOW:]
        if abs(late - self.chance) < CHANCE * self.chance:
            self.said = True
            return (
                f"the loss stays at {late:.3f}, which is ln of the batch size: the model guesses. "
                "Check that captions belong to their videos, and lr, coef_lr and freeze."
            )
        if abs(late - early) < STILL * max(abs(early), 1e-6):
            self.said = True
            return (
                f"the loss has not moved since step {self.first_step} ({early:.4f}, now "
                f"{late:.4f}): all embeddings may be alike. Check lr, coef_lr, freeze and margin."
            )
        return None
