"""A recipe: all that decides a training run, in one TOML file, read strictly.

An unknown key, a value of another type or out of range is an error that names the table and the
nearest known key. ``docs/training.md`` explains every key; the defaults are CLIP4Clip's.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import finecut
from finecut.errors import UsageError
from finecut.learn.data.sampling import Sampling
from finecut.learn.strict_toml import (
    checked,
    from_table,
    needed,
    refuse_unknown,
    to_table,
    write_toml,
)

MAX_RECIPE_BYTES = 1 << 20
HOLD_OUT = "hold-out:"  # data.validation = "hold-out:0.05": that share of the training videos

_START_KINDS = ("clip:", "bert:", "checkpoint:")
_START_WORDS = ("tiny", "random", "starter")


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)


def _at_least(config: Any, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(least <= value, f"{name} must be at least {least}, got {value}.")
        _check(value < math.inf, f"{name} must be finite, got {value}.")


def _above_zero(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(value > 0, f"{name} must be above 0, got {value}.")
        _check(value < math.inf, f"{name} must be finite, got {value}.")


@dataclass(frozen=True, slots=True)
class Start:
    """Where the weights come from, and which of them stay as they are."""

    # clip:PATH, bert:PATH (TACo's text encoder), checkpoint:FOLDER, tiny (small random CLIP),
    # random, starter (features of the built-in bundle, heads from nothing)
    weights: str = "random"
    freeze_layer_num: int = -1  # CLIP4Clip's; -1: nothing is frozen, 0 already freezes embeddings
    freeze: tuple[str, ...] = ()  # further parameters, by the beginning of their name

    def __post_init__(self) -> None:
        known = self.weights in _START_WORDS or self.weights.startswith(_START_KINDS)
        _check(
            known and self.weights not in _START_KINDS,
            f"weights must be clip:PATH, bert:PATH, checkpoint:FOLDER, {', '.join(_START_WORDS)}, "
            f"got {self.weights!r}.",
        )
        _check(
            self.freeze_layer_num >= -1,
            f"freeze_layer_num must be -1 or more, got {self.freeze_layer_num}.",
        )


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where the pairs come from. ``open_split`` reads this."""

    root: str = ""  # a folder; $NAME is an environment variable; --data takes its place
    kind: Literal["videos", "cache", "features"] = "videos"
    format: str | None = None  # a reader's name; None: the first that knows the folder
    train: str = "train"  # names of splits, as `finecut data check` prints them
    validation: str = f"{HOLD_OUT}0.05"
    test: str = "test"
    cache: str | None = None  # kind "cache": the folder that `finecut data cache` wrote
    vocabulary: str | None = None  # TACo: a BERT vocab.txt; None: learnt from the sentences
    sampling: Sampling = field(default_factory=Sampling)
    features: Mapping[str, Any] = field(default_factory=dict)  # kind "features"; read there

    def __post_init__(self) -> None:
        _check(
            self.validation != self.test,
            f"validation and test are both {self.test!r}: the best epoch must not be chosen on "
            f"the test split; use another split or {HOLD_OUT}0.05.",
        )
        _check(
            self.validation != self.train,
            f"validation and train are both {self.train!r}: a model that only remembers would look "
            f"best; use another split or {HOLD_OUT}0.05.",
        )
        if self.validation.startswith(HOLD_OUT):
            share = self.held_out
            _check(
                share is not None and 0.0 < share < 1.0,
                f"validation {self.validation!r}: expected a share between 0 and 1 after "
                f"{HOLD_OUT}",
            )

    @property
    def held_out(self) -> float | None:
        """The share of training videos kept for validation; None where it is a split."""
        if not self.validation.startswith(HOLD_OUT):
            return None
        try:
            return float(self.validation.removeprefix(HOLD_OUT))
        except ValueError:
            return -1.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The loop."""

    epochs: int = 5
    batch_size: int = 128  # pairs of a step, over all processes
    micro_batch: int = 0  # pairs encoded at a time (gradient caching); 0: all at once
    optimiser: Literal["bertadam", "adamw", "adam", "rmsprop"] = "bertadam"
    lr: float = 1e-4
    coef_lr: float = 1e-3  # times lr for everything inside CLIP
    weight_decay: float = 0.2
    schedule: Literal[
        "warmup-cosine", "warmup-linear", "one-cycle", "plateau", "constant"
    ] = "warmup-cosine"  # fmt: skip
    warmup: float = 0.1  # share of all steps
    lr_decay: float = 1.0  # times lr after every epoch
    plateau_factor: float = 0.5  # schedule "plateau": times lr ...
    plateau_patience: int = 2  # ... after more than so many epochs without a better validation
    max_grad_norm: float = 1.0  # of all gradients together; 0: never scaled down
    precision: Literal["fp32", "amp", "official-fp16"] = "fp32"
    amp_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    activation_checkpointing: bool = False
    sample: Literal["captions", "videos"] = "captions"  # what an epoch goes through once
    captions_per_video: int = 1  # sample "videos": drawn anew in every epoch
    same_video_negatives: bool = False  # True: as published, a video's other captions are wrong
    workers: int = 0  # processes that read data ahead
    select: Literal["r_at_1", "RSum", "MIR"] = "r_at_1"  # of validation, text to video
    early_stop: int = 0  # epochs without a better validation; 0: never
    log_every: int = 50  # steps
    save_every_steps: int = 0  # besides every epoch; 0: never

    def __post_init__(self) -> None:
        _at_least(self, 1, "epochs", "captions_per_video", "log_every")
        _check(
            self.batch_size >= 2,
            f"batch_size must be at least 2 (one pair has no negatives), got {self.batch_size}.",
        )
        _at_least(
            self, 0, "micro_batch", "coef_lr", "weight_decay", "plateau_patience", "max_grad_norm",
            "workers", "early_stop", "save_every_steps",
        )  # fmt: skip
        _above_zero(self, "lr", "lr_decay", "plateau_factor")
        _check(0.0 <= self.warmup < 1.0, f"warmup must be in [0, 1), got {self.warmup}.")
        _check(
            self.sample == "captions" or self.batch_size % self.captions_per_video == 0,
            f"batch_size {self.batch_size} must be a multiple of captions_per_video "
            f"{self.captions_per_video}.",
        )
        _check(
            self.optimiser != "bertadam"
            or (self.schedule == "warmup-cosine" and self.lr_decay == 1.0),
            "bertadam carries its own schedule, warmup-cosine without lr_decay; use adamw for "
            "another.",
        )
        _check(
            self.precision != "official-fp16" or self.optimiser == "bertadam",
            f"official-fp16 is defined with bertadam only, got {self.optimiser}: the others' "
            "epsilon is 0 in half precision.",
        )


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Figures beside the plain ones; ``finecut evaluate`` takes these as defaults."""

    recall_k: int = 50  # candidates that stage 2 re-ranks
    dsl_temperature: float = 1.0  # CAMoE's at inference
    qbnorm_beta: float = 20.0  # QB-Norm's inverse temperature
    bank_size: int = 5000  # training sentences kept for QB-Norm
    batch_size: int = 64  # videos or sentences encoded at a time

    def __post_init__(self) -> None:
        _at_least(self, 1, "recall_k", "batch_size")
        _at_least(self, 0, "bank_size")
        _above_zero(self, "dsl_temperature", "qbnorm_beta")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run. ``model`` is the table of the method's own config, checked against it."""

    name: str
    method: str
    source: str = ""  # where the numbers come from
    seed: int = 42
    model: Mapping[str, Any] = field(default_factory=dict)
    start: Start = field(default_factory=Start)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        _check(bool(self.name.strip()), "name must not be empty.")
        _check(0 <= self.seed < 2**31, f"seed must be 0 to 2147483647, got {self.seed}.")
        given = checked(self._config_class(), self.model, "model")
        if not needed(self._config_class()) - given.keys():  # else the data or weights say more
            self.model_config({})

    def _config_class(self) -> type:
        from finecut.learn.checkpoint import method_spec

        return method_spec(self.method).config

    def model_config(self, found: Mapping[str, Any]) -> Any:
        """The method's config: the [model] table over what the weights or the data say.

        Args:
            found: fields known from elsewhere, as a (nested) table; [model] wins over them.

        ``max_frames`` of the config is ``data.sampling.max_frames``, unless [model] says the same.

        Raises:
            UsageError: [model] does not fit the method's config.
        """
        kind = self._config_class()
        table = _merge(found, self.model)
        _fill_max_frames(kind, table, self.data.sampling.max_frames)
        return from_table(kind, table, "model")

    def to_toml(self) -> str:
        """The whole recipe with every default written out."""
        return write_toml(to_table(self))

    def data_root(self, override: Path | str | None = None) -> Path:
        """The folder of the data: ``override`` or ``data.root`` with its variables put in.

        Raises:
            UsageError: neither is given, or a variable is not set.
        """
        given = str(override) if override is not None else self.data.root
        _check(bool(given), "the recipe names no [data] root: pass --data DIR.")
        return expand(given) if override is None else Path(given)


