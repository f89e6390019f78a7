"""LAFF's text features: words, vocabularies, GRU and NetVLAD against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.learn.encoders.text_features import (
    STOP_WORDS,
    GRUText,
    NetVLAD,
    Vocabulary,
    bag_of_words,
    mean_word_vector,
    pad_numbers,
    words_of,
)


@given(st.text(max_size=40))
def test_words_are_lower_case_ascii(caption: str) -> None:
    for word in words_of(caption):
        assert word and word.isascii() and word.isalnum() and word == word.lower()
    assert not STOP_WORDS & set(words_of(caption, stop_words=STOP_WORDS))


def test_rare_words_stay_out_of_the_vocabulary() -> None:
    sentences = [["dog"]] * 5 + [["cat"]] * 4
    assert Vocabulary.build(sentences).words == ("dog",)
    special = Vocabulary.build(sentences, special=True)
    assert len(special) == 5
    assert special.encode(["dog", "cat"]) == [1, 4, 3, 2]
    with pytest.raises(UsageError, match="occurs twice"):
        Vocabulary(("a", "a"))


def test_counts_and_means_are_per_sentence() -> None:
    vocabulary = Vocabulary(("a", "b"))
    table = {"a": np.ones(3), "b": np.full(3, 3.0)}
    sentences = [["a", "a", "b", "z"], []]
    assert bag_of_words(sentences, vocabulary).tolist() == [[2.0, 1.0], [0.0, 0.0]]
    means = mean_word_vector(sentences, table, 3)
    assert means.tolist() == [[2.0] * 3, [0.0] * 3]


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 3))
def test_gru_is_the_mean_state_of_each_sentence_alone(lengths: list[int], extra: int) -> None:
    torch.manual_seed(0)
    gru = GRUText(12, 4, 6)
    sentences = [[1 + (i + j) % 11 for j in range(n)] for i, n in enumerate(lengths)]
    numbers, mask = pad_numbers(sentences)
    numbers = torch.nn.functional.pad(numbers, (0, extra), value=9)
    mask = torch.nn.functional.pad(mask, (0, extra))
    together = gru(numbers, mask)
    for row, sentence in enumerate(sentences):
        states, _ = gru.gru(gru.embedding(torch.tensor([sentence])))
        torch.testing.assert_close(together[row], states[0].mean(dim=0))


def test_gru_starts_from_word_vectors() -> None:
    gru = GRUText(3, 2, 4)
    known = gru.start_from(Vocabulary(("<pad>", "dog", "cat")), {"dog": np.array([7.0, 8.0])})
    assert known == 1
    assert gru.embedding.weight[1].tolist() == [7.0, 8.0]
    assert gru.embedding.weight[[0, 2]].abs().max() <= 1.0


@torch.no_grad()
def test_netvlad_is_the_loop() -> None:
    torch.manual_seed(1)
    block, words = NetVLAD(5, 3), torch.randn(4, 5)
    expected = torch.zeros(3, 5)
    for word in words / words.norm(dim=1, keepdim=True):
        shares = torch.softmax(block.assign.weight @ word, dim=0)
        for c in range(3):
            expected[c] += shares[c] * (word - block.centres[c])
    expected = expected / expected.norm(dim=1, keepdim=True)
    expected = expected.flatten() / expected.norm()
    padded = torch.cat([words, torch.full((2, 5), 3.0)])[None]
    mask = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(block(padded, mask)[0], expected)
