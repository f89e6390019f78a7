"""What a run learns of ready-made features before it trains: steps of each, and vocabularies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finecut.errors import ShapeError, UsageError
from finecut.learn.data.bigfile import BigFile
from finecut.learn.data.feature_files import FeatureSplit, Table
from finecut.learn.data.feature_regression import Regression, predictions_of_others
from finecut.learn.data.feature_steps import Chain, Step, check_finite, parse_steps
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
from finecut.learn.methods.blocks import unit
from finecut.learn.recipe import expand

ARRAYS, WORDS = "features.safetensors", "feature_words.json"
_PREDICTS = "predicts."


@dataclass(frozen=True, slots=True)
class Source:
    """Where one feature comes from: a file, or (sentences only) the words."""

    file: str | None = None
    steps: tuple[str, ...] = ()
    level: Literal["video", "frames"] = "video"
    predicts: str | None = None  # videos: regression onto this sentence feature, after the steps
    words: Literal["bow", "w2v", "gru"] | None = None
    vectors: str | None = None  # BigFile of word vectors: all of w2v, the GRU's first embedding
    min_count: int = 5  # of a word in the training sentences, to be in the vocabulary (released)
    stop_words: bool = True  # bow and w2v leave them out ("_nsw" in the released configs)

    def __post_init__(self) -> None:
        if (self.file is None) == (self.words is None):
            raise UsageError("exactly one of file and words must be given.")
        if self.words and (self.steps or self.level != "video" or self.predicts):
            raise UsageError("a feature made of words takes no steps, level or predicts.")
        if self.words == "w2v" and not self.vectors:
            raise UsageError("words = 'w2v' needs vectors, a BigFile of word vectors.")
        if self.level == "frames" and (self.steps or self.predicts):
            raise UsageError("frame-level features take no steps and predict nothing.")


@dataclass(frozen=True, slots=True)
class Sources:
    """The table [data.features]."""

    video: Mapping[str, Source] = field(default_factory=dict)
    text: Mapping[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.video:
            raise UsageError("video names no feature; expected one at least.")
        for name, source in self.video.items():
            if source.words:
                raise UsageError(f"video.{name}: a video has no words; give a file.")
            target = None if source.predicts is None else self.text.get(source.predicts)
            if source.predicts and (target is None or not target.file):
                raise UsageError(
                    f"video.{name} predicts {source.predicts!r}, which is no sentence feature with "
                    f"a file; there are {sorted(self.text)}."
                )
        if any(source.predicts for source in self.text.values()):
            raise UsageError("predicts is for video features only.")

    def with_steps(self) -> Iterator[tuple[str, Source, tuple[Step, ...]]]:
        """("video.name", source, steps) of every feature that is prepared once and kept.

        Raises:
            UsageError: a step that is not known.
        """
        for side, table in (("text", self.text), ("video", self.video)):
            for name, source in table.items():
                if source.steps or source.predicts:
                    where = f"{side}.{name}"
                    yield where, source, parse_steps(source.steps, f"[data.features.{where}] steps")


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
        return as_tensor(self.table(side, file)[kept[rows]], f"{self.split}, {file}")

    def all_rows(self, side: str, file: str) -> Tensor:
        """[G, d] or [Q, d] float32, all of the part."""
        kept = self.videos if side == "video" else self.texts
        return as_tensor(self.table(side, file)[kept], f"{self.split}, {file}")


class Preparation:
    """What training learnt of the features: chains of steps, regressions and vocabularies."""

    def __init__(
        self,
        sources: Sources,
        chains: dict[str, Chain],
        regressions: dict[str, Regression],
        words: dict[str, Vocabulary],
    ) -> None:
        self.sources, self.words = sources, words
        self.chains, self.regressions = chains, regressions  # by "video.name", "text.name"
        self.vectors = {
            name: BigFile(expand(source.vectors))
            for name, source in sources.text.items()
            if source.vectors
        }

    @classmethod
    def learn(
        cls, sources: Sources, part: Part, seed: int
    ) -> tuple[Preparation, dict[str, Tensor]]:
        """All that is to be learnt, and the prepared features of the training part itself.

        The latter are what applying the former gives, but for regressions: those are of other
        videos (``predictions_of_others``).
        """
        chains, regressions, words = {}, {}, {}
        kept: dict[str, Tensor] = {}
        for where, source, steps in sources.with_steps():
            rows = part.all_rows(where.partition(".")[0], source.file or "")
            chains[where] = Chain.learn(steps, rows)
            kept[where] = chains[where](rows)
            if source.predicts:
                targets, captioned = _centres(part, sources, kept, source.predicts)
                known = kept[where][captioned]
                regressions[where] = Regression.learn(known, targets, seed)
                prediction = regressions[where](kept[where])
                prediction[captioned] = predictions_of_others(known, targets, seed)
                kept[where] = prediction
        for name, source in sources.text.items():
            if source.words in ("bow", "gru"):
                need_sentences(part, f"text.{name}")
                words[name] = Vocabulary.build(
                    [_words(sentence, source) for sentence in part.sentences],
                    min_count=source.min_count,
                    special=source.words == "gru",
                )
        return cls(sources, chains, regressions, words), kept

    def prepare(self, part: Part) -> dict[str, Tensor]:
        """The features with steps of another part, by "video.name", "text.name".

        Raises:
            ShapeError: rows that are not what training learnt from.
        """
        kept = {}
        for where, source, _ in self.sources.with_steps():
            rows = part.all_rows(where.partition(".")[0], source.file or "")
            try:
                kept[where] = self.chains[where](rows)
                if where in self.regressions:
                    kept[where] = self.regressions[where](kept[where])
            except ShapeError as error:
                raise ShapeError(f"{part.split}, {source.file}: {error}") from error
        return kept

    def save(self, folder: Path) -> None:
        """Write all that was learnt, each file at once or not at all."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{where}.{key}": value
            for where, chain in self.chains.items()
            for key, value in chain.tensors()
        }
        for where, regression in self.regressions.items():
            arrays |= {f"{where}.{_PREDICTS}{k}": v for k, v in regression.tensors().items()}
        beside = folder / f".{ARRAYS}.{os.getpid()}"
        save_file({name: value.contiguous() for name, value in arrays.items()}, beside)
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
        chains, regressions = {}, {}
        for where, source, steps in sources.with_steps():
            chains[where] = Chain.of(steps, _below(arrays, f"{where}."))
            if source.predicts:
                regressions[where] = Regression.of(_below(arrays, f"{where}.{_PREDICTS}"))
        stored = read_json(folder / WORDS)
        lists = isinstance(stored, dict) and all(isinstance(e, list) for e in stored.values())
        if not lists:
            raise UsageError(f"{folder / WORDS} holds no vocabularies; train the run again.")
        words = {name: Vocabulary(tuple(map(str, each))) for name, each in stored.items()}
        needed = {n for n, s in sources.text.items() if s.words in ("bow", "gru")}
        if needed - words.keys():
            lacking = sorted(needed - words.keys())
            raise UsageError(f"{folder / WORDS} has no vocabulary of {lacking}.")
        return cls(sources, chains, regressions, words)

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


