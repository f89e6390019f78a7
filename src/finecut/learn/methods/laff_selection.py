"""Which features a trained LAFF uses: mean attention weights, a report, a plot, a shorter list.

The article's recipe: average the weights over a training or validation set, drop the features
with the smallest averages, retrain. (The released code averages head 0 only; here all heads.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.methods.laff import LAFF, LaffConfig

SideName = Literal["video", "text"]


@dataclass(frozen=True)
class FeatureReport:
    """Mean attention weights of one side's features over a data set."""

    side: SideName
    names: tuple[str, ...]  # K features, in the model's order
    per_head: Tensor  # [H, K] float64, rows sum to 1
    samples: int

    @property
    def weights(self) -> dict[str, float]:
        """Mean over heads, largest first; sums to 1."""
        means = self.per_head.mean(dim=0).tolist()
        ranked = sorted(zip(self.names, means, strict=True), key=lambda pair: -pair[1])
        return dict(ranked)

    def keep(self, count: int) -> tuple[str, ...]:
        """The ``count`` features with the largest weights, in the model's order."""
        if not 1 <= count <= len(self.names):
            raise UsageError(f"keep: {count} of {len(self.names)} features; expected at least 1.")
        best = set(list(self.weights)[:count])
        return tuple(name for name in self.names if name in best)

    def __str__(self) -> str:
        width = max(map(len, self.names))
        lines = [f"{self.side} features, mean attention over {self.samples} samples and all heads"]
        for name, weight in self.weights.items():
            heads = self.per_head[:, self.names.index(name)]
            lines.append(
                f"  {name:<{width}}  {weight:6.1%}  (heads {heads.min():.1%} to {heads.max():.1%})"
            )
        return "\n".join(lines)

    def to_svg(self, path: Path | str) -> None:
        """Draw the weights as bars, each head a dot, into an SVG file."""
        Path(path).write_text(_svg(self), "utf-8")


@torch.no_grad()
def feature_report(
    model: LAFF, batches: Iterable[Mapping[str, Any]], side: SideName = "video"
) -> FeatureReport:
    """Mean weights of the features over batches of keyword arguments of ``encode_video``
    (``encode_text``). The model is put in eval mode.

    Raises:
        UsageError: no batch, or a fusion that has no weights to speak of.
    """
    if model.config.fusion not in ("attention", "mhsa_projection_free"):
        raise UsageError(
            f"feature_report: fusion {model.config.fusion!r} does not weigh features; expected "
            "a model with attention."
        )
    model.eval()
    heads_of = model.video_heads if side == "video" else model.text_heads
    total, samples = None, 0
    for batch in batches:
        _, weights = heads_of(**batch)  # [B, H, K]
        summed = weights.double().sum(dim=0)
        total = summed if total is None else total + summed
        samples += len(weights)
    if total is None:
        raise UsageError("feature_report: no batch; expected one at least.")
    names = (model.video_side if side == "video" else model.text_side).names
    return FeatureReport(side, names, total / samples, samples)


def shorter_config(config: LaffConfig, report: FeatureReport, count: int) -> LaffConfig:
    """The config with only the ``count`` best features of the report's side, to train anew."""
    kept = set(report.keep(count))
    if report.side == "video":
        shorter = {
            "video_features": {n: d for n, d in config.video_features.items() if n in kept},
            "frame_features": {n: d for n, d in config.frame_features.items() if n in kept},
        }
        others = set(config.text_features)
    else:
        shorter = {"text_features": {n: d for n, d in config.text_features.items() if n in kept}}
        others = set(config.video_features) | set(config.frame_features)
        if config.gru is not None and config.gru not in kept:
            shorter |= {"gru": None, "gru_words": 0}
    left = tuple(name for name in config.no_transform if name in kept | others)
    return replace(config, **shorter, no_transform=left)


def _svg(report: FeatureReport) -> str:
    row, bar, left, right = 28, 16, 190, 60
    width, scale = 640, 640 - left - right
    top = max(float(report.per_head.max()), 1e-9)
    height = row * len(report.names) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="13" role="img">',
        f"<title>LAFF {report.side} feature weights, {report.samples} samples</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="20" fill="#444">mean attention weight; dots are heads</text>',
    ]
    for place, (name, weight) in enumerate(report.weights.items()):
        y = 34 + place * row
        middle = y + bar / 2
        parts.append(
            f'<text x="{left - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{y}" width="{weight / top * scale:.1f}" height="{bar}" '
            f'fill="#7aa6d8"/>'
            f'<text x="{width - right + 8}" y="{middle + 5}">{weight:.1%}</text>'
        )
        for value in report.per_head[:, report.names.index(name)].tolist():
            x = left + value / top * scale
            parts.append(f'<circle cx="{x:.1f}" cy="{middle}" r="2.5" fill="#1d3557"/>')
    return "\n".join([*parts, "</svg>", ""])
