"""Texts of an index that answer a query: what is said, shown, told or in a name, and where.

A cue that holds a few of the words is no answer yet: what counts is the share of the query's own
words (all but little ones like "the") that are found close together in one channel of one video.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from finecut.text.terms import apart, query_terms, row_terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.store import Index
    from finecut.index.texts import TextHit
    from finecut.search.understood import SoughtStep, SoughtTerm
    from finecut.text.query_tree import Phrase

ABOUT = ("named", "told")  # channels whose texts may be about a whole video
MIN_SHARE = 0.5  # of the query's words: below it a text is no answer
_HITS = 200  # texts asked for per query and search
_NEAR_S = 2.0  # cues so close belong together
_LONGEST_S = 30.0  # of cues joined
NEVER = -700.0  # log of a chance that is none; still above the least that exp can tell from 0
SURE = 0.95  # chance that a moment is meant where all words of a sentence are heard

# Words that say nothing of what is looked for. Only English ones: a word that is missing here
# costs little, since rare words decide which texts are found.
_LITTLE_WORDS = """
a an the and or of in on at to from by with for into over under is are was were be been being am do
does did has have had it its this that these those there here he she they we you i his her their our
your my me him them us as up down out off so than then not no some someone somebody something who
which what where when how very can will would
"""
_LITTLE = frozenset(_LITTLE_WORDS.split())


@dataclass(frozen=True, slots=True)
class Told:
    """A text, or neighbouring ones, that answer a query."""

    video: int
    channel: str
    start_s: float
    end_s: float
    text: str
    source: str
    share: float  # of the query's words that it holds, in [0, 1]
    score: float  # BM25 of the best of its texts
    whole: bool = False  # it is about the video, not about a time in it


class Heard:
    """Looks texts up in one version of an index, each question once."""

    def __init__(
        self, index: Index, channels: Sequence[str], videos: NDArray[np.bool_] | None
    ) -> None:
        self.index = index
        self.channels = tuple(channels)  # those that sentences are looked for in
        self.videos = videos  # [V] that may be answered; None for all
        self._known: dict[tuple[str, tuple[str, ...], bool], list[Told]] = {}

    def words(self, sentence: str) -> list[Told]:
        """Texts that hold at least half of the sentence's words, best first in each channel."""
        return self._find(sentence, self.channels, phrase=False) if self.channels else []

    def phrase(self, phrase: Phrase) -> list[Told]:
        """Texts that hold a phrase word for word."""
        return self._find(phrase.text, phrase.channels, phrase=True)

    def _find(self, text: str, channels: tuple[str, ...], *, phrase: bool) -> list[Told]:
        key = (text, channels, phrase)
        if key not in self._known:
            there = tuple(name for name in channels if name in self.index.channels)
            hits: list[TextHit] = []
            if there:
                hits = self.index.search_text(
                    text, channels=there, k=_HITS, phrase=phrase, allowed_videos=self.videos
                )
            found = [self._alone(hit) for hit in hits]
            self._known[key] = joined(found) if phrase else told(text, found)
        return self._known[key]

    def _alone(self, hit: TextHit) -> Told:
        length = self.index.videos[hit.video].duration_s
        whole = hit.channel in ABOUT and hit.start_s <= 0 and hit.end_s >= length - _NEAR_S
        return Told(
            video=hit.video,
            channel=hit.channel,
            start_s=hit.start_s,
            end_s=hit.end_s,
            text=hit.text,
            source=hit.source,
            share=1.0,
            score=hit.score,
            whole=whole,
        )

    # -- as chances -------------------------------------------------------------------------------

    def chance(self, term: SoughtTerm, where: Where) -> NDArray[np.float64]:
        """[N] chance that a term's words are heard there: the square of the share found."""
        made = np.zeros(len(where))
        for item in self.words(term.words) if term.words else []:
            made = np.maximum(made, SURE * item.share**2 * where.during(item))
        return made

    def log_phrases(self, term: SoughtTerm, where: Where) -> NDArray[np.float64]:
        """[N] 0 where every phrase of the term is heard, else as good as never."""
        return self._log(term.phrases, where, heard=True)

    def log_unheard(self, step: SoughtStep, where: Where) -> NDArray[np.float64]:
        """[N] 0 where no phrase that is left out is heard, else as good as never."""
        return self._log(step.unheard, where, heard=False)

    def _log(self, phrases: Iterable[Phrase], where: Where, *, heard: bool) -> NDArray[np.float64]:
        made = np.zeros(len(where))
        for phrase in phrases:
            there = np.zeros(len(where), bool)
            for item in self.phrase(phrase):
                there |= where.during(item)
            made[there != heard] = NEVER
        return made

    def rows(self, step: SoughtStep) -> NDArray[np.int64]:
        """Clips during which anything of the step is heard."""
        where = Where.clips(self.index, np.arange(len(self.index.clips)))
        there = np.zeros(len(where), bool)
        for item in self.texts(step):
            there |= where.during(item)
        return np.flatnonzero(there)

    def texts(self, step: SoughtStep) -> list[Told]:
        """Everything that is heard of the step's terms, each text once."""
        found = []
        for term in step.terms:
            found += [item for phrase in term.phrases for item in self.phrase(phrase)]
            found += self.words(term.words) if term.words else []
        return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Where:
    """Stretches of videos, as columns."""

    video: NDArray[np.integer]  # [N] position among the index's videos
    start_s: NDArray[np.float64]  # [N]
    end_s: NDArray[np.float64]  # [N]

    @classmethod
    def clips(cls, index: Index, rows: NDArray[np.int64]) -> Where:
        """Where some clips are."""
        clips = index.clips
        return cls(clips.video[rows], clips.start_s[rows], clips.end_s[rows])

    def __len__(self) -> int:
        return len(self.video)

    def during(self, item: Told) -> NDArray[np.bool_]:
        """[N] whether a text overlaps them in time, or is about their video."""
        own = self.video == item.video
        if item.whole:
            return own
        return own & (self.start_s < item.end_s) & (self.end_s > item.start_s)