def _centres(
    part: Part, sources: Sources, kept: Mapping[str, Tensor], name: str
) -> tuple[Tensor, Tensor]:
    """Unit mean [N, T] of the sentences of each video that has any, and those videos' rows [N]."""
    sentences = kept.get(f"text.{name}")
    if sentences is None:
        sentences = part.all_rows("text", sources.text[name].file or "")
    owners = torch.from_numpy(part.video_of_text)
    sums = torch.zeros(len(part.videos), sentences.shape[1]).index_add_(0, owners, sentences)
    captioned = owners.unique()
    return unit(sums[captioned]), captioned


def _below(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def need_sentences(part: Part, what: str) -> None:
    if not any(part.sentences):
        raise UsageError(
            f"{what} needs the sentences themselves; {part.whole.name} {part.split} holds only "
            "numbers of them."
        )


def _words(sentence: str, source: Source) -> list[str]:
    leave_out = source.stop_words and source.words != "gru"
    return words_of(sentence, stop_words=STOP_WORDS if leave_out else frozenset())


def as_tensor(rows: NDArray, where: str) -> Tensor:
    """Rows as float32.

    Raises:
        ShapeError: numbers that are not finite: a bounded transform would make ranks of them.
    """
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity
        found = torch.from_numpy(np.array(rows, np.float32))
    try:
        check_finite(found)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from error
    return found
