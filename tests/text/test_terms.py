"""What a text is found by: the same terms from a text and from a query that should find it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.text.terms import BREAK, folded, query_terms, row_terms, sequence


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("一只猫在东京塔前面", "猫"),
        ("一只猫在东京塔前面", "东京塔"),
        ("東京タワーに行きました", "タワー"),
        ("ฉันไม่รู้ว่าคุณพูดเรื่องอะไร", "คุณพูด"),
        ("안녕하세요 누구세요", "안녕"),
        ("The CAFÉ on Straße 12", "cafe strasse 12"),
        ("Ёлки и чай", "елки ЧАЙ"),
        ("ＦＵＬＬ width ｶﾀｶﾅ", "full WIDTH カタカナ"),
        ("naïve Łódź smørrebrød", "naive lodz smorrebrod"),
        ("नमस्ते दुनिया", "दुनिया"),
        ("snake_case and dashes-too", "case too"),
    ],
)
def test_a_query_finds_its_text(text, query):
    stored = row_terms(text).split()
    assert query_terms(query) and set(query_terms(query)) <= set(stored)
    wanted = sequence(query)
    assert len(wanted) >= 1 and all(term in stored for term in wanted)


@pytest.mark.parametrize("query", ["京东", "塔东", "cat", "猫东"])
def test_and_not_what_is_not_there(query):
    stored = row_terms("一只猫在东京塔前面, a catalogue").split()
    assert not set(query_terms(query)) & set(stored)


def test_a_long_term_is_cut_the_same_way_on_both_sides():
    assert query_terms("x" * 500) == row_terms("X" * 300).split()


@given(st.text(max_size=60), st.text(max_size=60))
def test_terms_of_any_text(text, other):
    assert all(" " not in term and term != BREAK and term for term in sequence(text))
    assert set(query_terms(text)) <= set(row_terms(f"{other} {text}").split())
    assert folded(folded(text)) == folded(text)


@given(st.text(alphabet="ab 猫东京塔", max_size=20), st.data())
def test_any_part_of_a_sentence_is_found_as_a_phrase(text, data):
    terms = sequence(text)
    if not terms:
        return
    first = data.draw(st.integers(0, len(terms) - 1))
    part = terms[first : first + 3]
    stored = row_terms(text).split()
    assert any(stored[at : at + len(part)] == part for at in range(len(stored)))
