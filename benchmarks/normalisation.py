"""What dual softmax and its kin do to a real model's ranking, by temperature and bank size.

Similarities of 5,000 human captions to 1,000 images from a small real model, and a bank of 3,000
captions of other images (shared material, real_similarity). Nothing is random here.

    python benchmarks/normalisation.py --figure docs/methods/normalisation.svg

Writes results/bench-normalisation.json.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

import record
from finecut import metrics
from finecut.learn import normalise
from record import Entry

SCALES = (2, 5, 10, 15, 20, 30, 50, 75, 100, 150)  # 1 / temperature, on cosines
BANKS = (30, 100, 300, 1000, 3000)
BEST_SCALE = 20
REPEATS = 5


def figures(sims: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    table = metrics.t2v(sims, truth)
    return {name: round(table[name], 2) for name in ("r_at_1", "r_at_5", "r_at_10", "MdR", "MnR")}


def milliseconds(call: Callable[[], object]) -> dict[str, float]:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return {"median_ms": round(median(times), 3), "spread_ms": round(max(times) - min(times), 3)}


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    started = time.time()
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    folder = Path(shared) / "data" / "real_similarity"
    sims = np.load(folder / "t2i_5000x1000.npy").astype(np.float32)
    bank = np.load(folder / "querybank_3000x1000.npy").astype(np.float32)
    truth = np.load(folder / "text_to_image.npy").astype(np.int64)

    curves: dict[str, dict[str, dict[str, float]]] = {}
    ways: dict[str, Callable[[float], np.ndarray]] = {
        "dual softmax, all queries at once": lambda t: normalise.dual_softmax(sims, 1 / t),
        "query bank, one query at a time": lambda t: normalise.QueryBank.build(bank, 1 / t).scores(
            sims
        ),
        "inverted softmax, bank": lambda t: normalise.inverted_softmax(sims, bank, t, log=True),
        "QB-Norm (DIS), bank": lambda t: normalise.dynamic_inverted_softmax(sims, bank, t).scores,
    }
    for name, way in ways.items():
        curves[name] = {str(t): figures(way(float(t)), truth) for t in SCALES}
    by_bank = {
        str(size): figures(
            normalise.QueryBank.build(bank[:size], 1 / BEST_SCALE).scores(sims), truth
        )
        for size in BANKS
    }
    built = normalise.QueryBank.build(bank, 1 / BEST_SCALE)
    body = {
        "queries": len(sims),
        "gallery": sims.shape[1],
        "bank": len(bank),
        "raw": figures(sims, truth),
        "by_scale": curves,
        "query_bank_by_size_at_scale_20": by_bank,
        "sinkhorn_by_epsilon": {
            str(e): figures(normalise.sinkhorn(sims, e, 10), truth) for e in (0.02, 0.05, 0.1)
        },
        "one_query": milliseconds(lambda: built.scores(sims[:1])),
        "build_bank": milliseconds(lambda: normalise.QueryBank.build(bank, 1 / BEST_SCALE)),
    }
    record.save("normalisation", entries(body), body, started)
    if options.figure:
        options.figure.write_text(draw(curves, body["raw"]["r_at_1"]), "utf-8")


def entries(figures: dict) -> list[Entry]:
    scale = str(BEST_SCALE)
    return [
        Entry(
            f"R@1 on Flickr8k dev, {name}, scale {scale}", curve[scale]["r_at_1"], "%", "higher",
            None, "no normalisation", figures["raw"]["r_at_1"],
        )
        for name, curve in figures["by_scale"].items()
    ]  # fmt: skip


def draw(curves: dict, raw: float) -> str:
    """R@1 over the scale, one line a way, as SVG."""
    width, height, left, bottom, right = 640, 340, 50, 40, 10
    low, high = 18, 26  # the axis does not start at 0: the lines differ by a few points
    colours = ("#1d3557", "#2a9d8f", "#e76f51", "#8d6cab")

    def x(scale: float) -> float:
        span = np.log(SCALES[-1] / SCALES[0])
        return left + (width - left - right) * float(np.log(scale / SCALES[0]) / span)

    def y(value: float) -> float:
        return 20 + (height - 20 - bottom) * (high - value) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 90}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>R@1 against the scale of the softmax</title>",
        f'<rect width="{width}" height="{height + 90}" fill="#fff"/>',
        f'<text x="{left}" y="14" fill="#444">R@1, percent</text>',
        f'<text x="{width - right}" y="{height - 4}" text-anchor="end" fill="#444">'
        "scale = 1 / temperature, on cosines</text>",
    ]
    for value in range(low, high + 1, 2):
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'stroke="#ddd"/><text x="{left - 6}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value}</text>'
        )
    for scale in SCALES:
        parts.append(
            f'<text x="{x(scale):.1f}" y="{height - bottom + 16}" '
            f'text-anchor="middle">{scale}</text>'
        )
    parts.append(
        f'<line x1="{left}" x2="{width - right}" y1="{y(raw):.1f}" y2="{y(raw):.1f}" '
        'stroke="#000" stroke-dasharray="5 4"/>'
    )
    for place, (name, points) in enumerate(curves.items()):
        path = " ".join(f"{x(int(s)):.1f},{y(p['r_at_1']):.1f}" for s, p in points.items())
        legend = height + 14 + 20 * place
        dash = ' stroke-dasharray="8 5"' if place == 3 else ""  # it runs on the line before it
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colours[place]}" stroke-width="2"'
            f"{dash}/>"
            f'<rect x="{left}" y="{legend - 8}" width="16" height="4" fill="{colours[place]}"/>'
            f'<text x="{left + 24}" y="{legend}">{name}</text>'
        )
    parts.append(f'<text x="{left + 330}" y="{height + 14}">dashed: no normalisation</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
