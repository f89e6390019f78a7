"""Read a query: sentences as they are, and a little syntax for who wants to say more.

    a dog on a beach -people              what must not be there: -word, NOT some words
    "welcome back"                        said or shown, word for word
    a red car THEN a fire WITHIN 30s      in this order inside one video
    a man AND a dog                       both in one moment
    a dog:2 on a beach, (red hat)^3       what matters more (or less than 1)
    in:holiday name:*.mov before:2024 after:2020-05 longer:2m shorter:1h
    said:hello shown:"exit" channel:said

A query without syntax is a sentence to the letter. Reading never fails in any other way than by a
`QueryError`, and what `str` prints of a query reads as the same query.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from finecut.errors import QueryError, UsageError
from finecut.text.quantities import parse_date, parse_duration
from finecut.text.query_lexer import Part, is_plain, lex
from finecut.text.query_tree import Filter, Leaf, Phrase, Piece, Query, Step, Term, Words

MAX_CHARS = 2000  # as long as a sentence may be
MAX_LEAVES = 16  # sentences and phrases of one query: each is looked up
MAX_DEPTH = 8
MAX_WITHIN_S = 86_400.0
CHANNELS = ("picture", "said", "shown", "told", "named")
PHRASES = ("said", "shown")  # filters on moments: words that must be there
_NEGATED_FILTERS = ("in", "name", *PHRASES)


def parse(query: str) -> Query:
    """What the query means.

    Raises:
        QueryError: syntax that cannot be meant; ``at`` says where.

    >>> parse("a man and a dog").plain
    'a man and a dog'
    >>> [term.words.text for term in parse("a man AND a dog -car").steps[0].terms]
    ['a man', 'a dog']
    >>> str(parse("a dog  THEN (a cat) WITHIN 1m in:pets"))
    'a dog THEN a cat WITHIN 60s in:pets'
    """
    if len(query) > MAX_CHARS:  # no sentence either: the encoder says so
        return _sentence(query)
    parts = lex(query)
    if is_plain(parts):
        return _sentence(query)
    return _Parser(query, parts).query_tree()


def _sentence(query: str) -> Query:
    return Query((Step((Term(Words((Piece(query),))),)),), source=query)


@dataclass(slots=True)
class _Loose:
    """What one term gathers as its parts are read."""

    at: int
    words: list[tuple[str, float, int]] = field(default_factory=list)  # text, weight, where
    phrases: list[Phrase] = field(default_factory=list)
    without: list[Leaf] = field(default_factory=list)
    group: tuple[Step, ...] = ()  # a parenthesis that holds AND or THEN
    group_within: tuple[float | None, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.words or self.phrases or self.group)


class _Parser:
    def __init__(self, query: str, parts: list[Part]) -> None:
        self.query = query
        self.parts = parts
        self.place = 0
        self.depth = 0
        self.leaves = 0
        self.filters: list[Filter] = []

    def error(self, message: str, at: int) -> QueryError:
        return QueryError(message, self.query, at)

    def peek(self) -> Part | None:
        return self.parts[self.place] if self.place < len(self.parts) else None

    def take(self) -> Part:
        part = self.parts[self.place]
        self.place += 1
        return part

    # -- the grammar, from the whole to its parts -------------------------------------------------

    def query_tree(self) -> Query:
        steps, within = self.steps()
        if self.place < len(self.parts):
            raise self.error("This is not understood.", self.parts[self.place].at)
        return Query(tuple(steps), tuple(within), tuple(self.filters), source=self.query)

    def steps(self) -> tuple[list[Step], list[float | None]]:
        """Up to the end, or to the parenthesis that closes this group."""
        found: list[Step] = []
        within: list[float | None] = []
        while True:
            step, ordered = self.step()
            if ordered and (found or self._is("THEN")):
                raise self.error(
                    "THEN cannot stand inside another THEN: write a THEN b THEN c.", step.at
                )
            if ordered and step.without:
                raise self.error(
                    "Put what to leave out beside one of the steps.", step.without[0].at
                )
            if ordered:
                found, within = list(step.group), list(step.group_within)
            else:
                found.append(Step(tuple(self._terms(step)), tuple(step.without)))
            if self._is("WITHIN"):
                self._within(found, within)
            if not self._is("THEN"):
                return found, within
            self.take()
            within.append(None)

    def _is(self, kind: str) -> bool:
        part = self.peek()
        return part is not None and part.kind == kind

    def _within(self, found: list[Step], within: list[float | None]) -> None:
        part = self.take()
        time = self.take()  # the lexer has seen that it is one
        seconds = round(parse_duration(time.text), 3)
        if not within or within[-1] is not None:
            raise self.error("WITHIN limits the time after THEN: a THEN b WITHIN 30s.", part.at)
        if not 0 < seconds <= MAX_WITHIN_S:
            raise self.error("WITHIN takes more than 0 seconds and at most a day.", time.at)
        within[-1] = seconds
        while kinds := self._filter_kinds():
            self.place += kinds
            self._filter(self.parts[self.place - 1], negated=kinds == 2)
        following = self.peek()
        if following is not None and following.kind not in ("THEN", "close"):
            raise self.error(
                "After WITHIN and its time comes THEN, a filter or the end.", following.at
            )

    def _filter_kinds(self) -> int:
        """How many parts the filter on videos that comes next takes; 0: there is none."""
        size = 2 if self._is("minus") else 1
        last = self.parts[self.place : self.place + size][size - 1 :]
        found = bool(last) and last[0].kind == "filter" and last[0].name not in PHRASES
        return size if found else 0

    def step(self) -> tuple[_Loose, bool]:
        """Terms joined by AND, as one; and whether it is a group with THEN in it."""
        whole = self.term()
        if len(whole.group) > 1 and not self._is("AND"):
            return whole, True
        while self._is("AND"):
            joint = self.take()
            other = self.term()
            if len(whole.group) > 1 or len(other.group) > 1:
                raise self.error("AND joins what is in one moment; THEN cannot be in it.", joint.at)
            terms = tuple(self._terms(whole) + self._terms(other))
            whole = _Loose(whole.at, without=whole.without + other.without, group=(Step(terms),))
        return whole, False

    def _terms(self, loose: _Loose) -> list[Term]:
        if loose.group:
            return list(loose.group[0].terms)
        words = Words(_pieces(loose.words), loose.words[0][2]) if loose.words else None
        return [Term(words, tuple(loose.phrases))]

    def term(self) -> _Loose:
        begins = self.peek()
        loose = _Loose(begins.at if begins else len(self.query))
        before = len(self.filters)
        while (part := self.peek()) is not None:
            if part.kind in ("AND", "THEN", "WITHIN", "close"):
                break
            if loose.group and part.kind not in ("minus", "NOT", "filter"):
                raise self.error(
                    "Put AND or THEN between this and the parenthesis before it.", part.at
                )
            self._part(loose, self.take())
        if loose.empty:
            raise self._nothing(loose, begins, before)
        return loose

    def _nothing(self, loose: _Loose, begins: Part | None, before: int) -> QueryError:
        if loose.without:
            return self.error(
                "Say also what to look for, not only what to leave out.", loose.without[0].at
            )
        if len(self.filters) > before:
            return self.error(
                "A filter alone names no moment: add words to look for.", self.filters[before].at
            )
        if begins is None:
            return self.error("Something to look for is missing at the end.", len(self.query))
        if begins.kind == "close":
            return self.error("There is nothing between these parentheses.", begins.at)
        return self.error(
            f"{begins.text} needs something to look for before it "
            f"(\\{begins.text} is the word itself).",
            begins.at,
        )

    def _part(self, loose: _Loose, part: Part) -> None:
        if part.kind == "word":
            self._words(loose, part)
        elif part.kind == "quote":
            loose.phrases.append(Phrase(part.text, at=part.at))
            self._count(part.at)
        elif part.kind in ("minus", "NOT"):
            self._negated(loose, part)
        elif part.kind == "filter":
            phrase = self._filter(part, negated=False)
            if phrase is not None:
                loose.phrases.append(phrase)
        else:
            self._group(loose, part)

    def _words(self, loose: _Loose, part: Part) -> None:
        if part.weight is not None or not loose.words or loose.words[-1][1] != 1.0:
            self._count(part.at)
        loose.words.append((part.text, 1.0 if part.weight is None else part.weight, part.at))

    def _group(self, loose: _Loose, opened: Part) -> None:
        steps, within, closed = self._inside(opened)
        step = steps[0]
        only = len(steps) == 1 and len(step.terms) == 1
        if closed.weight is not None:
            words = step.terms[0].words
            if not only or words is None or step.without or step.terms[0].phrases:
                raise self.error("A weight goes with words: (red hat)^2.", opened.at)
            if words.weighted:
                raise self.error("There is a weight inside this one already.", opened.at)
            loose.words.append((words.text, closed.weight, opened.at))
        elif only:
            words, phrases = step.terms[0].words, step.terms[0].phrases
            loose.words += [(p.text, p.weight, opened.at) for p in words.pieces] if words else []
            loose.phrases += phrases
            loose.without += step.without
        else:
            if not loose.empty:
                raise self.error("Put AND or THEN before this parenthesis.", opened.at)
            loose.group, loose.group_within = tuple(steps), tuple(within)
            if len(steps) == 1:
                loose.group = (replace(step, without=()),)
                loose.without += step.without

    def _inside(self, opened: Part) -> tuple[list[Step], list[float | None], Part]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"Parentheses go {MAX_DEPTH} deep at most.", opened.at)
        steps, within = self.steps()
        if not self._is("close"):
            raise self.error("This parenthesis is never closed.", opened.at)
        self.depth -= 1
        return steps, within, self.take()

    # -- leaves -----------------------------------------------------------------------------------

    def _negated(self, loose: _Loose, sign: Part) -> None:
        part = self.peek()
        if part is None or part.kind in ("AND", "THEN", "WITHIN", "close"):
            raise self.error("Say after NOT what must not be there.", sign.at)
        if part.kind in ("minus", "NOT"):
            raise self.error("NOT stands here twice.", part.at)
        self.take()
        if part.kind == "filter":
            phrase = self._filter(part, negated=True)
            if phrase is not None:
                loose.without.append(phrase)
            return
        self._count(part.at)
        if part.kind == "quote":
            loose.without.append(Phrase(part.text, at=part.at))
        elif part.kind == "open":
            loose.without.append(self._negated_group(part))
        else:
            words = [part]
            while sign.kind == "NOT" and self._is("word"):
                words.append(self.take())
            for word in words:
                if word.weight is not None:
                    raise self.error("What is left out takes no weight.", word.at)
            text = " ".join(word.text for word in words)
            loose.without.append(Words((Piece(text),), part.at))

    def _negated_group(self, opened: Part) -> Leaf:
        steps, _, closed = self._inside(opened)
        term = steps[0].terms[0]
        simple = len(steps) == 1 and len(steps[0].terms) == 1 and not steps[0].without
        if simple and term.words and not term.phrases and not term.words.weighted:
            if closed.weight is not None:
                raise self.error("What is left out takes no weight.", opened.at)
            return replace(term.words, at=opened.at)
        raise self.error("NOT takes words or one quote; repeat it for more.", opened.at)

    def _filter(self, part: Part, *, negated: bool) -> Phrase | None:
        """The phrase that ``said:`` or ``shown:`` asks for; other filters are kept aside."""
        if negated and part.name not in _NEGATED_FILTERS:
            raise self.error(
                f"{part.name}: cannot be turned round; -in:, -name:, -said: and -shown: can.",
                part.at,
            )
        if part.name in PHRASES:
            self._count(part.at)
            return Phrase(part.text, (part.name,), part.at)
        try:
            if part.name in ("before", "after"):
                parse_date(part.text)
            elif part.name in ("longer", "shorter"):
                parse_duration(part.text)
        except UsageError as error:
            raise self.error(f"{part.name}: {error}", part.at) from error
        value = part.text
        if part.name == "channel":
            value = value.lower()
            if value not in CHANNELS:
                raise self.error(
                    f"There is no channel {part.text!r:.40}; known: {', '.join(CHANNELS)}.", part.at
                )
        if len(self.filters) >= MAX_LEAVES:
            raise self.error(f"A query holds at most {MAX_LEAVES} filters.", part.at)
        self.filters.append(Filter(part.name, value, negated, part.at))  # type: ignore[arg-type]
        return None

    def _count(self, at: int) -> None:
        self.leaves += 1
        if self.leaves > MAX_LEAVES:
            raise self.error(
                f"A query holds at most {MAX_LEAVES} sentences, quotes and weights.", at
            )


def _pieces(words: list[tuple[str, float, int]]) -> tuple[Piece, ...]:
    """Neighbours of ordinary weight become one piece."""
    made: list[Piece] = []
    for text, weight, _ in words:
        if made and weight == 1.0 and made[-1].weight == 1.0:
            made[-1] = Piece(f"{made[-1].text} {text}")
        else:
            made.append(Piece(text, weight))
    return tuple(made)
