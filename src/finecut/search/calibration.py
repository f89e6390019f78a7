"""How far a score stands above what ordinary queries get from the same clip: confidence.

Scores of one query say which clip fits best, not whether any does; and a score that is high for
one clip is common for another (hubs). So each clip is measured against the bundle's bank of
ordinary queries: z = (score - mean of the bank on this clip) / sd of the bank on this clip. That
holds for a library of three clips as for thousands, because it depends on no other clip. Only that
the best of many clips stands higher by chance is taken off, as the logarithm of their number. A
logistic, fitted when the bundle was made (`calibrate`), turns it into a confidence.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.bundle.manifest import Calibration
    from finecut.index.store import Index
    from finecut.search.candidates import Candidates
    from finecut.search.moments import Span
    from finecut.search.query import Asked

# Multiply-adds one search may spend on the background when it is not cached: about a second.
_MAX_WORK = 4e10
_MIN_SENTENCES = 64
_BLOCK = 16384
_SAMPLE = 256  # clips of the index that image queries are measured against
STRONG_SHARE = 0.5  # of the way from the good-match bar to certainty: strong from there on
_PREFIX = "background-"


@dataclass(frozen=True, slots=True, repr=False)
class Background:
    """Mean and standard deviation of ordinary queries' recall scores on each clip."""

    mean: NDArray[np.float32]  # [G]
    sd: NDArray[np.float32]  # [G] above 0

    def z(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard deviations that recall scores [K] of clips [K] stand above the background."""
        return (scores - self.mean[rows]) / self.sd[rows]


def confidence(
    z: NDArray[np.floating], gallery: int, calibration: Calibration
) -> NDArray[np.float64]:
    """Logistic of ``slope * z - gallery_slope * ln(gallery) + intercept``: in [0, 1] for any z.

    >>> from finecut.bundle.manifest import Calibration
    >>> flat = Calibration(slope=1, gallery_slope=1, intercept=0, threshold=0.5)
    >>> confidence(np.array([0.0]), 1, flat).tolist(), confidence(np.array([0.0]), 3, flat).tolist()
    ([0.5], [0.25])
    """
    return 1.0 / (1.0 + np.exp(-np.clip(logits(z, gallery, calibration), -60.0, 60.0)))


def logits(z: NDArray[np.floating], gallery: int, calibration: Calibration) -> NDArray[np.float64]:
    """Log odds of `confidence`."""
    logit = calibration.slope * np.asarray(z, np.float64) + calibration.intercept
    logit -= calibration.gallery_slope * np.log(max(1, gallery))
    return logit


def match_word(confidence: float, threshold: float) -> Literal["strong", "fair", "weak"]:
    """A confidence in a word, the same on the command line and the page: weak is no good match.

    >>> match_word(0.8, 0.5), match_word(0.6, 0.5), match_word(0.2, 0.5)
    ('strong', 'fair', 'weak')
    """
    if confidence < threshold:
        return "weak"
    return "strong" if confidence >= threshold + (1 - threshold) * STRONG_SHARE else "fair"


def measure(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> Background:
    """The background of bank queries [B, R] over a gallery [G, R], in bounded memory.

    Each clip's variance is drawn half-way to the mean of all: a deviation from a few hundred
    sentences is uncertain, and one near zero would make any score look extreme. (On 92 real clips
    this tells absent from present with an AUC of 0.797 instead of 0.783.)
    """
    mean = np.empty(len(gallery), np.float32)
    variance = np.empty(len(gallery), np.float64)
    for start in range(0, len(gallery), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = gallery[rows] @ queries.T  # [G, B]
        mean[rows] = scores.mean(axis=1, dtype=np.float64)
        variance[rows] = scores.var(axis=1, dtype=np.float64)
    if len(gallery):
        variance = 0.5 * variance + 0.5 * variance.mean()
    return Background(mean, np.sqrt(np.maximum(variance, 1e-12)).astype(np.float32))


def bank_background(bundle: Bundle, index: Index) -> Background | None:
    """The background of the bundle's query bank in this index; None without calibration.

    Kept beside the index for this very version, bundle and bank; whatever is wrong with the kept
    file, it is made anew, and an index that cannot be written to is searched all the same.
    """
    if bundle.manifest.calibration is None:
        return None
    path = index.cache_folder / f"{_PREFIX}{_key(bundle, index)}.npy"
    kept = _load(path, len(index.clips))
    if kept is not None:
        return kept
    bank = bundle.query_bank()
    if bank is None:
        return None
    gallery = index.recall_matrix()
    per_sentence = max(1.0, float(gallery.size))
    sentences = int(max(_MIN_SENTENCES, min(len(bank.recall), _MAX_WORK // per_sentence)))
    # Spread over the bank, so that a bank in any order is sampled fairly.
    step = max(1, len(bank.recall) // sentences)
    background = measure(bank.recall[::step][:sentences], gallery)
    _save(path, background)
    return background


class Confidence:
    """Confidence of the moments of one version of an index. Safe to use from many threads."""

    def __init__(self, bundle: Bundle, index: Index) -> None:
        self._bundle = bundle
        self._index = index
        self._lock = threading.Lock()
        self._made: dict[str, Background | None] = {}

    def of(
        self,
        asked: Asked,
        found: Candidates,
        spans: Sequence[Span],
        gallery: int,
        *,
        capped: bool = True,
    ) -> list[float]:
        """Of each moment, in [0, 1]: that of its best clip among ``gallery`` searched ones.

        It never rises from one moment to the next: the order already says that the later one is
        less likely what was asked for (capping changes none of what `good` says). Not ``capped``,
        it is what the picture alone says of each.

        Without calibration in the bundle there is nothing to compare with: 1 for the best recall
        score of this query, and less below it, which says no more than the order does.
        """
        if not spans:
            return []
        rows = np.array([span.hits[0].row for span in spans], np.int64)
        place = {row: i for i, row in enumerate(found.rows.tolist())}
        scores = found.recall_scores[[place[row] for row in rows.tolist()]]
        background = self._background(asked.kind)
        calibration = self._bundle.manifest.calibration
        if background is None or calibration is None:
            likeness = np.exp(scores - found.recall_scores.max()).clip(0, 1)
            sure = likeness.astype(float)
        else:
            sure = confidence(background.z(rows, scores), gallery, calibration)
        return (np.minimum.accumulate(sure) if capped else sure).tolist()

    def logits(
        self, asked: Asked, rows: NDArray[np.int64], scores: NDArray[np.floating], gallery: int = 1
    ) -> NDArray[np.float64]:
        """How sure it is that each of some clips shows what was asked: log odds of a confidence.

        Args:
            asked: the query.
            rows: [K] clips.
            scores: [K] in the units of recall scores.
            gallery: clips the best was looked for among; 1 for a clip on its own.

        Without calibration the clips of this index are compared with each other.
        """
        background = self._background(asked.kind)
        calibration = self._bundle.manifest.calibration
        if background is not None and calibration is not None:
            z = background.z(rows, np.asarray(scores, np.float32))
            return logits(z, gallery, calibration)
        matrix = self._index.recall_matrix()
        sample = np.asarray(matrix[:: max(1, len(matrix) // _SAMPLE)]) @ asked.tokens.recall
        z = (scores - sample.mean()) / max(float(sample.std()), 1e-6)
        return z - 1.0

    @property
    def slope(self) -> float:
        """Log odds per standard deviation."""
        calibration = self._bundle.manifest.calibration
        return 1.0 if calibration is None else calibration.slope

    def good(self, confidences: Sequence[float]) -> bool:
        """Whether the first moment is likely what was asked for; without calibration it is.

        The first alone decides, so that the answer does not depend on how many are asked for. (On
        92 real clips the best of all moments tells right from absent no better: AUC 0.688 to 0.712
        for the first, of 92 videos.)
        """
        calibration = self._bundle.manifest.calibration
        if calibration is None:
            return bool(confidences)
        return bool(confidences) and confidences[0] >= calibration.threshold

    def _background(self, kind: str) -> Background | None:
        with self._lock:
            if kind not in self._made:
                make = bank_background if kind == "text" else gallery_background
                self._made[kind] = make(self._bundle, self._index)
            return self._made[kind]


def gallery_background(bundle: Bundle, index: Index) -> Background | None:
    """For queries that are images or moments: how alike the clips of this index are anyway."""
    gallery = index.recall_matrix()
    if bundle.manifest.calibration is None or len(gallery) < 2:
        return None
    step = max(1, len(gallery) // _SAMPLE)
    return measure(np.asarray(gallery[::step][:_SAMPLE], np.float32), gallery)


def _key(bundle: Bundle, index: Index) -> str:
    calibration = bundle.manifest.calibration
    listed = {entry.path: entry.sha256 for entry in bundle.manifest.files}
    bank = listed.get(calibration.query_bank, "") if calibration else ""
    text = f"2|{index.version}|{bundle.fingerprint}|{bank}|{len(index.clips)}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _load(path: Path, clips: int) -> Background | None:
    try:
        both = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if both.shape != (2, clips) or both.dtype != np.float32 or not np.isfinite(both).all():
        return None
    return None if (both[1] <= 0).any() else Background(both[0], both[1])


def _save(path: Path, background: Background) -> None:
    part = path.with_name(f".{path.stem}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with open(part, "wb") as file:
            np.save(file, np.stack([background.mean, background.sd]))
        os.replace(part, path)
        for old in path.parent.glob(f"{_PREFIX}*.npy"):
            if old != path:
                old.unlink(missing_ok=True)
