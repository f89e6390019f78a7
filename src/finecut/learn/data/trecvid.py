"""TRECVID Ad-hoc Video Search: topics, judgements, and run files.

A topic file has `<number> <text>` a line. Judgements come in two forms: four columns
`topic 0 shot relevance` and five with a stratum, `topic 0 shot stratum relevance`; relevance -1
is a shot that was pooled and not judged. Judged topic ids may carry a leading 1 (501 -> 1501).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finecut.learn.data.benchmark import AnnotationError
from finecut.learn.data.files import read_text

MAX_RUN = 1000  # shots of a topic that count


@dataclass(frozen=True, slots=True)
class Judgement:
    """One pooled shot of one topic; ``stratum`` is 1 where the file has none."""

    shot: str
    stratum: int
    relevance: int


def read_topics(path: Path | str) -> dict[str, str]:
    """Topic number -> what is looked for, in the file's order."""
    path = Path(path)
    topics: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        key, _, text = line.strip().partition(" ")
        if not key.isdigit() or not text.strip():
            raise AnnotationError(f"{path}:{number}: expected 'number text', got {line[:60]!r}.")
        if key in topics:
            raise AnnotationError(f"{path}:{number}: topic {key} is there twice.")
        topics[key] = " ".join(text.split())
    return topics


def read_qrels(path: Path | str) -> dict[str, list[Judgement]]:
    """Topic -> judged and pooled shots, from four or five columns."""
    path = Path(path)
    found: dict[str, list[Judgement]] = {}
    seen: set[tuple[str, str]] = set()
    width = 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        width = width or len(cells)
        try:
            if len(cells) != width or width not in (4, 5):
                raise ValueError(f"{len(cells)} columns")
            stratum = int(cells[3]) if width == 5 else 1
            judged = Judgement(cells[2], stratum, int(cells[-1]))
        except ValueError as error:
            raise AnnotationError(
                f"{path}:{number}: expected 'topic 0 shot [stratum] relevance': {error}."
            ) from error
        if (cells[0], judged.shot) in seen:
            raise AnnotationError(f"{path}:{number}: {judged.shot} is judged twice for {cells[0]}.")
        seen.add((cells[0], judged.shot))
        found.setdefault(cells[0], []).append(judged)
    return found


def judged_topic(topic: str, qrels: Mapping[str, object]) -> str | None:
    """The id under which a topic is judged: itself, or itself with a leading 1."""
    return next((key for key in (topic, f"1{topic}") if key in qrels), None)


def write_run(
    path: Path | str, ranked: Mapping[str, Sequence[tuple[str, float]]], *, tag: str = "finecut"
) -> None:
    """Write a TREC run: `topic Q0 shot rank score tag`, at most 1,000 shots a topic."""
    lines = []
    for topic, shots in ranked.items():
        for rank, (shot, score) in enumerate(shots[:MAX_RUN], start=1):
            if not shot or shot.split() != [shot]:
                raise AnnotationError(f"A shot's name must be one word, got {shot!r}.")
            lines.append(f"{topic} Q0 {shot} {rank} {score:.6f} {tag}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")
