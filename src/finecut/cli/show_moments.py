"""Moments for people: rank, where, how sure, and why where it is not the picture alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finecut.cli.said import t
from finecut.cli.show import linked, out, path_text, plain, say, table_lines, time_text

if TYPE_CHECKING:
    from finecut.types import Moment, Results


def show_moments(found: Results, threshold: float) -> None:
    """One line each, and a second one for words and steps."""
    if found.understood != found.query:
        say(t("understood as: {query}", query=found.understood))
    for note in found.notes:
        say(note)
    if not found:
        if not found.notes:
            say(
                t("Nothing found.")
                if found.gallery
                else t("Nothing to search: no clip fits the filters.")
            )
        return
    if not found.good_match:
        out(t("No good match. Best guesses:"))
    rows = [_row(rank, moment, threshold) for rank, moment in enumerate(found, start=1)]
    for line, moment in zip(table_lines(rows, right=(0,)), found, strict=True):
        out(line)
        for more in _more(moment):
            out(f"{' ' * len(str(len(found)))}  {more}")
    say(t("{n} clips searched in {ms} ms", n=found.gallery, ms=f"{found.elapsed_ms:.0f}"))


def _row(rank: int, moment: Moment, threshold: float) -> tuple[str, ...]:
    from finecut.search.calibration import match_word

    times = f"{time_text(moment.start_s)}-{time_text(moment.end_s)}"
    sure = f"{t(match_word(moment.confidence, threshold)):6} {moment.confidence:4.0%}"
    return (str(rank), times, sure, linked(path_text(moment.video), moment.video))


def _more(moment: Moment) -> list[str]:
    """Steps of an ordered query; reasons, where there are others than the picture."""
    lines = []
    if moment.steps:
        steps = (
            f"{step.query} {time_text(step.start_s)}-{time_text(step.end_s)}"
            for step in moment.steps
        )
        lines.append(plain(", then ".join(steps)))
    if any(reason.channel != "picture" for reason in moment.reasons):
        lines.append(plain("; ".join(str(reason) for reason in moment.reasons)))
    return lines
