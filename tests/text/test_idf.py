"""IDF of words: the formula, its edges, and the file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.text.idf import IdfTable, Word, sum_to_one


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=8))
def test_idf_is_the_formula(captions: list[list[str]]) -> None:
    table = IdfTable.build(captions)
    for word in "abcde":
        count = sum(word in caption for caption in captions)
        expected = max(0.0, math.log(len(captions) / (1 + count)))
        assert table.idf(word) == pytest.approx(expected)
        assert table.idf(word.upper()) == table.idf(word)


def test_pieces_take_their_words_weight_and_others_none() -> None:
    table = IdfTable(10, {"dog": 1, "run": 4})
    words = [Word("the", "DET", ["the"]), Word("dog", "NOUN", ["d", "og"]), Word("run", "VERB", [])]
    assert table.piece_weights(words) == [0.0, table.idf("dog"), table.idf("dog")]
    assert table.piece_weights(words, frozenset({"DET"}))[0] == table.idf("the")


@given(st.lists(st.floats(0, 1e6), max_size=6))
def test_weights_sum_to_one_or_are_zero(weights: list[float]) -> None:
    assert sum(sum_to_one(weights)) == pytest.approx(1.0 if sum(weights) > 0 else 0.0)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    table = IdfTable.build([["naïve", "dog"], ["dog"]])
    table.save(tmp_path / "idf.json")
    assert IdfTable.load(tmp_path / "idf.json") == table


@pytest.mark.parametrize("body", ["", "[]", '{"captions": 3}', '{"captions": 0, "counts": {}}'])
def test_other_files_are_refused(tmp_path: Path, body: str) -> None:
    (tmp_path / "idf.json").write_text(body)
    with pytest.raises(UsageError):
        IdfTable.load(tmp_path / "idf.json")
