"""A query tree as text that reads as the same tree."""

from __future__ import annotations

from finecut.errors import QueryError
from finecut.text.query_lexer import OPERATORS, lex
from finecut.text.query_tree import SAID_OR_SHOWN, Filter, Leaf, Phrase, Query, Step, Term, Words

_QUOTED = '"“”„\\'


def print_query(query: Query) -> str:
    """The simplest form of a query that reads as the same query.

    >>> from finecut.text.query_language import parse
    >>> print_query(parse('(a dog)  AND  "sit" NOT a cat'))
    'a dog AND "sit" NOT a cat'
    >>> print_query(parse("(NBA) AND (NFL)")), print_query(parse("NBA AND NFL"))
    ('(NBA) AND (NFL)', 'NBA AND NFL')
    """
    from finecut.text.query_language import parse

    # To the letter; as usual; with parentheses, beside which AND is none of a sentence's words.
    forms = [query.plain] if query.plain is not None else []
    for form in [*forms, _print(query, grouped=False)]:
        try:
            if parse(form) == query:
                return form
        except QueryError:
            continue
    return _print(query, grouped=True)


def print_leaf(leaf: Leaf) -> str:
    """One sentence or phrase, for messages and reasons."""
    return _phrase(leaf) if isinstance(leaf, Phrase) else _words(leaf, grouped=False)


def _print(query: Query, *, grouped: bool) -> str:
    made = _step(query.steps[0], grouped=grouped)
    for step, within in zip(query.steps[1:], query.within, strict=True):
        made += f" THEN {_step(step, grouped=grouped)}"
        if within is not None:
            made += f" WITHIN {_number(within)}s"
    return " ".join([made, *(_filter(item) for item in query.filters)])


def _step(step: Step, *, grouped: bool) -> str:
    terms = " AND ".join(_term(term, grouped=grouped) for term in step.terms)
    return " ".join([terms, *(_negated(leaf, grouped=grouped) for leaf in step.without)])


def _term(term: Term, *, grouped: bool) -> str:
    words = [_words(term.words, grouped=grouped)] if term.words else []
    return " ".join([*words, *(_phrase(phrase) for phrase in term.phrases)])


def _words(words: Words, *, grouped: bool) -> str:
    made = []
    for piece in words.pieces:
        text = " ".join(_word(word) for word in piece.text.split())
        if piece.weight == 1.0:
            made.append(f"({text})" if grouped else text)
        elif not grouped and _is_weighted(f"{text}:{_number(piece.weight)}", piece.text):
            made.append(f"{text}:{_number(piece.weight)}")
        else:
            made.append(f"({text})^{_number(piece.weight)}")
    return " ".join(made)


def _is_weighted(text: str, word: str) -> bool:
    """Whether the text reads as that one word with a weight."""
    try:
        parts = lex(f"({text})")
    except QueryError:
        return False
    return [part.kind for part in parts] == ["open", "word", "close"] and (
        parts[1].text == word and parts[1].weight is not None
    )


def _negated(leaf: Leaf, *, grouped: bool) -> str:
    if isinstance(leaf, Phrase):
        return f"-{_phrase(leaf)}"
    if grouped:
        return f"-{_words(leaf, grouped=True)}"
    one = len(leaf.text.split()) == 1 and leaf.text[0].isalpha()
    return f"-{_word(leaf.text)}" if one else f"NOT {_words(leaf, grouped=False)}"


def _phrase(phrase: Phrase) -> str:
    if phrase.channels == SAID_OR_SHOWN:
        return _quote(phrase.text)
    return f"{phrase.channels[0]}:{_value(phrase.text)}"


def _filter(item: Filter) -> str:
    return f"{'-' * item.negated}{item.name}:{_value(item.value)}"


def _value(text: str) -> str:
    odd = any(c.isspace() or c in _QUOTED or c in "()" for c in text)
    return _quote(text) if odd else text


def _quote(text: str) -> str:
    return '"' + "".join(f"\\{c}" if c in _QUOTED else c for c in text) + '"'


def _number(value: float) -> str:
    """Without an exponent, to the thousandth."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _word(word: str) -> str:
    """A word so that it reads as that word, also inside parentheses."""
    try:
        parts = lex(f"({word})")
    except QueryError:
        parts = []
    safe = (
        [part.kind for part in parts] == ["open", "word", "close"]
        and parts[1].text == word
        and parts[1].weight is None
        and word not in OPERATORS
    )
    if safe:
        return word
    return f"\\{word[0]}" + "".join(f"\\{c}" if c in "\\()" else c for c in word[1:])
