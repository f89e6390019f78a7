"""Kernel ridge regression from image features to sentence vectors, over cluster centres.

A memory beside LAFF: what images like this one were said to show. Closed form, no seeds but the
clusters'; with Nyström's approximation it needs some two thousand centres, not the images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finecut.learn.methods.laff import unit
from finecut.learn.starter.features import joined

CENTRES = 2000
RIDGE = 1.0
FEATURE_WEIGHTS = {"pooled": 1.0, "logits": 0.5, "classes": 0.5, "names": 1.0}
_ROUNDS = 4  # of k-means: more change nothing on dev


class KernelHead(nn.Module):
    """Named features -> unit vectors [B, T]: k(x, centres) A with a Gaussian kernel."""

    def __init__(self, features: dict[str, Tensor], targets: Tensor, seed: int = 0) -> None:
        """Args:
        features: of the training images, from `ImageFeatures`.
        targets: [N, T] what each image should become.
        seed: of the clusters' first centres.
        """
        super().__init__()
        x = joined(features, FEATURE_WEIGHTS)
        centres = k_means(x, CENTRES, seed)
        half = min(len(x) // 2, 1000)
        self.width = float(square_distances(x[:half], x[half : 2 * half]).median())
        self.register_buffer("centres", centres)
        near = self._kernel(x).double()  # [N, M]
        # Ridge in the kernel's own norm: K_mm, not the identity (24.3 instead of 23.3 on dev).
        norm = self._kernel(centres).double()
        gram = near.T @ near + RIDGE * norm + 1e-5 * torch.eye(len(centres), dtype=torch.float64)
        wanted = near.T @ (targets - targets.mean(0)).double()
        self.register_buffer("answer", torch.linalg.solve(gram, wanted).float())  # [M, T]

    def _kernel(self, x: Tensor) -> Tensor:
        return (-square_distances(x, self.centres) / self.width).exp()

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return unit(self._kernel(joined(features, FEATURE_WEIGHTS)) @ self.answer)


def square_distances(x: Tensor, y: Tensor) -> Tensor:
    """[N, M] squared Euclidean distances of rows, never below 0.

    >>> square_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item()
    25.0
    """
    squares = (x * x).sum(1, keepdim=True) + (y * y).sum(1) - 2.0 * x @ y.T
    return squares.clamp(min=0.0)


def k_means(x: Tensor, count: int, seed: int) -> Tensor:
    """[count, D] cluster centres by Lloyd's algorithm from ``count`` random rows of x [N, D].

    >>> k_means(torch.tensor([[0.0], [2.0], [50.0], [52.0]]), 2, seed=1).sort(0).values.tolist()
    [[1.0], [51.0]]
    """
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    centres = x[order[:count]].clone()
    for _ in range(_ROUNDS):
        nearest = square_distances(x, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        sizes = torch.bincount(nearest, minlength=count).unsqueeze(1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres
