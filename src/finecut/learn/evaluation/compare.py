"""Two results on the same queries, and several seeds of one: is a difference more than chance?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finecut.errors import UsageError

SAMPLES = 10_000
BLOCK_CELLS = 1_000_000  # groups drawn at once
_FIGURES: dict[str, Callable[[NDArray], NDArray]] = {
    **{f"r_at_{k}": lambda rank, k=k: 100.0 * (rank <= k) for k in (1, 5, 10)},
    "MIR": lambda rank: 1.0 / rank,
}


@dataclass(frozen=True)
class Difference:
    """A figure of ours minus theirs over the same queries, with its 95 % interval."""

    figure: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p: float  # two-sided: how often resampling turns the sign, doubled

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def paired_bootstrap(
    ours: Sequence[NDArray],
    theirs: Sequence[NDArray],
    groups: NDArray[np.int64],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """R@1, R@5, R@10 (percent) and MIR of ours minus theirs, resampling whole groups.

    The queries of one video succeed and fail together, so videos are drawn with replacement, not
    queries (with one query a video it is the same). Several seeds are averaged query by query.

    Args:
        ours: ranks [N] of each seed.
        theirs: ranks [N] of each seed; their number may differ.
        groups: [N] the video of each query.
        samples: of the bootstrap.
        seed: of the bootstrap.

    >>> same = [np.array([1.0, 2.0, 7.0])]
    >>> [d.difference for d in paired_bootstrap(same, same, np.arange(3), samples=50)]
    [0.0, 0.0, 0.0, 0.0]
    """
    count = len(groups)
    if not ours or not theirs or any(len(rank) != count for rank in (*ours, *theirs)):
        raise UsageError(f"Both results must rank the same {count} queries.")
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    generator = np.random.default_rng(seed)
    values = {
        name: [
            np.mean([figure(np.asarray(rank, np.float64)) for rank in side], axis=0)
            for side in (ours, theirs)
        ]
        for name, figure in _FIGURES.items()
    }
    sums = np.stack([np.bincount(group, weights=m - o) for m, o in values.values()], axis=1)
    drawn = []  # [samples, figures], a block at a time: the rows drawn are not kept
    for at in range(0, samples, block := max(1, BLOCK_CELLS // len(sizes))):
        rows = generator.integers(0, len(sizes), size=(min(block, samples - at), len(sizes)))
        drawn.append(sums[rows].sum(axis=1) / sizes[rows].sum(axis=1)[:, None])
    answer = []
    for (name, (mine, other)), means in zip(values.items(), np.concatenate(drawn).T, strict=True):
        low, high = np.quantile(means, [0.025, 0.975])
        turned = (1 + min((means <= 0).sum(), (means >= 0).sum())) / (1 + samples)
        answer.append(
            Difference(
                name,
                float(mine.mean()),
                float(other.mean()),
                float((mine - other).mean()),
                float(low),
                float(high),
                min(1.0, 2.0 * float(turned)),
            )
        )
    return answer


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Every column and direction that two stored results share, bootstrapped.

    Args:
        ours: what ``--output`` wrote, of one run or of several seeds.
        theirs: likewise.

    Raises:
        UsageError: not stored results, or not of the same queries and gallery.
    """
    for side, result in (("the first", ours), ("the one compared with", theirs)):
        if "queries_hash" not in result or not _runs(result):
            raise UsageError(
                f"{side} result holds no ranks; use a file that `finecut evaluate --output` wrote."
            )
    if ours["queries_hash"] != theirs["queries_hash"]:
        raise UsageError(
            "The two results are of other queries or another gallery "
            f"({_what(ours)} against {_what(theirs)}); only the same test can be paired."
        )
    groups = np.asarray(ours["query_videos"], dtype=np.int64)
    shared = [name for name in _runs(ours)[0] if all(name in run for run in _runs(theirs))]
    if not shared:
        raise UsageError("The two results have no column in common.")
    answer: dict[str, Any] = {}
    for name in shared:
        for way in ("t2v", "v2t"):
            mine = [_ranks(run, name, way) for run in _runs(ours)]
            other = [_ranks(run, name, way) for run in _runs(theirs)]
            group = groups if way == "t2v" else np.arange(len(mine[0]))
            found = paired_bootstrap(mine, other, group)
            answer.setdefault(name, {})[way] = [d.to_json() for d in found]
    return answer


def _runs(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = result.get("ranks")
    return found if isinstance(found, list) else []


def _ranks(run: Mapping[str, Any], column: str, way: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(run[column][way], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"A result's {way} ranks of {column!r} cannot be read: {error}") from error
    if found.ndim != 1 or not (np.isfinite(found) & (found >= 1)).all():
        raise UsageError(f"A result's {way} ranks of {column!r} are not all numbers from 1.")
    return found


def _what(result: Mapping[str, Any]) -> str:
    return (
        f"{result.get('name')} {result.get('split')}: {result.get('queries')} queries, "
        f"{result.get('gallery')} videos"
    )


def over_seeds(results: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Means, and standard deviations (n - 1), of every figure that is a number in all results.

    What is no measured number (names, settings, texts) must agree and is kept as it is in the
    means; the deviations hold measured figures only.

    >>> mean, sd = over_seeds([{"t2v": {"r_at_1": 40.0}, "recall_k": 5},
    ...                        {"t2v": {"r_at_1": 42.0}, "recall_k": 5}])
    >>> mean, round(sd["t2v"]["r_at_1"], 3)
    ({'t2v': {'r_at_1': 41.0}, 'recall_k': 5}, 1.414)
    """
    return _mean(results), _deviation(results)


def with_seeds(singles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result as it is; of several the means, with ``sd``, ``seeds`` and ``runs``."""
    if len(singles) == 1:
        return dict(singles[0])
    mean, spread = over_seeds(singles)
    mean.pop("seed", None)
    return {**mean, "sd": spread, "seeds": len(singles), "runs": list(singles)}


_SETTINGS = (
    "recall_k", "temperature", "beta", "bank_size", "gallery", "queries", "missing", "standard",
)  # fmt: skip


def _mean(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mean: dict[str, Any] = {}
    for name, first in results[0].items():
        values = [result.get(name) for result in results]
        if isinstance(first, Mapping):
            mean[name] = _mean(values)  # type: ignore[arg-type]
        elif _measured(name, first):
            mean[name] = statistics.fmean(values)  # type: ignore[arg-type]
        else:
            mean[name] = first
    return mean


def _deviation(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    spread: dict[str, Any] = {}
    for name, first in results[0].items():
        values = [result[name] for result in results]
        if isinstance(first, Mapping):
            inner = _deviation(values)
            if inner:
                spread[name] = inner
        elif _measured(name, first):
            spread[name] = statistics.stdev(values) if len(values) > 1 else 0.0
    return spread


def _measured(name: str, value: Any) -> bool:
    return isinstance(value, float) and name not in _SETTINGS
