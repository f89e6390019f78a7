"""The model a recipe starts from: built, filled with weights, and frozen where it says so."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any

import torch
from torch import nn

from finecut.errors import UsageError
from finecut.learn.checkpoint import method_spec
from finecut.learn.recipe import Recipe, Start, expand
from finecut.learn.strict_toml import needed


class StartingPoint:
    """The weights of a recipe, read once: first they say what the data must look like (size of
    frames, vocabulary), then the model is built of them."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises UsageError: weights that are not there, or fit no method like the recipe's."""
        self.recipe, self.spec = recipe, method_spec(recipe.method)
        self.fields = {field.name for field in dataclasses.fields(self.spec.config)}
        self.whole: nn.Module | None = None  # a model of the same method
        self.clip: Any = None
        self.bert: Any = None
        self.found: dict[str, Any] = {}  # of the method's config, as the weights have it
        kind, _, place = recipe.start.weights.partition(":")
        if kind == "checkpoint":
            self._read_checkpoint(place)
        elif kind == "clip":
            self._read_clip(place)
        elif kind == "bert":
            self._read_bert(place)
        elif kind == "tiny" and "clip" in self.fields:
            from finecut.learn.encoders.tiny import TINY

            self.found = {"clip": dataclasses.asdict(TINY)}

    def _read_clip(self, place: str) -> None:
        from finecut.learn.encoders.clip_load import load_clip

        path = expand(place)
        if "clip" not in self.fields:
            raise UsageError(
                f"{self.recipe.method} has no CLIP in it; start.weights cannot be clip:."
            )
        if not path.exists():
            raise UsageError(f"start.weights: there is no CLIP at '{path}'.")
        self.clip = load_clip(path)
        self.found = {"clip": dataclasses.asdict(self.clip.config)}

    def _read_bert(self, place: str) -> None:
        from finecut.learn.encoders.archive import read_tensors
        from finecut.learn.encoders.bert import BertConfig, bert_from_hugging_face

        path = expand(place)
        if typing.get_type_hints(self.spec.config).get("text") is not BertConfig:
            raise UsageError(
                f"{self.recipe.method} has no BERT in it; start.weights cannot be bert:."
            )
        if path.is_dir():
            names = ("model.safetensors", "pytorch_model.bin")
            path = next((path / name for name in names if (path / name).is_file()), path)
        self.bert = bert_from_hugging_face(read_tensors(path))
        self.found = {"text": dataclasses.asdict(self.bert.config)}

    def _read_checkpoint(self, place: str) -> None:
        from finecut.learn.export_source import load_source

        # Official weights may be half precision; the recipe decides in what they are trained.
        source: Any = load_source(expand(place))[0].float()
        if isinstance(source, self.spec.model):
            self.whole, self.found = source, dataclasses.asdict(source.config)
        if hasattr(source, "clip") and "clip" in self.fields:
            self.clip = source.clip
            self.found.setdefault("clip", dataclasses.asdict(source.clip.config))
        if self.whole is None and self.clip is None:
            raise UsageError(
                f"The checkpoint '{place}' is a {type(source).__name__}; there is nothing in it "
                f"for {self.recipe.method}."
            )

    def config(self) -> Any:
        """The method's config as far as weights and [model] say it; None where data must."""
        known = self.found.keys() | self.recipe.model.keys()
        if needed(self.spec.config) - known:
            return None
        return self.recipe.model_config(self.found)

    def build(self, facts: dict[str, Any]) -> tuple[nn.Module, list[str]]:
        """The model on the CPU, and notes for people on its weights.

        Args:
            facts: fields of the config that only the data knows (sizes of its features).

        Raises:
            UsageError: [model] asks for other sizes than the weights have, or for none there can
                be; a freeze that names nothing, or everything.
        """
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        config = recipe.model_config({**facts, **self.found})
        try:
            model: Any = self.spec.model(config)
        except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UsageError(f"[model] cannot be built ({reason}).") from error
        note = f"weights are random (seed {recipe.seed})"
        if self.whole is not None and _fits(self.whole.state_dict(), model.state_dict()):
            model.load_state_dict(self.whole.state_dict())
            note = f"every weight is from {recipe.start.weights}"
        elif self.clip is not None:
            _take(model.clip, self.clip.state_dict())
            if model.config.clip.patches != self.clip.config.patches:
                model.clip.visual.inflate_patches()
            note = f"CLIP is from {recipe.start.weights}, the head starts anew"
            if hasattr(model, "start_head_from_clip"):
                model.start_head_from_clip()
        elif self.bert is not None:
            if not _fits(self.bert.state_dict(), model.text.state_dict()):
                raise UsageError(
                    f"[model.text] asks for other sizes than {recipe.start.weights} has; leave "
                    "them out."
                )
            model.text.load_state_dict(self.bert.state_dict())
            note = f"the text encoder is from {recipe.start.weights}, the rest starts anew"
        elif self.whole is not None:
            raise UsageError(
                f"[model] asks for other sizes than {recipe.start.weights} has; leave them out."
            )
        frozen = freeze(model, recipe.start)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if not trained:
            raise UsageError("[start] freezes every parameter; nothing is left to train.")
        return model, [note, f"{trained:,} parameters are trained, {frozen:,} are frozen"]


def _fits(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in wanted.items()}


def _take(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    wanted = module.state_dict()
    new = {"visual.conv2.weight"}  # 3D patches begin as the 2D ones
    wrong = sorted(
        name
        for name in (wanted.keys() | state.keys()) - new
        if name not in wanted or name not in state or wanted[name].shape != state[name].shape
    )
    if wrong:
        raise UsageError(
            f"[model.clip] asks for other sizes than the weights have, in {wrong[:3]}; leave the "
            "sizes out."
        )
    module.load_state_dict(state, strict=False)


def freeze(model: nn.Module, start: Start) -> int:
    """Apply ``freeze_layer_num`` and ``freeze``; returns how many parameters are frozen."""
    if start.freeze_layer_num >= 0:
        if not hasattr(getattr(model, "clip", None), "freeze"):
            raise UsageError("[start] freeze_layer_num needs a model with a CLIP; use freeze.")
        model.clip.freeze(start.freeze_layer_num)
    names = [name for name, _ in model.named_parameters()]
    for prefix in start.freeze:
        if not any(name.startswith(prefix) for name in names):
            near = difflib.get_close_matches(prefix, names, n=1, cutoff=0.3)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"[start] freeze {prefix!r} begins no parameter's name.{hint}")
    for name, parameter in model.named_parameters():
        if name.startswith(start.freeze):
            parameter.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)
