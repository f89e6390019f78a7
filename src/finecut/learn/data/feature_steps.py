"""What is done to a ready-made feature before a method reads it: a chain of small named steps.

A step is a map of rows [N, d] -> [N, d']. Some learn from the training rows (means, directions);
what they learn is a few arrays, which a run keeps, so that evaluation needs no training data. A
recipe names steps as ``"standardise"`` or, with a number, ``"principal:400"``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from finecut.errors import ShapeError, UsageError
from finecut.learn.methods.blocks import unit

Learnt = dict[str, Tensor]  # arrays of one step, by name

_AT_LEAST = 1e-3  # deviations below this are taken for it: channels that never move stay at 0
_LIFT = 0.05  # of variances against their mean, before directions are evened out
_CHUNK = 8192  # rows at a time: a prepared feature needs no second copy of the raw one


@dataclass(frozen=True)
class StepKind:
    """How a step learns (None: nothing to learn) and what it does."""

    apply: Callable[[Tensor, Learnt, float | None], Tensor]
    learn: Callable[[Tensor, float | None], Learnt] | None = None
    number: str | None = None  # what the number after the colon is; None: the step takes none
    default: float | None = None  # None: the number must be given


@dataclass(frozen=True)
class Step:
    """One step of a chain as a recipe names it."""

    text: str
    kind: StepKind
    number: float | None

    def learn(self, rows: Tensor) -> Learnt:
        """Arrays from the training rows; empty where there is nothing to learn."""
        return self.kind.learn(rows, self.number) if self.kind.learn else {}

    def __call__(self, rows: Tensor, learnt: Learnt) -> Tensor:
        return self.kind.apply(rows, learnt, self.number)


def parse_steps(names: Sequence[str], where: str) -> tuple[Step, ...]:
    """Steps by their names in a recipe.

    Raises:
        UsageError: no such step, or a number that is missing, wrong or not wanted.

    >>> [step.number for step in parse_steps(["standardise", "principal:40"], "video.pooled")]
    [None, 40.0]
    """
    return tuple(_parse(name, where) for name in names)


def _parse(text: str, where: str) -> Step:
    name, colon, argument = text.partition(":")
    kind = STEPS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, STEPS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{where}: no step is called {name!r}.{hint} Known: {', '.join(STEPS)}.")
    if not colon:
        if kind.number is not None and kind.default is None:
            raise UsageError(f"{where}: {name} needs {kind.number}, as in '{name}:100'.")
        return Step(text, kind, kind.default)
    try:
        number = float(argument)
    except ValueError:
        number = -1.0
    if kind.number is None or not 0 < number < float("inf"):
        takes = f"takes {kind.number}, above 0" if kind.number else "takes no number"
        raise UsageError(f"{where}: {name} {takes}; got {text!r}.")
    return Step(text, kind, number)


class Chain:
    """Steps with what they have learnt, in order."""

    def __init__(self, steps: Sequence[Step], learnt: Sequence[Learnt]) -> None:
        self.steps, self.learnt = tuple(steps), tuple(learnt)

    @classmethod
    def learn(cls, steps: Sequence[Step], rows: Tensor) -> Chain:
        """Each step learns from the training rows [N, d] as those before it leave them.

        Raises:
            ShapeError: rows that are not finite.
        """
        check_finite(rows)
        learnt = []
        for step in steps:
            learnt.append(step.learn(rows))
            rows = step(rows, learnt[-1])
        return cls(steps, learnt)

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, d] -> [N, d'], float32, finite.

        Raises:
            ShapeError: rows of another size than the chain learnt from, or that are not finite.
        """
        parts = [self._some(part) for part in rows.split(_CHUNK)]
        return torch.cat(parts) if parts else rows

    def _some(self, rows: Tensor) -> Tensor:
        rows = rows.float()
        for step, learnt in zip(self.steps, self.learnt, strict=True):
            try:
                rows = step(rows, learnt)
            except KeyError as error:
                raise ShapeError(
                    f"the run's state of the step {step.text!r} lacks {error}: train it again."
                ) from error
            except RuntimeError as error:
                raise ShapeError(
                    f"the step {step.text!r} cannot take rows of {rows.shape[-1]} numbers: {error}"
                ) from error
        check_finite(rows)
        return rows

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """("0.mean", …): everything learnt, by step and name."""
        for number, learnt in enumerate(self.learnt):
            for name, value in learnt.items():
                yield f"{number}.{name}", value

    @classmethod
    def of(cls, steps: Sequence[Step], tensors: Mapping[str, Tensor]) -> Chain:
        """The chain that ``tensors`` came from.

        Raises:
            UsageError: a step that learns has nothing in ``tensors``.
        """
        learnt: list[Learnt] = [{} for _ in steps]
        for key, value in tensors.items():
            number, _, name = key.partition(".")
            if number.isdigit() and int(number) < len(learnt):
                learnt[int(number)][name] = value
        for step, arrays in zip(steps, learnt, strict=True):
            if step.kind.learn and not arrays:
                raise UsageError(
                    f"nothing is stored for the step {step.text!r}: the run was trained with "
                    "other steps."
                )
        return cls(steps, learnt)


def check_finite(rows: Tensor) -> None:
    """Refuse rows that are not finite.

    Raises:
        ShapeError: as said.
    """
    if not torch.isfinite(rows).all():
        raise ShapeError("a feature has numbers that are not finite (NaN or infinity).")


