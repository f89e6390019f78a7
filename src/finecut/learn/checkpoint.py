"""Trained models on disk: our own layout, and the published ones.

Ours is a folder with ``model.safetensors`` and ``checkpoint.json`` (method, config, provenance).
The published ones are the plain state dicts of CLIP4Clip and EERCF (``pytorch_model.bin.<epoch>``);
their loaders only log what does not fit, here a mismatch that matters is refused.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import typing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from finecut.errors import BundleError, UsageError
from finecut.learn.encoders.archive import read_tensors
from finecut.learn.encoders.clip import CLIP
from finecut.learn.encoders.clip_load import build_clip, infer_config, to_openai_names

FORMAT = "finecut-checkpoint"
VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "checkpoint.json"
ENTRY_POINT_GROUP = "finecut.methods"  # a plugin's object: a MethodSpec, or a function giving one


class MethodSpec(NamedTuple):
    """How a checkpoint finds its code."""

    model: type[nn.Module]  # built as model(config)
    config: type  # a frozen dataclass


_BUILT_IN = {
    "clip4clip": ("clip4clip", "CLIP4Clip", "Clip4ClipConfig"),
    "eercf": ("eercf", "EERCF", "EercfConfig"),
    "taco": ("taco", "TACo", "TacoConfig"),
    "laff": ("laff", "LAFF", "LaffConfig"),
    "camoe": ("camoe", "CAMoE", "CamoeConfig"),
    "laff-clip": ("on_clip", "LaffOnClip", "LaffOnClipConfig"),
    "taco-clip": ("on_clip", "TacoOnClip", "TacoOnClipConfig"),
    "laff-starter": ("laff_starter", "LaffStarter", "LaffStarterConfig"),
}


def method_spec(name: str) -> MethodSpec:
    """The classes of a method by name: built in, or a plugin's.

    Raises:
        UsageError: nobody offers that name; the message lists who does.
    """
    if name in _BUILT_IN:
        module_name, model, config = _BUILT_IN[name]
        module = importlib.import_module(f"finecut.learn.methods.{module_name}")
        return MethodSpec(getattr(module, model), getattr(module, config))
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name in plugins:
        found = plugins[name].load()
        return found if isinstance(found, MethodSpec) else found()
    raise UsageError(
        f"No method is called {name!r}; available: {', '.join([*_BUILT_IN, *sorted(plugins)])}."
    )


def method_name(model: nn.Module) -> str:
    """The name under which a model's class is registered."""
    for name, (module, class_name, _) in _BUILT_IN.items():
        if (type(model).__module__, type(model).__name__) == (
            f"finecut.learn.methods.{module}",
            class_name,
        ):
            return name
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if method_spec(point.name).model is type(model):
            return point.name
    raise UsageError(f"{type(model).__name__} is no registered method; pass its name.")


# ---------------------------------------------------------------------- our own layout


def save_checkpoint(
    model: nn.Module,
    folder: Path | str,
    *,
    method: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a model with a ``config`` attribute (a dataclass) to a folder.

    Raises:
        UsageError: the folder holds a checkpoint already.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    if (folder / CONFIG).exists():
        raise UsageError(f"'{folder}' holds a checkpoint already; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "method": method or method_name(model),
        "config": dataclasses.asdict(model.config),  # type: ignore[arg-type]
        "provenance": provenance or {},
    }
    text = json.dumps(header, indent=2, default=sorted)  # sets become sorted lists
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return folder


def read_header(folder: Path | str) -> dict[str, Any]:
    """The JSON of a checkpoint, checked for kind and version."""
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise BundleError(f"'{folder}' is no checkpoint: it has no {CONFIG}.")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"'{file}' is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BundleError(f"'{file}' is not a {FORMAT}.")
    if header.get("version") != VERSION:
        raise BundleError(
            f"'{file}' has version {header.get('version')}, this finecut reads {VERSION}."
        )
    return header


def load_checkpoint(folder: Path | str) -> nn.Module:
    """The model that ``save_checkpoint`` wrote, in evaluation mode.

    Raises:
        BundleError: unreadable, of another version, or weights that do not fit the config.
    """
    header = read_header(folder)
    spec = method_spec(header.get("method", ""))
    try:
        config = from_json(spec.config, header.get("config"))
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The config in '{folder}' does not fit {header['method']}: {error}"
        ) from error
    model = spec.model(config)
    state = read_tensors(Path(folder) / WEIGHTS)
    wanted = model.state_dict()
    wrong = sorted(wanted.keys() ^ state.keys())
    wrong += [
        name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape
    ]
    if wrong:
        raise BundleError(f"The weights in '{folder}' do not fit its config: {wrong[:5]}.")
    if any(t.dtype == torch.float16 for t in state.values()) and hasattr(model, "clip"):
        model.clip.to_official_fp16()
    model.load_state_dict(state)
    return model.eval()


