"""Run the demo: make the library, index it, ask, and say whether the answers are right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finecut.bundle.load import Bundle
from finecut.demo.library import QUESTIONS, Question, make_library, write_queries
from finecut.demo.sheet import write_sheet
from finecut.errors import IndexMismatch
from finecut.index.build import build_index
from finecut.index.report import IndexReport
from finecut.index.scan import absolute
from finecut.index.store import Index
from finecut.search.engine import Searcher
from finecut.types import Results


@dataclass(frozen=True, slots=True)
class Answer:
    """The first moment of one search, and whether it is the expected one."""

    query: str
    good_match: bool
    video: str
    start_s: float
    end_s: float
    confidence: float
    elapsed_ms: float
    right: bool


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Where everything is, what indexing took, and the answers."""

    library: Path
    index: Path
    queries: Path  # labelled, for `finecut quality`
    contact_sheet: Path
    video_s: float  # indexed in this run; 0 when it was there already
    x_realtime: float
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        plain = asdict(self)
        for name in ("library", "index", "queries", "contact_sheet"):
            plain[name] = str(plain[name])
        return plain


def run_demo(directory: Path, *, say: Callable[[str], None]) -> DemoReport:
    """Make, index and search the demo library in ``directory``; a second run reuses all of it.

    Raises:
        MissingDependency: the packages that ship the material are not installed.
    """
    library, index = directory / "library", directory / "index"
    make_library(library, say)
    queries = directory / "queries.jsonl"
    write_queries(queries)
    report = _build(library, index, say)
    if report.nothing_to_do:
        say(f"{report.n_unchanged} videos are indexed already")
    else:
        say(
            f"indexed {report.n_new} videos, {report.video_s:.0f} s of video in "
            f"{report.elapsed_s:.1f} s ({report.x_realtime:.0f}x real time)"
        )
    searcher = Searcher.open(index)
    # A first search loads the model, so that the times shown are those of a session; another
    # sentence, since a query that was just asked is remembered.
    searcher.search("something else", evidence=False)
    found = [searcher.search(question.query, k=4) for question in QUESTIONS]
    sheet = directory / "contact-sheet.jpg"
    write_sheet(found, sheet)
    answers = tuple(_judge(q, results) for q, results in zip(QUESTIONS, found, strict=True))
    return DemoReport(library, index, queries, sheet, report.video_s, report.x_realtime, answers)


def _build(library: Path, index: Path, say: Callable[[str], None]) -> IndexReport:
    """Index the library; an index of another bundle (an older finecut's) is made anew."""
    bundle = Bundle.load()
    try:
        return build_index([library], index, bundle)
    except IndexMismatch:
        inside = absolute(library)
        paths = [path for video in Index.open(index).videos for path in video.paths]
        if not all(Path(path).is_relative_to(inside) for path in paths):
            raise  # not the demo's own: its owner decides
        say("the index is of another bundle; making it anew")
        shutil.rmtree(index)
        return build_index([library], index, bundle)


def _judge(question: Question, results: Results) -> Answer:
    first = results[0]
    if question.video is None:
        right = not results.good_match
    else:
        right = results.good_match and Path(first.video).name == question.video
        if right and question.scene is not None:
            right = question.scene[0] <= first.best_s < question.scene[1]
    return Answer(
        query=question.query,
        good_match=results.good_match,
        video=first.video,
        start_s=first.start_s,
        end_s=first.end_s,
        confidence=first.confidence,
        elapsed_ms=results.elapsed_ms,
        right=right,
    )
