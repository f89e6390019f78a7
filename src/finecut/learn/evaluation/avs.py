"""TRECVID ad-hoc search: a run file against judgements, as NIST's tools score it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finecut import metrics_pooled
from finecut.errors import ShapeError, UsageError
from finecut.learn.data.files import read_text
from finecut.learn.data.trecvid import judged_topic, read_qrels, read_topics

PRECISIONS = (10, 100)


def evaluate_run_file(
    run_file: Path | str, qrels_file: Path | str, topics_file: Path | str | None = None
) -> dict[str, Any]:
    """Every pooled measure of a run, and the per-topic values of the two inferred ones.

    ``xinfAP`` is what TRECVID prints as "infAP" (stratified, ``sample_eval.pl``); ``infAP`` and
    ``map`` are trec_eval's. Values are 0-1. Judgements with a leading 1 (501 as 1501) are found.
    Topics without a line in the run are left out of the means, as the official tools do, and
    counted in ``topics_missing``.

    Args:
        run_file: six columns, ``topic Q0 shot rank score tag``.
        qrels_file: four columns, or five with a stratum.
        topics_file: ``number text`` a line; only these topics count. Default: all that are judged.

    Raises:
        AnnotationError, ShapeError: a file is broken (which, where), or nothing is in common.
    """
    judged = read_qrels(qrels_file)
    qrels = {
        topic: {item.shot: (item.stratum, item.relevance) for item in items}
        for topic, items in judged.items()
    }
    try:
        run = metrics_pooled.read_run(read_text(Path(run_file)).splitlines())
    except ShapeError as error:
        raise ShapeError(f"{run_file}: {error}") from error
    run = _as_judged(run, qrels, str(run_file))
    wanted = set(qrels)
    if topics_file is not None:
        topics = read_topics(topics_file)
        wanted = {key for topic in topics if (key := judged_topic(topic, qrels))}
        if not wanted:
            raise UsageError(f"{topics_file}: none of its {len(topics)} topics is judged.")
    run = {topic: shots for topic, shots in run.items() if topic in wanted}
    if not run:
        raise UsageError(f"{run_file} and {qrels_file} have no topic in common.")
    stratified = metrics_pooled.xinf_ap_per_topic(qrels, run)
    plain = metrics_pooled.inf_ap_per_topic(qrels, run)
    precise = metrics_pooled.average_precision_per_topic(qrels, run)
    return {
        "xinfAP": _mean(stratified),
        "infAP": _mean(plain),
        "map": _mean(precise),
        "infNDCG": metrics_pooled.xinf_ndcg(qrels, run),
        **{f"iP{k}": metrics_pooled.xinf_precision(qrels, run, k) for k in PRECISIONS},
        "topics": len(run),
        "topics_missing": sorted(wanted - set(run)),
        "per_topic": {
            topic: {"xinfAP": stratified[topic], "infAP": plain[topic], "map": precise[topic]}
            for topic in sorted(run)
        },
    }


def _as_judged(
    run: Mapping[str, dict[str, float]], qrels: Mapping[str, object], where: str
) -> dict[str, dict[str, float]]:
    named: dict[str, dict[str, float]] = {}
    for topic, shots in run.items():
        key = judged_topic(topic, qrels) or topic
        if key in named:
            raise UsageError(f"{where}: topics {topic} and {key} are judged under one number.")
        named[key] = shots
    return named


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
