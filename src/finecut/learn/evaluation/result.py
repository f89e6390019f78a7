"""Results as files: one model or several seeds, with ranks so that two files can be paired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import finecut
from finecut.errors import UsageError
from finecut.learn.evaluation.compare import with_seeds
from finecut.learn.evaluation.report import Report
from finecut.learn.evaluation.whole_file import whole_file

MAX_RESULT_BYTES = 1 << 30


def as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """One report as it is; of several the means, with ``sd``, ``seeds`` and each one's figures.

    Raises:
        UsageError: the reports are of different queries or galleries.
    """
    if len({report.queries_hash for report in reports}) > 1:
        raise UsageError(
            "The runs were measured on different queries or galleries: seeds of one experiment "
            "are evaluated on the same split."
        )
    return with_seeds([report.to_json() for report in reports])


def as_stored(reports: Sequence[Report]) -> dict[str, Any]:
    """``as_json`` and what pairing needs: every query's rank in every column of every seed."""
    first = reports[0]
    return {
        **as_json(reports),
        "queries_hash": first.queries_hash,
        "query_videos": first.query_videos.tolist(),
        "ranks": [report.ranks() for report in reports],
        "finecut": finecut.__version__,
    }


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write JSON whole or not at all; numbers that are not finite are an error."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)
    with whole_file(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_result(path: Path) -> dict[str, Any]:
    """What ``write_result`` wrote.

    Raises:
        UsageError: missing, too large, or not JSON of an object.
    """
    try:
        if path.stat().st_size > MAX_RESULT_BYTES:
            raise UsageError(f"'{path}' is larger than {MAX_RESULT_BYTES} bytes: no result.")
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"The result '{path}' cannot be read: {error}") from error
    if not isinstance(result, dict):
        raise UsageError(f"'{path}' holds {type(result).__name__}, expected a result.")
    return result
