"""The query language: what sentences keep, what syntax means, where errors point."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import QueryError, UsageError
from finecut.text.query_language import MAX_LEAVES, parse
from finecut.text.query_tree import Filter, Phrase, Piece, Query, Step, Term, Words


def words(text: str) -> Words:
    return Words((Piece(text),))


def term(text: str) -> Term:
    return Term(words(text))


def simple(*terms: str, without: tuple = ()) -> Step:
    return Step(tuple(term(text) for text in terms), without)


@pytest.mark.parametrize(
    "sentence",
    [
        "a dog catches a frisbee",
        "a man and a dog, then a cat; not a horse",
        "a man (in a hat) and (a dog",
        "a well-known man - on stage -5 degrees --- :-)",
        "she said: hello, in: the park",
        "it is 12:30 and the score 3:2",
        'a 5" disk of 3.5"',
        "WANTED: A MAN AND A DOG, NOT A CAT",
        "NBA AND NFL THEN MLB WITHIN 30",
        "what happens within 30s then",
        "a psalm:23 at localhost:8080",
        "it's a dog's life",
        "  two  spaces\tand a tab ",
        "一只狗和一只猫",
        "https://example.org/a?b=c",
        "C:\\videos\\a (1).mp4",
        "",
        " ",
        "\x00",
        "(a dog)",
        "android: and, not: then",
    ],
)
def test_a_sentence_stays_what_it_is(sentence: str):
    query = parse(sentence)
    assert query.plain == sentence == str(query)
    assert query == Query((simple(sentence),))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("a man AND a dog", Query((simple("a man", "a dog"),))),
        (
            "a beach -people NOT red umbrellas",
            Query((simple("a beach", without=(words("people"), words("red umbrellas"))),)),
        ),
        ("a AND b -c AND d", Query((simple("a", "b", "d", without=(words("c"),)),))),
        ("a THEN b", Query((simple("a"), simple("b")), (None,))),
        ("a THEN b WITHIN 1.5m", Query((simple("a"), simple("b")), (90.0,))),
        (
            "(a THEN b WITHIN 30s THEN c) in:x",
            Query(
                (simple("a"), simple("b"), simple("c")), (30.0, None), (Filter("in", "x"),)
            ),
        ),
        (
            "a THEN (b AND c -d)",
            Query((simple("a"), simple("b", "c", without=(words("d"),))), (None,)),
        ),
        (
            "a dog:2 on a beach",
            Query((Step((Term(Words((Piece("a"), Piece("dog", 2.0), Piece("on a beach")))),)),)),
        ),
        ("(red hat)^0.5", Query((Step((Term(Words((Piece("red hat", 0.5),))),)),))),
        ("(red hat):3", Query((Step((Term(Words((Piece("red hat", 3.0),))),)),))),
        ('a sign "stop  here"', Query((Step((Term(words("a sign"), (Phrase("stop here"),)),)),))),
        ("“stop here”", Query((Step((Term(None, (Phrase("stop here"),)),)),))),
        ('said:hello -shown:"the end"', Query((Step(
            (Term(None, (Phrase("hello", ("said",)),)),), (Phrase("the end", ("shown",)),)),))),
        (
            'a dog IN:holiday name:"my clip" -in:old before:2024 after:2020-05 '
            "longer:2m shorter:1h",
            Query(
                (simple("a dog"),),
                (),
                (
                    Filter("in", "holiday"),
                    Filter("name", "my clip"),
                    Filter("in", "old", negated=True),
                    Filter("before", "2024"),
                    Filter("after", "2020-05"),
                    Filter("longer", "2m"),
                    Filter("shorter", "1h"),
                ),
            ),
        ),
        ("\\AND \\-x \\in:y \\(z \\\"", Query((simple('AND -x in:y (z "'),))),
        ("(NBA) AND (NFL)", Query((simple("NBA", "NFL"),))),
        ("狗 AND 猫 -人", Query((simple("狗", "猫", without=(words("人"),)),))),
        ("in:C:\\clips\\* a", Query((simple("a"),), (), (Filter("in", "C:\\clips\\*"),))),
        ("(a (b c) -d)", Query((simple("a b c", without=(words("d"),)),))),
        ("a -(b c)", Query((simple("a", without=(words("b c"),)),))),
    ],
)  # fmt: skip
def test_what_syntax_means(text: str, query: Query):
    assert parse(text) == query
    assert parse(str(query)) == query


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a AND", 5, "missing at the end"),
        ("AND a", 0, "AND needs something to look for before it"),
        ("a THEN THEN b", 7, "THEN needs something"),
        ("a NOT", 2, "Say after NOT"),
        ("a NOT -b", 6, "NOT stands here twice"),
        ("-dog", 1, "Say also what to look for"),
        ("in:holiday", 0, "A filter alone names no moment"),
        ('a "b', 2, "This quote is never closed"),
        ('a " " b', 2, "nothing between these quotes"),
        ("a AND (b", 6, "This parenthesis is never closed"),
        ("a AND ()", 7, "nothing between these parentheses"),
        ("a before:soon", 2, "'soon' is no date"),
        ("a longer:x", 2, "'x' is no duration"),
        ("a channel:smell", 2, "There is no channel 'smell'; known: picture, said"),
        ("a -before:2024", 3, "before: cannot be turned round"),
        ("a b WITHIN 30s", 4, "WITHIN limits the time after THEN"),
        ("a THEN b WITHIN 30s WITHIN 4s", 20, "After WITHIN and its time"),
        ("a THEN b WITHIN 30s c", 20, "After WITHIN and its time"),
        ("a THEN b WITHIN 0s", 16, "more than 0 seconds"),
        ("(a THEN b) AND c", 11, "THEN cannot be in it"),
        ("(a THEN b) THEN c", 0, "inside another THEN"),
        ("a THEN (b THEN c)", 7, "inside another THEN"),
        ("(a THEN b) -c", 12, "beside one of the steps"),
        ("(a AND b) c", 10, "Put AND or THEN between"),
        ("c (a AND b)", 2, "Put AND or THEN before"),
        ("(a AND b)^2", 0, "A weight goes with words"),
        ("(a:2 b)^2", 0, "a weight inside this one already"),
        ("a -dog:2", 3, "takes no weight"),
        ("a -(b AND c)", 3, "NOT takes words or one quote"),
        ("(" * 9 + "a AND b" + ")" * 9, 8, "8 deep at most"),
        (" AND ".join("abcdefghijklmnopq"), 96, f"at most {MAX_LEAVES} sentences"),
    ],
)
def test_errors_point_at_the_character(text: str, at: int, message: str):
    with pytest.raises(QueryError, match=message) as caught:
        parse(text)
    assert caught.value.at == at and caught.value.query == text
    assert isinstance(caught.value, UsageError) and caught.value.http_status == 400


def test_a_document_is_left_to_the_encoder():
    long = "a dog AND " * 400
    assert parse(long).plain == long


ATOMS = [
    "a", "dog", "AND", "THEN", "NOT", "WITHIN", "30s", "30", "-", "(", ")", '"', "“", "”", "\\",
    "in:", "name:", "said:", "shown:", "before:", "2024", "longer:", "2m", "channel:", "said",
    "picture", ":2", "^2", "^0.5", ":", *[" "] * 5, "\t", "\n", "\x00", "狗", "NBA", "A", "cat",
    ".", "*", "/", "é", "ſaid:", "\u3000", "-cat", " (a b)^2", ' "x y"', "\ud800", "x)", "(y",
    "word:2", " AND ", " THEN ", " NOT ", " -", " WITHIN 3s", "\u202e", "🐕", "\x1c",
]  # fmt: skip


def survives(text: str) -> bool:
    """Whether it is a query; what is none says where, and what is one comes back from its text."""
    try:
        query = parse(text)
    except QueryError as error:
        assert 0 <= error.at <= len(text) and str(error)
        return False
    assert parse(str(query)) == query, (text, str(query))
    return True


def fuzzed(seed: int, count: int) -> tuple[int, int]:
    """Queries read, and how many of them were more than a sentence, of so many random ones."""
    drawn = random.Random(seed)
    read = rich = 0
    for _ in range(count):
        size = drawn.randint(0, drawn.choice([4, 12, 30]))
        text = "".join(drawn.choice(ATOMS) for _ in range(size))
        if survives(text):
            read += 1
            rich += parse(text).plain is None
    return read, rich


def test_fuzzed_queries():
    read, rich = fuzzed(0, 4000)
    assert read > 2000 and rich > 400  # so that the test is about more than sentences


@pytest.mark.slow
def test_a_hundred_thousand_fuzzed_queries():
    read, rich = fuzzed(1, 100_000)
    assert read > 50_000 and rich > 10_000


@given(st.text())
def test_any_text(text: str):
    survives(text)


@given(st.text(alphabet='aB -()"\\:^2:ANDTHENOTWI\t', max_size=40))
def test_any_syntax(text: str):
    survives(text)


TEXT = st.text(alphabet='ab -()"\\:^2AND狗', min_size=1).map(lambda t: " ".join(t.split()))
TEXT = TEXT.filter(bool)
WORDS = TEXT.map(words)
PHRASES = st.builds(Phrase, TEXT, st.sampled_from([("said", "shown"), ("said",), ("shown",)]))
TERMS = st.builds(Term, WORDS, st.lists(PHRASES, max_size=1).map(tuple)) | PHRASES.map(
    lambda phrase: Term(None, (phrase,))
)
STEPS = st.builds(
    Step,
    st.lists(TERMS, min_size=1, max_size=3).map(tuple),
    st.lists(WORDS | PHRASES, max_size=1).map(tuple),
)
FILTERS = st.builds(Filter, st.sampled_from(["in", "name"]), TEXT, st.booleans())


@st.composite
def trees(draw) -> Query:
    steps = tuple(draw(st.lists(STEPS, min_size=1, max_size=2)))
    times = st.none() | st.floats(0.001, 86_400).map(lambda s: round(s, 3))
    within = tuple(draw(times) for _ in steps[1:])
    return Query(steps, within, tuple(draw(st.lists(FILTERS, max_size=2))))


@given(trees())
def test_any_tree_is_written_so_that_it_reads_the_same(query: Query):
    assert parse(str(query)) == query
