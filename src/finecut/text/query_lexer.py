"""A query to its smallest parts, each with where it begins. What is no syntax is a word.

Only what hardly occurs in a sentence is syntax: AND, THEN, NOT and WITHIN in capitals, a hyphen or
a quote where a word begins, `name:value` of known names, `word:2`, and parentheses where one of
the others is there too. In a sentence all in capitals these four are ordinary words, unless a
parenthesis or a quote is next to them. A backslash before a word makes it a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finecut.errors import QueryError, UsageError
from finecut.text.quantities import parse_duration

Kind = Literal["word", "quote", "open", "close", "minus", "filter", "AND", "THEN", "NOT", "WITHIN"]

OPERATORS = ("AND", "THEN", "NOT", "WITHIN")
FILTERS = ("in", "name", "before", "after", "longer", "shorter", "channel", "said", "shown")
MAX_WEIGHT = 10.0
_FILTER = re.compile(rf"({'|'.join(FILTERS)}):", re.IGNORECASE | re.ASCII)
_NUMBER = r"([0-9]{1,2}(?:\.[0-9]{1,3})?)"
_WEIGHTED = re.compile(rf"[:^]{_NUMBER}\Z")
_WEIGHT = re.compile(rf"[:^]{_NUMBER}(?=[\s)]|$)")
_ESCAPED = '\\()"'  # what a backslash inside a word takes the meaning from
_OPENING = '"“”„'


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query."""

    kind: Kind
    text: str
    at: int
    weight: float | None = None
    literal: bool = False  # a backslash said that it is a word
    name: str = ""  # of a filter


def lex(query: str) -> list[Part]:
    """The parts of a query, operators told from words.

    Raises:
        QueryError: a quote that is never closed, or holds nothing.

    >>> [part.kind for part in lex('a dog -"hot dog" AND in:park')]
    ['word', 'word', 'minus', 'quote', 'AND', 'filter']
    """
    return _operators(_Lexer(query).parts())


def is_plain(parts: Sequence[Part]) -> bool:
    """Whether there is no syntax: then the query is a sentence, to the letter.

    >>> is_plain(lex("a man (in a hat) and a dog")), is_plain(lex("a man AND a dog"))
    (True, False)
    """
    return all(
        part.kind in ("word", "open", "close") and part.weight is None and not part.literal
        for part in parts
    )


class _Lexer:
    def __init__(self, query: str) -> None:
        self.query = query
        self.place = 0
        self.depth = 0

    def parts(self) -> list[Part]:
        query, found = self.query, []
        while True:
            while self.place < len(query) and query[self.place].isspace():
                self.place += 1
            if self.place >= len(query):
                return found
            found.append(self._next())

    def _next(self) -> Part:
        query, at = self.query, self.place
        if query[at] == "(":
            self.place, self.depth = at + 1, self.depth + 1
            return Part("open", "(", at)
        if query[at] == ")" and self.depth:
            self.place, self.depth = at + 1, self.depth - 1
            return Part("close", ")", at, weight=self._weight())
        if query[at] in _OPENING:
            return Part("quote", " ".join(self._quoted().split()), at)
        after = query[at + 1 : at + 2]
        if query[at] == "-" and (after.isalpha() or (after and after in _OPENING + "(\\")):
            self.place = at + 1
            return Part("minus", "-", at)
        filtered = _FILTER.match(query, at)
        if filtered and query[filtered.end() : filtered.end() + 1].strip():
            self.place = filtered.end()
            value = self._quoted() if query[self.place] in _OPENING else self._raw()
            name = filtered[1].lower()
            if name in ("said", "shown"):
                value = " ".join(value.split())
            return Part("filter", value, at, name=name)
        text, literal = self._word()
        weighted = None if literal else _WEIGHTED.search(text, max(0, len(text) - 7))
        if weighted and 0 < float(weighted[1]) <= MAX_WEIGHT:
            bare = text[: weighted.start()]
            if any(c.isalpha() for c in bare):  # 3:2 is a score, 12:30 a time
                return Part("word", bare, at, weight=float(weighted[1]))
        return Part("word", text, at, literal=literal)

    def _weight(self) -> float | None:
        found = _WEIGHT.match(self.query, self.place)
        if found is None or not 0 < float(found[1]) <= MAX_WEIGHT:
            return None
        self.place = found.end()
        return float(found[1])

    def _quoted(self) -> str:
        query, at = self.query, self.place
        closing = '"' if query[at] == '"' else '"“”'
        made, place = [], at + 1
        while place < len(query):
            c = query[place]
            if c == "\\" and query[place + 1 : place + 2] in ("\\", *_OPENING):
                made.append(query[place + 1])
                place += 2
                continue
            if c in closing:
                self.place = place + 1
                text = "".join(made)
                if not text.strip():
                    raise QueryError("There is nothing between these quotes.", query, at)
                return text
            made.append(c)
            place += 1
        raise QueryError(
            'This quote is never closed. Close it, or write \\" for the sign itself.', query, at
        )

    def _raw(self) -> str:
        """The value of a filter: as it stands up to a space, or the end of its group."""
        query, at, inner = self.query, self.place, 0
        while self.place < len(query) and not query[self.place].isspace():
            c = query[self.place]
            if c == ")" and not inner and self.depth:
                break
            inner += (c == "(") - (c == ")" and inner > 0)
            self.place += 1
        if self.place == at:
            raise QueryError("The filter has no value.", query, at)
        return query[at : self.place]

    def _word(self) -> tuple[str, bool]:
        """A word, and whether it begins with the backslash that makes it one."""
        query, made, inner = self.query, [], 0
        start = self.place
        literal = False
        while self.place < len(query) and not query[self.place].isspace():
            c = query[self.place]
            after = query[self.place + 1 : self.place + 2]
            first = self.place == start
            if c == "\\" and after and not after.isspace() and (first or after in _ESCAPED):
                literal |= first
                made.append(after)
                self.place += 2
                continue
            if c == ")" and not inner and self.depth:
                break
            inner += (c == "(") - (c == ")" and inner > 0)
            made.append(c)
            self.place += 1
        return "".join(made), literal


def _operators(parts: list[Part]) -> list[Part]:
    """The parts with AND, THEN, NOT and WITHIN known for what they are."""
    meant = [i for i, part in enumerate(parts) if _may_operate(parts, i)]
    if not meant:
        return parts
    others = "".join(part.name + part.text for i, part in enumerate(parts) if i not in set(meant))
    capitals = others.upper() == others and others.lower() != others
    made = list(parts)
    for i in meant:
        near = [parts[j].kind for j in (i - 1, i + 1) if 0 <= j < len(parts)]
        if not capitals or {"open", "close", "quote"} & set(near):
            made[i] = Part(parts[i].text, parts[i].text, parts[i].at)  # type: ignore[arg-type]
    return made


def _may_operate(parts: list[Part], i: int) -> bool:
    part = parts[i]
    if part.kind != "word" or part.literal or part.weight is not None:
        return False
    if part.text == "WITHIN":
        following = parts[i + 1] if i + 1 < len(parts) else None
        return following is not None and following.kind == "word" and is_time(following.text)
    return part.text in OPERATORS


def is_time(text: str) -> bool:
    """Whether the text is a duration: 30s, 2m, 1:30."""
    try:
        parse_duration(text)
    except UsageError:
        return False
    return True
