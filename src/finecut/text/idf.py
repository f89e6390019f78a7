"""Inverse document frequency of words in training captions: how telling a word is.

idf(w) = ln(|D| / (1 + captions that contain w)), TACo appendix A. Where the article is silent:
words of no training caption get ln |D|, words of almost every caption are clamped at 0.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from finecut.errors import UsageError


class Word(NamedTuple):
    """A word of a caption, its part-of-speech tag and the sub-word pieces it is cut into."""

    word: str
    tag: str
    pieces: Sequence[str]


@dataclass(frozen=True)
class IdfTable:
    """Number of captions, and for each word how many of them contain it."""

    captions: int
    counts: dict[str, int]

    def __post_init__(self) -> None:
        if self.captions < 1:
            raise UsageError("IdfTable: no caption; expected the training captions.")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]]) -> IdfTable:
        """From the words of each training caption; a word counts once per caption.

        >>> table = IdfTable.build([["a", "dog", "runs"], ["a", "dog"], ["a", "cat"], ["a", "a"]])
        >>> round(table.idf("cat"), 4), table.idf("a"), round(table.idf("unseen"), 4)
        (0.6931, 0.0, 1.3863)
        """
        counts: Counter[str] = Counter()
        total = 0
        for words in captions:
            counts.update({word.lower() for word in words})
            total += 1
        return cls(total, dict(counts))

    def idf(self, word: str) -> float:
        """ln(|D| / (1 + count)), at least 0; case does not matter."""
        # for an unseen word the formula gives ln(|D| / 1), the rule above
        return max(0.0, math.log(self.captions / (1 + self.counts.get(word.lower(), 0))))

    def piece_weights(
        self, words: Sequence[Word], tags: frozenset[str] = frozenset({"NOUN", "VERB"})
    ) -> list[float]:
        """Weight of each sub-word piece: its word's idf if the tag is of interest, else 0.

        >>> table = IdfTable(4, {"dog": 1})
        >>> words = [Word("a", "DET", ["a"]), Word("gymnast", "NOUN", ["gym", "##nast"])]
        >>> [round(w, 4) for w in table.piece_weights(words)]
        [0.0, 1.3863, 1.3863]
        """
        return [
            self.idf(word.word) if word.tag in tags else 0.0 for word in words for _ in word.pieces
        ]

    def save(self, path: Path | str) -> None:
        """Write the table as JSON."""
        body = {"captions": self.captions, "counts": self.counts}
        Path(path).write_text(json.dumps(body, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, path: Path | str) -> IdfTable:
        """Read what ``save`` wrote.

        Raises:
            UsageError: the file is not an IDF table.
        """
        try:
            body = json.loads(Path(path).read_text("utf-8"))
            counts = {str(word): int(count) for word, count in body["counts"].items()}
            return cls(int(body["captions"]), counts)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise UsageError(f"{path}: not an IDF table ({problem}).") from None


def sum_to_one(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum; all zero where none is positive.

    >>> sum_to_one([1.0, 0.0, 3.0])
    [0.25, 0.0, 0.75]
    """
    total = sum(weights)
    return [weight / total for weight in weights] if total > 0 else [0.0] * len(weights)
