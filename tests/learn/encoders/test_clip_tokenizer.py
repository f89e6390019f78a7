"""The tokeniser: one object for training and for the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finecut.errors import UsageError
from finecut.learn.encoders.clip_tokenizer import ClipTokenizer, clean_text

TOKENIZER = ClipTokenizer()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZER.save(path, max_words=20)
    return Tokenizer.from_file(str(path))


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&"),
        max_size=80,
    )
)
def test_the_exported_file_gives_the_same_ids(exported: Tokenizer, text: str) -> None:
    assert exported.encode(text).ids == TOKENIZER.encode(text, 20)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.integers(2, 40))
def test_any_text_opens_and_closes_and_fits(text: str, max_words: int) -> None:
    ids = TOKENIZER.encode(text, max_words)
    assert ids[0] == TOKENIZER.sot and ids[-1] == TOKENIZER.eot
    assert 2 <= len(ids) <= max_words
    assert all(0 <= i < 49408 for i in ids)


def test_the_end_token_is_the_highest_id_in_every_vocabulary() -> None:
    for size in (514, 1024, 49408):
        tokenizer = ClipTokenizer(size)
        ids, mask = tokenizer(["a dog", "two dogs run on the beach"], 10)
        assert ids.argmax(dim=1).tolist() == (mask.sum(dim=1) - 1).tolist()
        assert int(ids.max()) == size - 1 == tokenizer.eot


def test_a_small_vocabulary_spells_what_it_lacks() -> None:
    assert len(ClipTokenizer(514).encode("guitar", 20)) == 2 + 6
    assert len(TOKENIZER.encode("guitar", 20)) == 2 + 1


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="514 to 49408, got 10"):
        ClipTokenizer(10)
    with pytest.raises(UsageError, match="at least 2"):
        TOKENIZER.encode("a", 1)


def test_cleaning() -> None:
    assert clean_text("A\tcat&#39;s\n LIFE") == "a cat's life"
    assert clean_text("e\u0301") == "\u00e9"  # one letter, however it is written
