"""LAFF's text features: words, vocabulary, bag of words, word2vec, GRU and NetVLAD.

Own implementation of what the released LAFF code computes (ruc-aimc-lab/laff): each function
says where a detail is the code's. Shapes: B sentences, W words, D embedding size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from finecut.errors import UsageError

SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unk>")

# The older NLTK English list with the stumps that contractions leave once split at "'".
_STOP_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she
her hers herself it its itself they them their theirs themselves what which who whom this that
these those am is are was were be been being have has had having do does did doing a an the and
but if or because as until while of at by for with about against between into through during
before after above below to from up down in out on off over under again further then once here
there when where why how all any both each few more most other some such no nor not only own
same so than too very s t can will just don should now d ll m o re ve y ain aren couldn didn
doesn hadn hasn haven isn ma mightn mustn needn shan shouldn wasn weren won wouldn
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words_of(caption: str, *, stop_words: frozenset[str] = frozenset()) -> list[str]:
    """Lower-case runs of A-Z, a-z, 0-9; everything else is a space. Stop words dropped if given.

    >>> words_of("Don't stop -- it's 2 o'clock!")
    ['don', 't', 'stop', 'it', 's', '2', 'o', 'clock']
    >>> words_of("Someone's slicing tomatoes on a board", stop_words=STOP_WORDS)
    ['someone', 'slicing', 'tomatoes', 'board']
    """
    words = re.sub(r"[^A-Za-z0-9]", " ", caption).lower().split()
    return [word for word in words if word not in stop_words]


@dataclass(frozen=True)
class Vocabulary:
    """Words in order; a word's place is its number."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_number", {word: i for i, word in enumerate(self.words)})
        if len(self._number) != len(self.words):  # type: ignore[attr-defined]
            raise UsageError("Vocabulary: a word occurs twice; expected distinct words.")

    @classmethod
    def build(
        cls, sentences: Iterable[Sequence[str]], *, min_count: int = 5, special: bool = False
    ) -> Vocabulary:
        """Words that occur ``min_count`` times or more, most frequent first, then by appearance.

        Args:
            sentences: words of each training caption.
            min_count: 5 in the released code.
            special: put <pad>, <start>, <end>, <unk> in front (the GRU's vocabulary).

        >>> Vocabulary.build([["b", "a"], ["a"], ["c"]], min_count=1).words
        ('a', 'b', 'c')
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = [word for word, count in counts.most_common() if count >= min_count]
        return cls((*(SPECIAL_WORDS if special else ()), *kept))

    def __len__(self) -> int:
        return len(self.words)

    def get(self, word: str, default: int | None = None) -> int | None:
        """Number of the word, or ``default``."""
        return self._number.get(word, default)  # type: ignore[attr-defined]

    def encode(self, words: Sequence[str]) -> list[int]:
        """<start>, the words (<unk> where unknown), <end>: the GRU's input.

        >>> Vocabulary((*SPECIAL_WORDS, "dog")).encode(["dog", "cat"])
        [1, 4, 3, 2]
        """
        unknown = self._number["<unk>"]  # type: ignore[attr-defined]
        numbers = [self._number.get(word, unknown) for word in words]  # type: ignore[attr-defined]
        return [self._number["<start>"], *numbers, self._number["<end>"]]  # type: ignore[attr-defined]


def bag_of_words(sentences: Sequence[Sequence[str]], vocabulary: Vocabulary) -> NDArray[np.float64]:
    """[B, vocabulary] counts, not normalised; unknown words count nowhere.

    >>> bag_of_words([["dog", "dog", "cow"]], Vocabulary(("cat", "dog"))).tolist()
    [[0.0, 2.0]]
    """
    counts = np.zeros((len(sentences), len(vocabulary)))
    for row, sentence in enumerate(sentences):
        for word in sentence:
            number = vocabulary.get(word)
            if number is not None:
                counts[row, number] += 1
    return counts


def mean_word_vector(
    sentences: Sequence[Sequence[str]], vectors: Mapping[str, NDArray], dim: int
) -> NDArray[np.float64]:
    """[B, dim]: mean vector of the *distinct* known words; zeros where none is known.

    The released reader takes a set of names, so a repeated word counts once.

    >>> table = {"dog": np.array([2.0, 0.0]), "cat": np.array([0.0, 4.0])}
    >>> mean_word_vector([["dog", "dog", "cat", "cow"], ["cow"]], table, 2).tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    means = np.zeros((len(sentences), dim))
    for row, sentence in enumerate(sentences):
        known = [vectors[word] for word in dict.fromkeys(sentence) if word in vectors]
        if known:
            means[row] = np.mean(known, axis=0)
    return means


def pad_numbers(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Word numbers [B, W] int64, padded with 0, and mask [B, W] bool: what the GRU takes."""
    longest = max(map(len, sentences))
    numbers = torch.zeros(len(sentences), longest, dtype=torch.long)
    mask = torch.zeros(len(sentences), longest, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        numbers[row, : len(sentence)] = torch.tensor(sentence, dtype=torch.long)
        mask[row, : len(sentence)] = True
    return numbers, mask


class GRUText(nn.Module):
    """Sentence as the mean, over its words, of a one-layer GRU's states; trained with LAFF."""

    def __init__(self, vocabulary_size: int, embed_dim: int = 500, hidden_dim: int = 1024) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embed_dim)
        self.gru = nn.GRU(embed_dim, hidden_dim, batch_first=True)

    def start_from(
        self, vocabulary: Vocabulary, vectors: Mapping[str, NDArray], seed: int = 2
    ) -> int:
        """Fill the embedding from word2vec; unknown words uniform in [-1, 1]. Returns how many
        were known."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.embedding.weight.shape
        table = torch.rand(shape, generator=generator) * 2 - 1
        known = 0
        for number, word in enumerate(vocabulary.words):
            if word in vectors:
                table[number] = torch.as_tensor(np.asarray(vectors[word]), dtype=table.dtype)
                known += 1
        with torch.no_grad():
            self.embedding.weight.copy_(table)
        return known

    def forward(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """numbers [B, W] int64, mask [B, W] bool, real words first -> [B, hidden]."""
        lengths = mask.sum(dim=1)
        packed = pack_padded_sequence(
            self.embedding(numbers), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)  # padding is 0
        return states.sum(dim=1) / lengths[:, None]


class NetVLAD(nn.Module):
    """Sentence as residuals of its word vectors to learned centres, [B, clusters * D].

    Plain softmax of a bias-free Linear on unit-length words; per-cluster, then whole unit length.
    """

    def __init__(self, dim: int, clusters: int = 32) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(clusters, dim))
        self.assign = nn.Linear(dim, clusters, bias=False)

    def forward(self, word_embeds: Tensor, word_mask: Tensor) -> Tensor:
        """word_embeds [B, W, D], word_mask [B, W] bool -> [B, clusters * D]."""
        words = nn.functional.normalize(word_embeds, dim=-1)
        shares = self.assign(words).softmax(dim=-1) * word_mask[..., None]  # [B, W, C]
        summed = torch.einsum("bwc,bwd->bcd", shares, words)
        residuals = summed - shares.sum(dim=1)[..., None] * self.centres  # [B, C, D]
        residuals = nn.functional.normalize(residuals, dim=-1).flatten(1)
        return nn.functional.normalize(residuals, dim=-1)