def from_json(kind: type, value: Any) -> Any:
    """A dataclass from its JSON form, nested ones and tuples included.

    Raises:
        TypeError: not an object, or a key the dataclass does not have.
    """
    if not isinstance(value, dict):
        raise TypeError(f"expected an object for {kind.__name__}, got {type(value).__name__}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _field(hints.get(name), item) for name, item in value.items()})


def _field(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    kind = typing.get_origin(hint)
    if kind in (tuple, frozenset) and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return kind(_field(inner, item) for item in value)
    for option in typing.get_args(hint):  # Optional dataclass
        if isinstance(value, dict) and dataclasses.is_dataclass(option):
            return _field(option, value)
    return value


# ---------------------------------------------------------------------- published layouts


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What of a published checkpoint was used."""

    method: str
    head: str
    filled: tuple[str, ...]  # absent in the file: taken from the base CLIP or initialised
    unexpected: tuple[str, ...]  # in the file, of no use

    def __str__(self) -> str:
        return (
            f"{self.method} ({self.head}): {len(self.filled)} tensors filled in "
            f"{list(self.filled[:5])}, {len(self.unexpected)} ignored {list(self.unexpected[:5])}"
        )


_HEAD_MARKS = {
    "seqLSTM": "lstm_visual.weight_ih_l0",
    "seqTransf": "transformerClip.resblocks.0.attn.in_proj_weight",
    "tightTransf": "cross.transformer.resblocks.0.attn.in_proj_weight",
}


def import_clip4clip(
    path: Path | str,
    *,
    head: str | None = None,
    base: CLIP | None = None,
    max_frames: int = 12,
    max_words: int = 32,
) -> tuple[nn.Module, ImportReport]:
    """A CLIP4Clip ``pytorch_model.bin``, in float32.

    Args:
        path: the file.
        head: refuse a file that was trained with another head; default: the file's own.
        base: fills ``clip.*`` tensors that the file lacks.
        max_frames: not recorded in the file.
        max_words: not recorded in the file.

    Raises:
        BundleError: the file has another head, or tensors are missing or of other shapes. The
            released loader goes on with an untrained head.
    """
    from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig

    clip_state, rest = _split(read_tensors(path))
    clip, filled = _clip_from(clip_state, base)
    found = _head_in(rest)
    if head is not None and head != found:
        raise BundleError(
            f"'{path}' was trained with the head {found}, asked for {head}: its weights for "
            f"{head} do not exist. Use head={found}."
        )
    if "global_mat_weight" in rest:
        raise BundleError(f"'{path}' is an EERCF checkpoint; import it as eercf.")
    layers = _layers(rest)
    config = Clip4ClipConfig(found, clip.config, layers or 4, max_frames, max_words)  # type: ignore[arg-type]
    model = CLIP4Clip(config, clip)
    unexpected = _fill(model, rest, optional=())
    return model.eval(), ImportReport("clip4clip", found, filled, unexpected)


def import_eercf(
    path: Path | str,
    *,
    base: CLIP | None = None,
    max_frames: int | None = None,
    max_words: int = 32,
) -> tuple[nn.Module, ImportReport]:
    """An EERCF ``pytorch_model.bin``, in float32; absent Wg and Wf are identities.

    Args:
        path: the file.
        base: fills ``clip.*`` tensors that the file lacks.
        max_frames: refuse a file whose Wf is for another count; default: the file's own.
        max_words: not recorded in the file.

    Raises:
        BundleError: Wf is for another frame count, no seqTransf head, or tensors do not fit.
    """
    from finecut.learn.methods.eercf import EERCF, EercfConfig

    clip_state, rest = _split(read_tensors(path))
    clip, filled = _clip_from(clip_state, base)
    if _HEAD_MARKS["seqTransf"] not in rest:
        raise BundleError(f"'{path}' has no temporal transformer, which EERCF needs (seqTransf).")
    trained = rest["frame_logit_weight"].shape[0] if "frame_logit_weight" in rest else None
    if trained and max_frames and trained != max_frames:
        raise BundleError(
            f"'{path}' was trained for {trained} frames (its Wf), asked for {max_frames}: "
            f"leave max_frames out or set it to {trained}."
        )
    config = EercfConfig(clip.config, _layers(rest), trained or max_frames or 12, max_words)
    model = EERCF(config, clip)
    optional = ("global_mat_weight", "frame_logit_weight")
    unexpected = _fill(model, rest, optional)
    filled += tuple(name for name in optional if name not in rest)
    return model.eval(), ImportReport("eercf", "seqTransf", filled, unexpected)


def _split(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """clip.* under OpenAI's names, and the rest; old names gamma/beta become weight/bias."""
    renamed = {
        name.removeprefix("module.").replace("gamma", "weight").replace("beta", "bias"): value
        for name, value in state.items()
    }
    clip = {name: value for name, value in renamed.items() if name.startswith("clip.")}
    rest = {name: value for name, value in renamed.items() if not name.startswith("clip.")}
    return to_openai_names(clip) if clip else {}, rest


def _clip_from(state: dict[str, Tensor], base: CLIP | None) -> tuple[CLIP, tuple[str, ...]]:
    filled: tuple[str, ...] = ()
    activation = "quick_gelu"
    if base is not None:
        activation = base.config.activation
        full = dict(base.state_dict())
        filled = tuple(f"clip.{name}" for name in sorted(full.keys() - state.keys()))
        state = full | state
    return build_clip(state, infer_config(state, activation)), filled  # type: ignore[arg-type]


def _head_in(state: dict[str, Tensor]) -> str:
    found = [head for head, mark in _HEAD_MARKS.items() if mark in state]
    if len(found) > 1:
        raise BundleError(f"The checkpoint holds several heads: {found}.")
    return found[0] if found else "meanP"


def _layers(state: dict[str, Tensor]) -> int:
    blocks = {name.split(".resblocks.")[1].split(".")[0] for name in state if ".resblocks." in name}
    return len(blocks)


def _fill(model: nn.Module, state: dict[str, Tensor], optional: tuple[str, ...]) -> tuple[str, ...]:
    wanted = {n: t for n, t in model.state_dict().items() if not n.startswith("clip.")}
    missing = sorted(wanted.keys() - state.keys() - set(optional))
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(t.shape)}"
        for name, t in wanted.items()
        if name in state and state[name].shape != t.shape
    ]
    if missing or wrong:
        raise BundleError(
            f"The checkpoint does not fit: missing {missing[:5] or 'none'}, "
            f"wrong shapes {wrong[:5] or 'none'}."
        )
    with torch.no_grad():
        for name, t in wanted.items():
            if name in state:
                t.copy_(state[name].to(t.dtype))
    return tuple(sorted(state.keys() - wanted.keys()))
