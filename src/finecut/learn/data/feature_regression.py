"""A video feature that says what its sentences said: kernel ridge regression onto their vectors.

The prediction lies in the space of a sentence feature, so LAFF may take both without a transform
(``no_transform``), as it takes CLIP's: each head then starts from a match that exists already. The
training videos get predictions of regressions that did not see them (cross-fitting): their own
would be far too good, and a model would lean on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from finecut.errors import ShapeError, UsageError
from finecut.learn.methods.blocks import unit

CENTRES = 1500  # rows that the kernel compares with; all where there are fewer
FOLDS = 5
RIDGE = 1.0
_JITTER = 1e-5  # keeps the system solvable where centres coincide
_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class Regression:
    """x -> unit(k(x, centres) @ answer) * sqrt(T), with a Gaussian kernel.

    Of length sqrt(T), so that entries have a deviation of about 1, as those of other features.
    """

    centres: Tensor  # [M, d]
    width: Tensor  # [] what squared distances are divided by
    answer: Tensor  # [M, T]

    @classmethod
    def learn(cls, rows: Tensor, targets: Tensor, seed: int) -> Regression:
        """Ridge regression in the kernel's own norm, in closed form.

        Args:
            rows: [N, d].
            targets: [N, T] what each row should become.
            seed: of the choice of centres.

        Raises:
            UsageError: fewer than two rows.
        """
        if len(rows) < 2 or len(rows) != len(targets):
            raise UsageError(
                f"a regression needs two rows at least, each with a target; got {len(rows)} and "
                f"{len(targets)}."
            )
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        centres = rows[order[:CENTRES]].clone()
        sample, half = rows[order], min(len(rows) // 2, 1000)
        distances = square_distances(sample[:half], sample[half : 2 * half])
        width = distances.median().clamp(min=1e-12)
        near = _kernel(rows, centres, width)  # [N, M]
        norm = _kernel(centres, centres, width).double()
        gram = (near.T @ near).double() + RIDGE * norm
        gram += _JITTER * torch.eye(len(centres), dtype=torch.float64)
        wanted = (near.T @ (targets - targets.mean(0))).double()
        return cls(centres, width, torch.linalg.solve(gram, wanted).float())

    def __call__(self, rows: Tensor) -> Tensor:
        """[N, d] -> [N, T] of length sqrt(T).

        Raises:
            ShapeError: rows of another size than it learnt from.
        """
        if rows.shape[-1] != self.centres.shape[-1]:
            raise ShapeError(
                f"the regression learnt from rows of {self.centres.shape[-1]} numbers, got "
                f"{rows.shape[-1]}."
            )
        parts = [
            _kernel(part, self.centres, self.width) @ self.answer for part in rows.split(_CHUNK)
        ]
        return unit(torch.cat(parts)) * self.answer.shape[1] ** 0.5

    def tensors(self) -> dict[str, Tensor]:
        """What a run keeps."""
        return {"centres": self.centres, "width": self.width, "answer": self.answer}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Regression:
        """The regression that ``tensors`` came from.

        Raises:
            UsageError: something is missing.
        """
        missing = {"centres", "width", "answer"} - tensors.keys()
        if missing:
            raise UsageError(
                f"the run's state lacks {sorted(missing)} of a regression: it was trained with "
                "other features."
            )
        return cls(tensors["centres"], tensors["width"], tensors["answer"])


def predictions_of_others(rows: Tensor, targets: Tensor, seed: int) -> Tensor:
    """[N, T]: each row's prediction by a regression that did not learn from it.

    Args:
        rows: [N, d].
        targets: [N, T].
        seed: of the folds.
    """
    folds = min(FOLDS, len(rows) // 2)
    if folds < 2:
        raise UsageError(f"cross-fitting needs four rows at least, got {len(rows)}.")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    found = torch.empty_like(targets)
    for fold in range(folds):
        own = order[fold::folds]
        others = torch.ones(len(rows), dtype=torch.bool).index_fill(0, own, False)
        found[own] = Regression.learn(rows[others], targets[others], seed)(rows[own])
    return found


def square_distances(x: Tensor, y: Tensor) -> Tensor:
    """[N, M] squared Euclidean distances of rows, never below 0.

    >>> square_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item()
    25.0
    """
    squares = (x * x).sum(1, keepdim=True) + (y * y).sum(1) - 2.0 * x @ y.T
    return squares.clamp(min=0.0)


def _kernel(x: Tensor, centres: Tensor, width: Tensor) -> Tensor:
    return (-square_distances(x, centres) / width).exp()
