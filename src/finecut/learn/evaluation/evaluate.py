"""Evaluate a model on a split, or a matrix of similarities: every column from one encoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finecut.errors import ShapeError
from finecut.learn.evaluation import columns
from finecut.learn.evaluation.columns import Sims
from finecut.learn.evaluation.graded import graded_figures, read_gains
from finecut.learn.evaluation.report import Column, Report, hash_queries

if TYPE_CHECKING:
    from finecut.learn.data.pairs import PairData
    from finecut.learn.evaluation.tokens import PartStore, Progress

RECALL_K = 50  # EERCF's
BETA = 20.0  # QB-Norm's, on cosines
NO_V2T_BANK = "a bank of sentences moves all scores of a video alike: v2t is the plain one"


def evaluate_model(
    model: Any,
    data: PairData,
    *,
    recall_k: int | None = RECALL_K,
    rerank: bool = True,
    dsl: float | None = None,
    qbnorm: NDArray | None = None,
    beta: float = BETA,
    relevance: Path | None = None,
    batch_size: int = 32,
    store: PartStore | None = None,
    on_progress: Progress | None = None,
    facts: dict[str, Any] | None = None,
) -> Report:
    """Encode a split and rank it both ways.

    Args:
        model: a method (``learn/methods/protocol.py``); left on its device and in its mode.
        data: one split.
        recall_k: candidates of each sentence that are re-ranked; None: every video.
        rerank: whether there is a re-ranked column; it says no more than the plain one where the
            method's ``reranks`` is False.
        dsl: temperature of a dual-softmax column on the plain similarities; None: no such column.
        qbnorm: recall vectors [N, R] of a bank of training sentences for a QB-Norm column.
        beta: of QB-Norm: 20 on cosines, 1 / temperature on scaled logits.
        relevance: a file of graded relevance (``graded.py``).
        batch_size: items encoded at once.
        store: keeps encoded parts, so that an interrupted evaluation goes on.
        on_progress: called with (what, done, total).
        facts: more for the report: whether the run is standard, and why not.

    Raises:
        ShapeError: scores that are not finite, or a bank of another model.
    """
    from finecut.learn.evaluation import moments
    from finecut.learn.evaluation import rerank as fine
    from finecut.learn.evaluation.tokens import encode_parts

    right = np.asarray(data.video_of_text, dtype=np.int64)
    gains = read_gains(relevance, data.video_ids, right) if relevance else None
    text, video = encode_parts(
        model, data, batch_size=batch_size, store=store, on_progress=on_progress
    )
    gallery = video.recall.numpy()
    sims = Sims.of_vectors(text.recall.numpy(), gallery)
    bank = None if qbnorm is None else Sims.of_vectors(np.asarray(qbnorm, np.float32), gallery)
    report = _columns(sims, right, dsl, bank, beta)
    extra: dict[str, Any] = {}
    best = sims.rows
    if gains:
        extra["graded"] = {"plain": graded_figures(sims.rows, gains, sims.shape)}
    if rerank:
        k = min(recall_k or len(video), len(video))
        candidates = fine.candidates_of(sims, k)
        scores = fine.fine_scores(model, text, video, candidates, on_progress)
        settings = {"recall_k": k, "recall_loss": fine.recall_loss(candidates, right)}
        best = fine.merged(sims, candidates, scores)
        report["reranked"] = _column(Sims(best, sims.shape), right, settings)
        if gains:
            extra["graded"]["reranked"] = graded_figures(best, gains, sims.shape)
    if moments.has_times(data):
        located = moments.moment_figures(model, data, text, video)  # type: ignore[arg-type]
        extra |= {"moments": located} if located else {}
    missing = list(data.missing)
    stated = {
        "name": data.name,
        "split": data.split,
        "protocol": data.protocol,
        "gallery": len(data.video_ids),
        "queries": len(right),
        "missing": len(missing),
        "standard": False,
        "why_not": f"{len(missing)} videos are missing" if missing else "not compared",
    }
    return Report(
        report.pop("plain"),
        report,
        stated | (facts or {}),
        right,
        hash_queries(data.video_ids, data.sentences, right),
        list(data.video_ids),
        best,
        extra,
    )


def evaluate_matrix(
    matrix: NDArray,
    video_of_text: Sequence[int] | NDArray,
    *,
    dsl: float | None = None,
    bank: NDArray | None = None,
    beta: float = BETA,
    relevance: Path | None = None,
) -> Report:
    """The same columns, but for the re-ranked one, of similarities made elsewhere.

    Args:
        matrix: [Q, G] floating point, texts in rows.
        video_of_text: [Q] the right column of each row.
        dsl: temperature of a dual-softmax column.
        bank: [N, G] similarities of a bank of other sentences to the same videos.
        beta: of QB-Norm.
        relevance: a file of graded relevance; videos are named by their column.

    >>> report = evaluate_matrix(np.array([[0.9, 0.1], [0.8, 0.2]]), [0, 1])
    >>> report.to_json()["t2v"]["r_at_1"], report.to_json()["v2t"]["r_at_1"]
    (50.0, 100.0)
    """
    sims = Sims.of_matrix(matrix)
    right = np.asarray(video_of_text)
    if right.shape != sims.shape[:1] or right.dtype.kind not in "iu":
        raise ShapeError(
            f"text-to-video: expected {sims.shape[0]} whole column numbers, got {right.dtype} "
            f"{right.shape}."
        )
    right = right.astype(np.int64)
    if right.min() < 0 or right.max() >= sims.shape[1]:
        raise ShapeError(
            f"text-to-video: columns run from {right.min()} to {right.max()}, expected 0 to "
            f"{sims.shape[1] - 1}."
        )
    report = _columns(sims, right, dsl, None if bank is None else Sims.of_matrix(bank), beta)
    single = len(np.unique(right)) == len(right)
    stated = {
        "name": "similarities",
        "split": "",
        "protocol": "single" if single else "multi",
        "gallery": sims.shape[1],
        "queries": sims.shape[0],
        "missing": 0,
        "standard": False,
        "why_not": "a matrix does not say what it was measured on",
    }
    videos = [str(g) for g in range(sims.shape[1])]
    asked = hash_queries(videos, [""] * len(right), right)
    extra = {}
    if relevance:
        gains = read_gains(relevance, videos, right)
        extra["graded"] = {"plain": graded_figures(sims.rows, gains, sims.shape)}
    return Report(report.pop("plain"), report, stated, right, asked, videos, sims.rows, extra)


def _columns(
    sims: Sims, right: NDArray[np.int64], dsl: float | None, bank: Sims | None, beta: float
) -> dict[str, Column]:
    made = {"plain": _column(sims, right, {})}
    if dsl is not None:
        scaled = columns.with_dual_softmax(sims, right, dsl)
        settings = {"temperature": dsl, "bank_size": sims.shape[0]}
        made["dsl"] = Column(scaled["t2v"], scaled["v2t"], settings)
    if bank is not None:
        normalised = columns.with_query_bank(sims, right, bank, beta)
        settings = {"bank_size": bank.shape[0], "beta": beta, "v2t_is": NO_V2T_BANK}
        made["qbnorm"] = Column(normalised["t2v"], made["plain"].v2t, settings)
    return made


def _column(sims: Sims, right: NDArray[np.int64], settings: dict[str, Any]) -> Column:
    found = columns.plain(sims, right)
    return Column(found["t2v"], found["v2t"], settings)
