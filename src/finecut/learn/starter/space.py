"""A smaller space for frame and patch tokens: the best low-rank copy of recall's inner products."""

from __future__ import annotations

import torch
from torch import Tensor


def token_maps(queries: Tensor, gallery: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Two maps A, B [R, dim] such that (q A) . (v B) is as near q . v as ``dim`` numbers allow.

    Least squares over all pairs of the rows given: with second moments Cq and Cv, the truncated
    singular value decomposition of Cq^1/2 Cv^1/2, mapped back.

    Args:
        queries: [N, R] sample of query vectors.
        gallery: [M, R] sample of what they are compared with.
        dim: numbers kept.

    >>> q, v = torch.randn(50, 4), torch.randn(60, 4)
    >>> a, b = token_maps(q, v, 4)
    >>> torch.allclose((q @ a) @ (v @ b).T, q @ v.T, atol=1e-3)
    True
    """
    root_q, back_q = _roots(queries)
    root_v, back_v = _roots(gallery)
    u, s, vt = torch.linalg.svd(root_q @ root_v)
    spread = s[:dim].sqrt()
    return (
        (back_q @ u[:, :dim] * spread).float().contiguous(),
        (back_v @ vt[:dim].T * spread).float().contiguous(),
    )


def _roots(sample: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of the second moment, and its inverse (pseudo, where it is singular)."""
    x = sample.double()
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    values = values.clamp(min=0.0)
    keep = values > values[-1] * 1e-10
    root = values.sqrt()
    inverse = torch.where(keep, 1.0 / root.clamp(min=1e-30), torch.zeros_like(root))
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
