"""Metrics for pooled, partly judged collections (TREC, TRECVID ad-hoc search): infAP and xinfAP.

``xinf_ap`` follows NIST's ``sample_eval.pl`` (Yilmaz, Kanoulas, Aslam, SIGIR 2008), the tool
behind TRECVID's published "infAP"; ``inf_ap`` follows trec_eval's measure of the same name
(Yilmaz and Aslam, CIKM 2006). They differ: trec_eval knows one stratum, other smoothing and a
special first rank. No package computes the stratified one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from finecut.errors import ShapeError

EPSILON = 1e-5
"""Smoothing of the share of relevant among judged documents (both tools)."""

MAX_DEPTH = 1000
"""Documents per topic that count (TRECVID's run length)."""

Qrels = Mapping[str, Mapping[str, tuple[int, int]]]
"""topic -> document -> (stratum, judgement); judgement -1 = pooled but not judged."""

Run = Mapping[str, Mapping[str, float]]
"""topic -> document -> score."""


def read_qrels(lines: Iterable[str]) -> dict[str, dict[str, tuple[int, int]]]:
    """Judgements from five-column lines ``topic 0 document stratum relevance``.

    Four-column lines (``topic 0 document relevance``) put every document in stratum 1.

    Raises:
        ShapeError: a line with another number of columns or a judgement that is no number.

    >>> read_qrels(["1501 0 shot1_1 2 -1", "1501 0 shot1_2 1 1"])
    {'1501': {'shot1_1': (2, -1), 'shot1_2': (1, 1)}}
    """
    qrels: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            if len(parts) == 5:
                stratum, judgement = int(parts[3]), int(parts[4])
            elif len(parts) == 4:
                stratum, judgement = 1, int(parts[3])
            else:
                raise ValueError(f"{len(parts)} columns")
        except ValueError as problem:
            raise ShapeError(
                f"qrels line {number}: expected `topic 0 document [stratum] relevance`, "
                f"got {line.strip()!r} ({problem})."
            ) from None
        qrels[parts[0]][parts[2]] = (stratum, judgement)
    return dict(qrels)


def read_run(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """Scores from six-column TREC run lines ``topic Q0 document rank score tag``.

    >>> read_run(["1501 Q0 shot1_1 1 9998 mine"])
    {'1501': {'shot1_1': 9998.0}}
    """
    run: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            topic, _, document, _, score, _ = parts
            run[topic][document] = float(score)
        except ValueError:
            raise ShapeError(
                f"run line {number}: expected `topic Q0 document rank score tag`, "
                f"got {line.strip()!r}."
            ) from None
    return dict(run)


def ranking(scores: Mapping[str, float], depth: int = MAX_DEPTH) -> list[str]:
    """Documents by score, best first; ties by document id, descending, as NIST's tools do.

    >>> ranking({"a": 1.0, "b": 1.0, "c": 2.0})
    ['c', 'b', 'a']
    """
    bad = [document for document, score in scores.items() if not math.isfinite(score)]
    if bad:
        raise ShapeError(f"run: the score of {bad[0]!r} ({len(bad)} in all) is not finite.")
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)[:depth]


def xinf_ap_per_topic(qrels: Qrels, run: Run, depth: int = MAX_DEPTH) -> dict[str, float]:
    """Stratified inferred average precision of each topic found in both the run and the qrels."""
    return {
        topic: _xinf_ap(qrels[topic], ranking(run[topic], depth)) for topic in run if topic in qrels
    }


def xinf_ap(qrels: Qrels, run: Run, depth: int = MAX_DEPTH) -> float:
    """Mean of ``xinf_ap_per_topic``: TRECVID's "infAP", 0-1.

    Topics missing from the run are left out of the mean, as the official tool does, and not
    counted as 0: give every topic a line.

    Raises:
        ShapeError: no topic in common.

    >>> qrels = {"t": {"a": (1, 1), "b": (1, 0), "c": (1, 1)}}
    >>> round(xinf_ap(qrels, {"t": {"a": 3.0, "b": 2.0, "c": 1.0}}), 4)  # all judged: near mAP 5/6
    0.8333
    """
    return _mean(xinf_ap_per_topic(qrels, run, depth))


def _xinf_ap(judged: Mapping[str, tuple[int, int]], order: list[str]) -> float:
    pooled: dict[int, int] = defaultdict(int)  # documents per stratum
    sampled: dict[int, int] = defaultdict(int)  # of those, judged
    relevant: dict[int, int] = defaultdict(int)  # of those, relevant
    for stratum, judgement in judged.values():
        pooled[stratum] += 1
        sampled[stratum] += judgement >= 0
        relevant[stratum] += judgement > 0
    estimate = {
        s: relevant[s] * pooled[s] / sampled[s] if sampled[s] else 0.0 for s in pooled
    }  # estimated number of relevant documents
    total = sum(estimate.values())
    if not total:
        return 0.0
    seen: dict[int, int] = defaultdict(int)
    seen_sampled: dict[int, int] = defaultdict(int)
    seen_relevant: dict[int, int] = defaultdict(int)
    precision_sum: dict[int, float] = defaultdict(float)
    for place, document in enumerate(order, start=1):
        if document not in judged:
            continue
        stratum, judgement = judged[document]
        if judgement > 0:
            # (P/k) Σ_c (N_c/P) share_c: the P cancels, and with P = 0 the sum is empty
            above = sum(
                seen[s] * (seen_relevant[s] + EPSILON) / (seen_sampled[s] + 3 * EPSILON)
                for s in seen
            )
            precision_sum[stratum] += (1.0 + above) / place
            seen_relevant[stratum] += 1
        seen[stratum] += 1
        seen_sampled[stratum] += judgement >= 0
    value = sum(estimate[s] / total * precision_sum[s] / relevant[s] for s in pooled if relevant[s])
    return value * (total / MAX_DEPTH if total > MAX_DEPTH else 1.0)


def inf_ap_per_topic(qrels: Qrels, run: Run, depth: int | None = None) -> dict[str, float]:
    """trec_eval's infAP of each topic in both the run and the qrels; strata are ignored."""
    return {
        topic: _inf_ap(qrels[topic], ranking(run[topic], depth or len(run[topic])))
        for topic in run
        if topic in qrels
    }


def inf_ap(qrels: Qrels, run: Run) -> float:
    """Mean of ``inf_ap_per_topic``, 0-1.

    >>> qrels = {"t": {"a": (1, 1), "b": (1, 0), "c": (1, 1)}}
    >>> round(inf_ap(qrels, {"t": {"a": 3.0, "b": 2.0, "c": 1.0}}), 4)
    0.8333
    """
    return _mean(inf_ap_per_topic(qrels, run))


def _inf_ap(judged: Mapping[str, tuple[int, int]], order: list[str]) -> float:
    total = sum(judgement > 0 for _, judgement in judged.values())
    if not total:
        return 0.0
    precision_sum, pooled, sampled, relevant = 0.0, 0, 0, 0
    for place, document in enumerate(order, start=1):
        if document not in judged:
            continue
        judgement = judged[document][1]
        if judgement > 0:
            if place == 1:
                precision_sum += 1.0
            else:
                share = (relevant + EPSILON) / (sampled + 2 * EPSILON)
                precision_sum += 1.0 / place + (place - 1) / place * (pooled / (place - 1)) * share
            relevant += 1
        pooled += 1
        sampled += judgement >= 0
    return precision_sum / total


def average_precision_per_topic(qrels: Qrels, run: Run) -> dict[str, float]:
    """trec_eval's ``map`` per topic: unjudged documents count as not relevant."""
    answer = {}
    for topic in run:
        if topic not in qrels:
            continue
        total = sum(judgement > 0 for _, judgement in qrels[topic].values())
        precision_sum, hits = 0.0, 0
        for place, document in enumerate(ranking(run[topic], len(run[topic])), start=1):
            if qrels[topic].get(document, (0, 0))[1] > 0:
                hits += 1
                precision_sum += hits / place
        answer[topic] = precision_sum / total if total else 0.0
    return answer


def _mean(per_topic: Mapping[str, float]) -> float:
    if not per_topic:
        raise ShapeError("xinfAP: the run and the qrels have no topic in common.")
    return sum(per_topic.values()) / len(per_topic)