def telling(sentence: str) -> list[str]:
    """The terms of a sentence that say what is looked for; all of them where none does.

    >>> telling("a man is with the Dog"), telling("to be or not")
    (['man', 'dog'], ['to', 'be', 'or', 'not'])
    """
    terms = query_terms(sentence)
    return [term for term in terms if term not in _LITTLE] or terms


def told(sentence: str, texts: Sequence[Told]) -> list[Told]:
    """Texts with the share of the sentence's words they hold, neighbours of one channel joined.

    Returns: those with at least half of the words, per channel the largest share first, then BM25.
    """
    wanted = set(telling(sentence))
    found = []
    for item in joined(texts):
        # As it is indexed: of "GoldenGate2019.mp4" the parts too.
        text = f"{item.text} {apart(item.text)}" if item.channel == "named" else item.text
        held = wanted & set(row_terms(text).split())
        share = len(held) / max(1, len(wanted))
        if share >= MIN_SHARE:
            found.append(replace(item, share=share))
    return sorted(found, key=lambda item: (-item.share, -item.score, item.video, item.start_s))


def joined(items: Sequence[Told]) -> list[Told]:
    """Texts of one channel and video that follow each other at once, as one; by their score."""
    made: list[Told] = []
    in_time = sorted(items, key=lambda t: (t.video, t.channel, t.source, t.start_s, t.end_s))
    for item in in_time:
        last = made[-1] if made else None
        near = (
            last is not None
            and not item.whole
            and (last.video, last.channel, last.source) == (item.video, item.channel, item.source)
            and item.start_s - last.end_s <= _NEAR_S
            and max(item.end_s, last.end_s) - last.start_s <= _LONGEST_S
        )
        if last is not None and near:
            text = last.text if item.text in last.text else f"{last.text} {item.text}"
            made[-1] = replace(
                last,
                end_s=max(last.end_s, item.end_s),
                text=text,
                score=max(last.score, item.score),
            )
        else:
            made.append(item)
    return sorted(made, key=lambda item: (-item.score, item.video, item.start_s))