def expand(path: str) -> Path:
    """A path with ``$NAME`` and ``${NAME}`` replaced from the environment, and ``~``.

    Raises:
        UsageError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        found = os.environ.get(name)
        _check(bool(found), f"{path!r} needs the environment variable {name}, which is not set.")
        return str(found)

    return Path(re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, path)).expanduser()


def find_recipe(named: Path | str) -> Path:
    """The file meant: a path, or the name of a recipe that comes with finecut.

    Raises:
        UsageError: neither; the message says what is like it.
    """
    path = Path(named)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    package = Path(finecut.__file__).parent
    for folder in (package / "recipes", package.parents[1] / "recipes"):  # wheel, source tree
        ours = {file.stem: file for file in sorted(folder.glob("*.toml"))}
        if path.name in ours:
            return ours[path.name]
        if ours:
            near = difflib.get_close_matches(path.name, ours, n=3, cutoff=0.3) or sorted(ours)
            raise UsageError(
                f"There is no file {path.name!r} and no recipe of that name; near it are "
                f"{', '.join(near)}."
            )
    return path


def load_recipe(path: Path | str, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe; ``settings`` like ``train.epochs=1`` go over what the file says.

    Args:
        path: a file, or the name of a recipe that comes with finecut.
        settings: ``KEY.KEY=VALUE``.

    Raises:
        UsageError: the file cannot be read, is no TOML, or says something it may not.
    """
    path = find_recipe(path)
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UsageError(f"'{path}' is larger than {MAX_RECIPE_BYTES} bytes: no recipe.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe '{path}' cannot be read: {error}") from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise UsageError(f"'{path}' is not TOML: {error}") from error
    for setting in settings:
        override(table, setting)
    try:
        return from_table(Recipe, table, "")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def override(table: dict[str, Any], setting: str) -> None:
    """Put ``KEY.KEY=VALUE`` into a table; VALUE is TOML, or a text where it is none.

    >>> table = {"train": {"epochs": 5}}
    >>> override(table, "train.epochs=1"); override(table, "start.weights=tiny"); table
    {'train': {'epochs': 1}, 'start': {'weights': 'tiny'}}
    """
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in path.split(".")]
    _check(bool(equals) and all(keys), f"--set takes KEY.KEY=VALUE, got {setting!r}.")
    refuse_unknown(keys[:1], [f.name for f in dataclasses.fields(Recipe)], "")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        _check(isinstance(table, dict), f"--set {setting}: {key} is no table.")
    table[keys[-1]] = value


def _fill_max_frames(kind: type, table: dict[str, Any], sampled: int) -> None:
    for name, hint in typing.get_type_hints(kind).items():
        if name == "max_frames":
            given = table.setdefault(name, sampled)
            _check(
                given == sampled,
                f"[model] max_frames is {given}, [data.sampling] max_frames {sampled}: "
                "set the latter alone.",
            )
        elif name != "clip" and dataclasses.is_dataclass(hint) and isinstance(hint, type):
            _fill_max_frames(hint, table.setdefault(name, {}), sampled)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        nested = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[name] = _merge(under, value) if nested else value  # type: ignore[arg-type]
    return merged
