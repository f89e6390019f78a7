"""A query tree made ready to search with: sentences encoded, filters of all kinds in one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finecut.errors import QueryError, UsageError
from finecut.search.filters import Filters
from finecut.text.quantities import parse_date, parse_duration
from finecut.text.query_printer import print_leaf
from finecut.text.query_tree import SAID_OR_SHOWN, Phrase, Piece, Query, Step, Term, Words

if TYPE_CHECKING:
    from finecut.search.query import Asked, QueryEncoder
    from finecut.text.query_tree import Filter, Leaf

PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class SoughtTerm:
    """One thing to look for in a moment."""

    asked: Asked | None  # what it looks like; None where only phrases are asked for
    words: str  # the sentence, for channels of text; "" without
    phrases: tuple[Phrase, ...]
    label: str
    weight: float = 1.0  # beside other terms: (a dog)^2 AND a cat


@dataclass(frozen=True, slots=True)
class SoughtStep:
    """Terms of one moment, and what must not be there."""

    terms: tuple[SoughtTerm, ...]
    unseen: tuple[Asked, ...]  # sentences
    unheard: tuple[Phrase, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Sought:
    """A whole query."""

    steps: tuple[SoughtStep, ...]
    within: tuple[float | None, ...]
    filters: Filters | None
    channels: frozenset[str] | None  # None: wherever there is anything
    query: Query

    @property
    def single(self) -> SoughtTerm | None:
        """The one term that is all of the query, without phrases or NOT; None otherwise."""
        step = self.steps[0]
        if len(self.steps) != 1 or len(step.terms) != 1 or step.unseen or step.unheard:
            return None
        term = step.terms[0]
        return None if term.phrases or term.asked is None else term


def understand(
    query: Query, encoder: QueryEncoder, filters: Filters | None, image: Asked | None = None
) -> Sought:
    """The query with its sentences encoded in one batch.

    Args:
        query: what was asked.
        encoder: of the bundle.
        filters: those given beside the query; both kinds must hold.
        image: a picture that the (only) sentence of the query says more about.

    Raises:
        UsageError: filters that exclude everything, or a sentence that cannot be encoded.
        QueryError: an image with a query of several terms.
    """
    sentences = [leaf for step in query.steps for leaf in _leaves(step) if isinstance(leaf, Words)]
    encoded = dict(zip(map(id, sentences), encoder.encode_words(sentences), strict=True))
    if image is not None:
        first = query.steps[0].terms[0]
        if len(query.steps) != 1 or len(query.steps[0].terms) != 1 or first.words is None:
            raise QueryError(
                "An image goes with one sentence, not with AND or THEN.", query.source, first.at
            )
        encoded[id(first.words)] = encoder.with_image(encoded[id(first.words)], image)
    steps = []
    for step in query.steps:
        terms = [
            SoughtTerm(
                encoded[id(term.words)] if term.words else None,
                term.words.text if term.words else "",
                term.phrases,
                " ".join(
                    print_leaf(leaf) for leaf in (term.words, *term.phrases) if leaf is not None
                ),
                term.words.pieces[0].weight if term.words and len(term.words.pieces) == 1 else 1.0,
            )
            for term in step.terms
        ]
        label = str(Query((step,)))
        steps.append(
            SoughtStep(
                tuple(terms),
                tuple(encoded[id(leaf)] for leaf in step.without if isinstance(leaf, Words)),
                tuple(leaf for leaf in step.without if isinstance(leaf, Phrase)),
                label,
            )
        )
    channels = frozenset(item.value for item in query.filters if item.name == "channel")
    both = merged(filters, query.filters, query.source)
    return Sought(tuple(steps), query.within, both, channels or None, query)


def without_texts(query: Query, channels: Collection[str]) -> tuple[Query, list[str]]:
    """The query for an index with these text channels, and what a person should know of it.

    A quote is looked for in the pictures where nothing is said or shown in words; what names a
    channel that is not there cannot be meant.

    Raises:
        QueryError: ``said:``, ``shown:`` or ``channel:`` where the index has no such texts.
    """
    for item in query.filters:
        if item.name == "channel" and item.value not in (PICTURE, *channels):
            raise _no_channel(query, item.value, channels, item.at)
    notes: list[str] = []

    def kept(phrase: Phrase) -> bool:
        if set(phrase.channels) & set(channels):
            return True
        if phrase.channels != SAID_OR_SHOWN:
            raise _no_channel(query, phrase.channels[0], channels, phrase.at)
        notes.append(
            "Nothing said or shown is indexed here, so the pictures were searched for "
            f'"{phrase.text}".'
        )
        return False

    steps = []
    for step in query.steps:
        terms = []
        for term in step.terms:
            phrases = tuple(phrase for phrase in term.phrases if kept(phrase))
            pieces = list(term.words.pieces) if term.words else []
            pieces += [Piece(phrase.text) for phrase in term.phrases if phrase not in phrases]
            terms.append(Term(Words(tuple(pieces), term.at) if pieces else None, phrases))
        without = tuple(
            Words((Piece(leaf.text),), leaf.at)
            if isinstance(leaf, Phrase) and not kept(leaf)
            else leaf
            for leaf in step.without
        )
        steps.append(Step(tuple(terms), without))
    return replace(query, steps=tuple(steps)), notes


def _no_channel(query: Query, name: str, channels: Collection[str], at: int) -> QueryError:
    there = ", ".join(channels) if channels else "none"
    return QueryError(
        f"This index holds no texts of the channel {name} (there: {there}). Index again with "
        "subtitles beside the videos, or with --ocr or --speech.",
        query.source,
        at,
    )


def _leaves(step: Step) -> list[Leaf]:
    words = [term.words for term in step.terms if term.words is not None]
    return [*words, *step.without]


def merged(filters: Filters | None, given: Sequence[Filter], source: str = "") -> Filters | None:
    """The filters of the call and those of the query: both must hold.

    Raises:
        QueryError: together they exclude everything.

    >>> from finecut.text.query_language import parse
    >>> merged(Filters(min_duration_s=60), parse("a longer:2m in:x").filters)
    ... # doctest: +NORMALIZE_WHITESPACE, +ELLIPSIS
    Filters(path_glob=None, min_duration_s=120.0, ..., inside=('x',), ...)
    """
    made = filters or Filters()
    lists: dict[str, list[str]] = {}
    for item in given:
        try:
            if item.name == "longer":
                least = max(made.min_duration_s or 0.0, parse_duration(item.value))
                made = replace(made, min_duration_s=least)
            elif item.name == "shorter":
                own = parse_duration(item.value)
                most = own if made.max_duration_s is None else min(own, made.max_duration_s)
                made = replace(made, max_duration_s=most)
            elif item.name == "after":
                day = parse_date(item.value)
                if made.recorded_after is not None:
                    day = max(day, made.recorded_after)
                made = replace(made, recorded_after=day)
            elif item.name == "before":
                day = parse_date(item.value)
                if made.recorded_before is not None:
                    day = min(day, made.recorded_before)
                made = replace(made, recorded_before=day)
            elif item.name in ("in", "name"):
                field = "inside" if item.name == "in" else "named"
                lists.setdefault(f"not_{field}" if item.negated else field, []).append(item.value)
            made = replace(made, **{name: tuple(values) for name, values in lists.items()})
        except QueryError:
            raise
        except UsageError as error:
            raise QueryError(str(error), source, item.at) from error
    return None if made.empty else made