# ---------------------------------------------------------------------- the steps


def _mean_and_deviation(rows: Tensor, _: float | None) -> Learnt:
    spread = rows.std(0) if len(rows) > 1 else torch.zeros(rows.shape[1])
    return {"mean": rows.mean(0), "deviation": spread.clamp(min=_AT_LEAST)}


def _standardise(rows: Tensor, learnt: Learnt, _: float | None) -> Tensor:
    return (rows - learnt["mean"]) / learnt["deviation"]


def principal_directions(rows: Tensor, kept: float | None) -> Learnt:
    """Mean [d] and map [d, kept] to principal directions, halfway to equal variances.

    Each direction is divided by the root of its deviation, then all by one number so that the
    entries have a deviation of 1 over the training rows.

    Raises:
        UsageError: fewer channels than are to be kept.
    """
    count = int(kept or 0)
    if count < 1 or count > rows.shape[1]:
        raise UsageError(
            f"principal:{count} keeps directions of a feature of {rows.shape[1]} channels; "
            f"expected 1 to {rows.shape[1]}."
        )
    mean = rows.mean(0)
    centred = (rows - mean).double()
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    variances = variances.flip(0)[:count].clamp(min=0.0)
    vectors = vectors.flip(1)[:, :count]
    # eigh leaves signs open; the largest entry is made positive, so that a repeat is the same
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    turn = vectors * largest.sign() / variances.sqrt().clamp(min=_AT_LEAST).sqrt()
    return {"mean": mean, "turn": (turn / (centred @ turn).std()).float().contiguous()}


def _turn(rows: Tensor, learnt: Learnt, _: float | None) -> Tensor:
    return (rows - learnt["mean"]) @ learnt["turn"]


def evening(rows: Tensor, _: float | None) -> Learnt:
    """Mean [d] and map C^(-1/4) [d, d], C the covariance scaled to a mean variance of 1, lifted."""
    mean = rows.mean(0)
    centred = (rows - mean).double()
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    variances = variances.clamp(min=0.0) / variances.mean() + _LIFT
    return {"mean": mean, "turn": ((vectors * variances.pow(-0.25)) @ vectors.T).float()}


def _even(rows: Tensor, learnt: Learnt, _: float | None) -> Tensor:
    return unit(_turn(rows, learnt, None))


def _logits(rows: Tensor, _: Learnt, __: float | None) -> Tensor:
    weight, bias, _names = starter_classifier()
    if rows.shape[-1] != weight.shape[0]:
        raise ShapeError(
            f"imagenet-logits: rows have {rows.shape[-1]} numbers, expected {weight.shape[0]}: "
            "pooled features of EfficientNet-Lite0."
        )
    return rows @ weight + bias


def _root_probabilities(rows: Tensor, _: Learnt, __: float | None) -> Tensor:
    return rows.softmax(dim=-1).sqrt()


def _class_prior(rows: Tensor, temperature: float | None) -> Learnt:
    return {"prior": 0.5 * (rows / (temperature or 1.0)).softmax(-1).mean(0)}


def _class_names(rows: Tensor, learnt: Learnt, temperature: float | None) -> Tensor:
    mixture = (rows / (temperature or 1.0)).softmax(-1) - learnt["prior"]
    return unit(mixture @ starter_classifier()[2])


STEPS: Mapping[str, StepKind] = {
    # every row to length 1
    "unit": StepKind(lambda rows, _, __: unit(rows)),
    # every channel to mean 0 and deviation 1 over the training rows
    "standardise": StepKind(_standardise, _mean_and_deviation),
    # the strongest directions, evened out half-way
    "principal": StepKind(_turn, principal_directions, "how many directions"),
    # all directions evened out half-way, unit length: for sentence vectors
    "even": StepKind(_even, evening),
    # EfficientNet-Lite0's pooled feature -> its 1,000 ImageNet logits
    "imagenet-logits": StepKind(_logits),
    # logits -> square roots of the probabilities
    "root-probabilities": StepKind(_root_probabilities),
    # logits -> mean MiniLM vector of the class names (ConSE), half the usual mixture taken off
    "class-names": StepKind(_class_names, _class_prior, "a temperature", 2.5),
}


@cache
def starter_classifier() -> tuple[Tensor, Tensor, Tensor]:
    """EfficientNet-Lite0's last layer out of the built-in bundle: weight [1280, 1000], bias
    [1000], and MiniLM vectors [1000, 384] of the classes' names, centred.

    Weights are in half precision there, as shipped. Nothing in them was learnt from captions.

    Raises:
        MissingDependency: the onnx package, of the extra ``learn``, is missing.
    """
    from finecut.bundle.place import starter_dir
    from finecut.errors import MissingDependency

    try:
        import onnx
        from onnx import numpy_helper
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Reading the starter's classifier needs onnx. Install: pip install 'finecut[learn]'"
        ) from error
    graph = onnx.load(starter_dir() / "video.onnx").graph
    made_by = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def constant(name: str) -> Tensor:
        while name not in stored:  # half-precision weights pass through a Cast
            name = made_by[name].input[0]
        return torch.from_numpy(numpy_helper.to_array(stored[name]).astype(np.float32))

    bias = "fusion.features.bias"
    layer = next(node for node in graph.node if node.op_type == "Add" and bias in node.input)
    product = made_by[next(name for name in layer.input if name != bias)]
    return constant(product.input[1]), constant(bias), constant("fusion.features.names")
