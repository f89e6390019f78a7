"""In what precision a run computes, and what it keeps in memory.

fp32          everything in float32
amp           the encoders in bfloat16 or float16 where torch thinks it safe; weights, loss and
              optimiser in float32; float16 with a loss scale
official-fp16 CLIP's weights themselves in float16, as CLIP4Clip and EERCF were trained. Published
              figures depend on it: BertAdam's second moment underflows, so most updates are
              momentum SGD with steps far larger than Adam's (docs/training.md).
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from finecut.errors import UsageError
from finecut.learn.encoders.bert import BertLayer
from finecut.learn.encoders.clip import Block
from finecut.learn.recipe import TrainConfig
from finecut.learn.training.watch import GIVE_UP_SKIPS, TrainingError


class Precision:
    """How one run computes."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.amp = config.precision == "amp"
        self.dtype = getattr(torch, config.amp_dtype)
        scaled = self.amp and self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        self.skipped = 0  # steps in a row that were not made

    def prepare(self, model: nn.Module) -> None:
        """Convert the weights where the recipe asks for it.

        Raises:
            UsageError: official-fp16 with a model that has no CLIP.
        """
        if self.config.precision != "official-fp16":
            return
        if not hasattr(getattr(model, "clip", None), "to_official_fp16"):
            raise UsageError(
                "precision official-fp16 is about CLIP's weights; this model has none."
            )
        model.clip.to_official_fp16()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.amp:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def scale(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss) if self.scaler.is_enabled() else loss

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimiser)

    def is_error(self, norm: Tensor, step: int) -> bool:
        """Whether the norm of the gradients says that training must end.

        Under a loss scale some steps overflow: they are left out, and the scale is halved.

        Raises:
            TrainingError: too many such steps in a row.
        """
        if not self.scaler.is_enabled():
            return not torch.isfinite(norm)
        if torch.isfinite(norm):
            self.skipped = 0
            return False
        self.skipped += 1
        if self.skipped > GIVE_UP_SKIPS:
            raise TrainingError(
                f"float16 overflowed in {self.skipped} steps in a row (step {step}). The run keeps "
                "its last saved state; use amp_dtype = 'bfloat16' or precision = 'fp32'."
            )
        return False

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        if self.scaler.is_enabled():
            self.scaler.step(optimiser)
            self.scaler.update()
        else:
            optimiser.step()

    def state(self) -> dict[str, Any]:
        return {**self.scaler.state_dict(), "skipped": self.skipped}

    def restore(self, state: dict[str, Any]) -> None:
        self.skipped = state["skipped"]
        rest = {name: value for name, value in state.items() if name != "skipped"}
        if rest:
            self.scaler.load_state_dict(rest)


def checkpoint_activations(model: nn.Module) -> None:
    """Compute each transformer block again in the backward pass instead of keeping what is in it.

    Raises:
        UsageError: the model has no such block.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block | BertLayer)]
    if not blocks:
        raise UsageError(
            "activation_checkpointing is about transformer blocks; this model has none."
        )
    for block in blocks:
        block.forward = functools.partial(_checkpointed, block.forward)


def _checkpointed(forward: Any, *args: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args)
    return checkpoint(forward, *args, use_reentrant=False)
