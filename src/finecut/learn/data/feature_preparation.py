"""What a run learns of ready-made features before it trains: steps of each, and vocabularies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.data.bigfile import BigFile
from finecut.learn.data.feature_files import FeatureSplit, Table
from finecut.learn.data.feature_steps import Chain, parse_steps
from finecut.learn.data.files import read_json
from finecut.learn.encoders.text_features import (
    STOP_WORDS,
    Vocabulary,
    bag_of_words,
    mean_word_vector,
    pad_numbers,
    words_of,
)
from finecut.learn.inputs.state import write_text_state
from finecut.learn.recipe import expand

ARRAYS, WORDS = "features.safetensors", "feature_words.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one feature comes from: a file, or (sentences only) the words."""

    file: str | None = None
    steps: tuple[str, ...] = ()
    level: Literal["video", "frames"] = "video"
    words: Literal["bow", "w2v", "gru"] | None = None
    vectors: str | None = None  # BigFile of word vectors: all of w2v, the GRU's first embedding
    min_count: int = 5  # of a word in the training sentences, to be in the vocabulary (released)
    stop_words: bool = True  # bow and w2v leave them out ("_nsw" in the released configs)

    def __post_init__(self) -> None:
        if (self.file is None) == (self.words is None):
            raise UsageError("exactly one of file and words must be given.")
        if self.words and (self.steps or self.level != "video"):
            raise UsageError("a feature made of words takes no steps and no level.")
        if self.words == "w2v" and not self.vectors:
            raise UsageError("words = 'w2v' needs vectors, a BigFile of word vectors.")
        if self.level == "frames" and self.steps:
            raise UsageError("frame-level features take no steps.")


@dataclass(frozen=True, slots=True)
class Sources:
    """The table [data.features]."""

    video: Mapping[str, Source] = field(default_factory=dict)
    text: Mapping[str, Source] = field(default_factory=dict)


class Part:
    """Some videos of a split, with their sentences; rows count from 0 in the part."""

    def __init__(self, whole: FeatureSplit, kept: NDArray[np.int64], split: str) -> None:
        self.whole, self.split, self.videos = whole, split, kept
        self._tables: dict[tuple[str, str], Table] = {}
        place = np.full(len(whole.video_ids), -1)
        place[kept] = np.arange(len(kept))
        owners = place[whole.video_of_text]
        self.texts = np.flatnonzero(owners >= 0)
        self.video_of_text = owners[self.texts].astype(np.int64)
        self.video_ids = [whole.video_ids[row] for row in kept]
        self.sentences = [whole.sentences[row] for row in self.texts]

    def table(self, side: str, file: str) -> Table:
        """The whole split's table of a video-level or sentence feature, opened once.

        Raises:
            NotFound: there is none.
            ShapeError: it does not fit the split.
        """
        if (side, file) not in self._tables:
            self._tables[side, file] = getattr(self.whole, side)(file)
        return self._tables[side, file]

    def rows(self, side: str, file: str, rows: NDArray[np.int64]) -> Tensor:
        """[len(rows), d] float32 of rows of the part."""
        kept = self.videos if side == "video" else self.texts
        return as_tensor(self.table(side, file)[kept[rows]])

    def all_rows(self, side: str, file: str) -> Tensor:
        """[G, d] or [Q, d] float32, all of the part."""
        kept = self.videos if side == "video" else self.texts
        return as_tensor(self.table(side, file)[kept])


class Preparation:
    """What training learnt of the features: chains of steps, and vocabularies."""

    def __init__(
        self, sources: Sources, chains: dict[str, Chain], words: dict[str, Vocabulary]
    ) -> None:
        self.sources, self.chains, self.words = sources, chains, words
        self.vectors = {
            name: BigFile(expand(source.vectors))
            for name, source in sources.text.items()
            if source.vectors
        }

    @classmethod
    def learn(cls, sources: Sources, part: Part) -> Preparation:
        chains, words = {}, {}
        for side, table in (("video", sources.video), ("text", sources.text)):
            for name, source in table.items():
                where = f"{side}.{name}"
                steps = parse_steps(source.steps, f"[data.features.{where}] steps")
                if steps and source.file:
                    chains[where] = Chain.learn(steps, part.all_rows(side, source.file))
                if source.words in ("bow", "gru"):
                    is_gru = source.words == "gru"
                    need_sentences(part, where)
                    sentences = [_words(s, source) for s in part.sentences]
                    words[name] = Vocabulary.build(
                        sentences, min_count=source.min_count, special=is_gru
                    )
        return cls(sources, chains, words)

    def save(self, folder: Path) -> None:
        """Write all that was learnt, each file at once or not at all."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{where}.{key}": value.contiguous()
            for where, chain in self.chains.items()
            for key, value in chain.tensors()
        }
        beside = folder / f".{ARRAYS}.{os.getpid()}"
        save_file(arrays, beside)
        os.replace(beside, folder / ARRAYS)
        vocabularies = {name: list(words.words) for name, words in self.words.items()}
        write_text_state(folder / WORDS, json.dumps(vocabularies, ensure_ascii=False))

    @classmethod
    def load(cls, sources: Sources, folder: Path) -> Preparation:
        """What ``save`` wrote.

        Raises:
            UsageError: it is not there, or of other features.
        """
        from finecut.learn.checkpoint import read_tensors

        if not (folder / ARRAYS).is_file() or not (folder / WORDS).is_file():
            raise UsageError(
                f"{folder} lacks {ARRAYS} or {WORDS}: the run's state of its features is "
                "incomplete; train it again."
            )
        arrays = read_tensors(folder / ARRAYS)
        chains = {}
        for side, table in (("video", sources.video), ("text", sources.text)):
            for name, source in table.items():
                where = f"{side}.{name}"
                steps = parse_steps(source.steps, f"[data.features.{where}] steps")
                if steps:
                    own = {
                        key.removeprefix(f"{where}."): value
                        for key, value in arrays.items()
                        if key.startswith(f"{where}.")
                    }
                    chains[where] = Chain.of(steps, own)
        stored = read_json(folder / WORDS)
        if not isinstance(stored, dict):
            raise UsageError(f"{folder / WORDS} holds no vocabularies; train the run again.")
        words = {name: Vocabulary(tuple(map(str, each))) for name, each in stored.items()}
        needed = {n for n, s in sources.text.items() if s.words in ("bow", "gru")}
        if needed - words.keys():
            raise UsageError(
                f"{folder / WORDS} has no vocabulary of {sorted(needed - set(words))}."
            )
        return cls(sources, chains, words)

    def of_words(self, name: str, source: Source, sentences: Sequence[str]) -> Any:
        """A feature made of words: [B, d], or the GRU's (numbers [B, W], mask [B, W])."""
        split = [_words(sentence, source) for sentence in sentences]
        if source.words == "gru":
            return pad_numbers([self.words[name].encode(words) for words in split])
        if source.words == "bow":
            counts = bag_of_words(split, self.words[name])
        else:
            counts = mean_word_vector(split, self.vectors[name], self.vectors[name].dim)
        return torch.from_numpy(counts).float()


def need_sentences(part: Part, what: str) -> None:
    if not any(part.sentences):
        raise UsageError(
            f"{what} needs the sentences themselves; {part.whole.name} {part.split} holds only "
            "numbers of them."
        )


def _words(sentence: str, source: Source) -> list[str]:
    leave_out = source.stop_words and source.words != "gru"
    return words_of(sentence, stop_words=STOP_WORDS if leave_out else frozenset())


def as_tensor(rows: NDArray) -> Tensor:
    return torch.from_numpy(np.array(rows, np.float32))
