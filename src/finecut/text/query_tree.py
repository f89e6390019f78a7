"""A query as it was understood: what each step looks for, what it leaves out, which videos count.

    query   = step THEN step … [WITHIN time], filters     in this order inside one video
    step    = term AND term … without leaves              all in one moment
    term    = words and phrases                           one thing to look for

Trees are flat on purpose: whatever can be written can be read back from `str(query)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FilterName = Literal["in", "name", "before", "after", "longer", "shorter", "channel"]
SAID_OR_SHOWN = ("said", "shown")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a sentence and how much it matters; 1 is ordinary."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence for the pictures (and, where an index holds words, for these)."""

    pieces: tuple[Piece, ...]
    at: int = field(default=0, compare=False)  # where it begins in what was typed

    @property
    def text(self) -> str:
        return " ".join(piece.text for piece in self.pieces)

    @property
    def weighted(self) -> bool:
        return any(piece.weight != 1.0 for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that must be said or shown, next to each other."""

    text: str
    channels: tuple[str, ...] = SAID_OR_SHOWN
    at: int = field(default=0, compare=False)


Leaf = Words | Phrase


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to look for: a sentence, phrases, or both of one moment."""

    words: Words | None
    phrases: tuple[Phrase, ...] = ()

    @property
    def at(self) -> int:
        return self.words.at if self.words else self.phrases[0].at


@dataclass(frozen=True, slots=True)
class Step:
    """Terms that are true of one moment, and leaves that are not."""

    terms: tuple[Term, ...]
    without: tuple[Leaf, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on videos, or (``channel``) on where to look."""

    name: FilterName
    value: str
    negated: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked. ``within[i]`` limits the seconds between step i and step i + 1."""

    steps: tuple[Step, ...]
    within: tuple[float | None, ...] = ()
    filters: tuple[Filter, ...] = ()
    source: str = field(default="", compare=False)  # what was typed

    @property
    def plain(self) -> str | None:
        """The sentence, where the query is nothing else; None where it says more."""
        if len(self.steps) != 1 or self.filters:
            return None
        step = self.steps[0]
        if len(step.terms) != 1 or step.without:
            return None
        words = step.terms[0].words
        if words is None or step.terms[0].phrases or words.weighted:
            return None
        return words.text

    def __str__(self) -> str:
        from finecut.text.query_printer import print_query

        return print_query(self)
