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


class _Strata:
    """Per stratum, counted document by document: pooled, of those judged, of those relevant."""

    def __init__(self) -> None:
        self.pooled: dict[int, int] = defaultdict(int)
        self.judged: dict[int, int] = defaultdict(int)
        self.relevant: dict[int, int] = defaultdict(int)

    def add(self, stratum: int, judgement: int) -> None:
        self.pooled[stratum] += 1
        self.judged[stratum] += judgement >= 0
        self.relevant[stratum] += judgement > 0

    def estimates(self) -> dict[int, float]:
        """Estimated number of relevant documents of each stratum: r_c n_c / m_c."""
        return {
            s: self.relevant[s] * n / self.judged[s] if self.judged[s] else 0.0
            for s, n in self.pooled.items()
        }

    def expected_relevant(self) -> float:
        """Smoothed number of relevant among the documents counted so far, over all strata."""
        return sum(
            n * (self.relevant[s] + EPSILON) / (self.judged[s] + 3 * EPSILON)
            for s, n in self.pooled.items()
        )


def _strata_of(judged: Mapping[str, tuple[int, int]]) -> _Strata:
    strata = _Strata()
    for stratum, judgement in judged.values():
        strata.add(stratum, judgement)
    return strata


def _xinf_ap(judged: Mapping[str, tuple[int, int]], order: list[str]) -> float:
    whole = _strata_of(judged)
    estimate = whole.estimates()
    total = sum(estimate.values())
    if not total:
        return 0.0
    above = _Strata()
    precision_sum: dict[int, float] = defaultdict(float)
    for place, document in enumerate(order, start=1):
        if document not in judged:
            continue
        stratum, judgement = judged[document]
        if judgement > 0:
            # 1/k + (P/k) Σ_c (N_c/P) share_c of SIGIR 2008: the P cancels
            precision_sum[stratum] += (1.0 + above.expected_relevant()) / place
        above.add(stratum, judgement)
    value = sum(
        estimate[s] / total * precision_sum[s] / whole.relevant[s]
        for s in estimate
        if whole.relevant[s]
    )
    return value * max(1.0, total / MAX_DEPTH)  # the official tool's rule for a cut-off run


def estimated_relevant(qrels: Qrels) -> float:
    """Estimated number of relevant documents, summed over *all* topics of the qrels
    (``sample_eval.pl``'s inum_rel).

    >>> estimated_relevant({"t": {"a": (1, 1), "b": (1, 0), "c": (1, -1), "d": (1, -1)}})
    2.0
    """
    return sum(sum(_strata_of(judged).estimates().values()) for judged in qrels.values())


def xinf_precision(qrels: Qrels, run: Run, k: int, depth: int = MAX_DEPTH) -> float:
    """Inferred precision at k, mean over topics in both: the tool's iP10, iP100.

    The expected number of relevant documents among the first k, each stratum by its own judged
    share, divided by k.

    >>> qrels = {"t": {"a": (1, 1), "b": (1, 0), "c": (1, -1), "d": (2, 1)}}
    >>> order = {"t": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}
    >>> round(xinf_precision(qrels, order, 4), 3)  # (3 x 1/2 + 1 x 1) / 4
    0.625
    """
    if k < 1:
        raise ShapeError(f"xinf_precision: k is {k}, expected 1 or more.")
    values = {}
    for topic in run:
        if topic in qrels:
            seen = _Strata()
            for document in ranking(run[topic], depth)[:k]:
                if document in qrels[topic]:
                    seen.add(*qrels[topic][document])
            values[topic] = seen.expected_relevant() / k
    return _mean(values)


def xinf_ndcg(qrels: Qrels, run: Run, depth: int = MAX_DEPTH) -> float:
    """Inferred nDCG, mean over topics in both, with gain 1 and discount 1 / log2(1 + rank).

    The gain a stratum's judged relevant documents bring in the run is multiplied by the run's own
    ratio of pooled to judged documents of that stratum; the ideal list holds the estimated number
    of relevant documents, rounded down, ``depth`` at most (``sample_eval.pl``'s infNDCG).
    """
    values = {}
    for topic in run:
        if topic not in qrels:
            continue
        judged = qrels[topic]
        total = sum(_strata_of(judged).estimates().values())
        ideal = sum(1 / math.log2(i + 1) for i in range(1, min(depth, int(total)) + 1))
        found = _Strata()
        gain: dict[int, float] = defaultdict(float)
        for place, document in enumerate(ranking(run[topic], depth), start=1):
            if document in judged:
                stratum, judgement = judged[document]
                found.add(stratum, judgement)
                gain[stratum] += (judgement > 0) / math.log2(place + 1)
        scaled = sum(g * found.pooled[s] / found.judged[s] for s, g in gain.items() if g)
        values[topic] = scaled / ideal if ideal else 0.0
    return _mean(values)


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
