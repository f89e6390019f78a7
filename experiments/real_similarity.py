"""Metrics and normalisations on a real model's similarities, whose figures are known.

    FINECUT_SHARED=DIR python experiments/real_similarity.py  # results/repro-real-similarity.json

5,000 captions x 1,000 images, and 3,000 captions of other images as a query bank. The known figures
(README of the shared folder) were counted in float32 with ties against the query; here the matrix
is rounded to half precision and ties share their mean rank.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finecut import metrics
from finecut.learn.normalise import dual_softmax, dynamic_inverted_softmax
from record import Record

KNOWN = {  # R@1, R@5, R@10
    "raw": (21.2, 51.7, 64.3),
    "QB-Norm, beta 20": (23.9, 53.0, 66.5),
    "DSL, t 20": (24.2, 54.7, 68.1),
    "DSL, t 100": (20.1, 49.7, 65.1),
    "one caption an image, raw": (21.9, 52.0, 64.3),
    "one caption an image, DSL, t 20": (26.4, 55.9, 68.0),
}


def main() -> None:
    """Every known figure, measured."""
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    folder = Path(shared) / "data" / "real_similarity"
    sims = np.load(folder / "t2i_5000x1000.npy").astype(np.float32)
    bank = np.load(folder / "querybank_3000x1000.npy").astype(np.float32)
    right = np.load(folder / "text_to_image.npy").astype(np.int64)
    first = np.unique(right, return_index=True)[1]
    measured: dict[str, tuple[NDArray, NDArray]] = {
        "raw": (sims, right),
        "QB-Norm, beta 20": (dynamic_inverted_softmax(sims, bank, 20.0, 1).scores, right),
        "DSL, t 20": (dual_softmax(sims, 1 / 20), right),
        "DSL, t 100": (dual_softmax(sims, 1 / 100), right),
        "one caption an image, raw": (sims[first], right[first]),
        "one caption an image, DSL, t 20": (dual_softmax(sims[first], 1 / 20), right[first]),
    }
    record = Record("real-similarity", "known figures of a real similarity matrix, measured anew")
    record.body["known"] = {name: list(figures) for name, figures in KNOWN.items()}
    for name, (scores, truth) in measured.items():
        table = metrics.t2v(scores, truth)
        wanted = ("r_at_1", "r_at_5", "r_at_10", "MdR")
        found = {key: table[key] for key in wanted}
        record.run(f"similarity/{name}/0", lambda found=found: found)
    record.save()


if __name__ == "__main__":
    main()
