"""A retrieval benchmark as read from its published files: videos, captions, and which test it is.

Readers (one file per family of formats beside this one) turn the published annotation files,
unchanged, into a `Benchmark`; nothing of a format is known beyond its reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finecut.errors import FinecutError

# single: one sentence per video. multi: every sentence is a query, v2t takes a video's best
# sentence. paragraph: a video's sentences joined into one text.
Protocol = Literal["single", "multi", "paragraph"]

MAX_ANNOTATION_BYTES = 2 << 30  # the largest published file (HowTo100M captions aside) is 0.3 GB


class AnnotationError(FinecutError):
    """An annotation file that is missing, broken, or not of the format it should be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class CaptionedVideo:
    """One item of the gallery with its sentences.

    ``video`` is the file's name as published, with or without extension; where the published
    loaders look into folders it holds them too. ``start_s``/``end_s`` cut a stretch out of it
    (end None: to the end). ``moments`` are the sentences' own times, one [start, end) a sentence.
    ``frames`` names stills in the place of a video file.
    """

    video_id: str
    video: str
    captions: tuple[str, ...]
    start_s: float = 0.0
    end_s: float | None = None
    moments: tuple[tuple[float, float], ...] | None = None
    frames: tuple[str, ...] = ()  # stills in order, where the item is no video file

    def __post_init__(self) -> None:
        if self.moments is not None and len(self.moments) != len(self.captions):
            raise AnnotationError(
                f"{self.video_id}: {len(self.captions)} captions but {len(self.moments)} times."
            )


@dataclass(frozen=True)
class Benchmark:
    """One split of one benchmark, in the published order.

    ``published`` are the split's (videos, sentences) as published, None where nobody states them.
    ``notes`` say what the reader had to skip or mend, for people.
    """

    name: str
    split: str
    protocol: Protocol
    items: tuple[CaptionedVideo, ...]
    source: tuple[Path, ...]
    published: tuple[int | None, int | None] = (None, None)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.items:
            if item.video_id in seen:
                raise AnnotationError(
                    f"{self.name} {self.split}: the video {item.video_id!r} is there twice; "
                    "one item holds all of its sentences."
                )
            seen.add(item.video_id)

    @property
    def n_videos(self) -> int:
        return len(self.items)

    @property
    def n_captions(self) -> int:
        return sum(len(item.captions) for item in self.items)

    def pairs(self) -> list[tuple[int, str]]:
        """(row of the video, sentence) of every pair, in order; a paragraph is one sentence.

        >>> a = CaptionedVideo("a", "a.mp4", ("one", "two"))
        >>> Benchmark("x", "test", "multi", (a,), ()).pairs()
        [(0, 'one'), (0, 'two')]
        >>> Benchmark("x", "test", "paragraph", (a,), ()).pairs()
        [(0, 'one two')]
        """
        if self.protocol == "paragraph":
            return [(row, " ".join(item.captions)) for row, item in enumerate(self.items)]
        return [(row, text) for row, item in enumerate(self.items) for text in item.captions]


def grouped(
    rows: Iterable[tuple[str, str, str]],
) -> tuple[CaptionedVideo, ...]:
    """Rows (video id, file, caption) to one item per video, first appearance first.

    Captions keep their order; empty ones are dropped (a sentence without words asks nothing).
    """
    files: dict[str, str] = {}
    captions: dict[str, list[str]] = {}
    for video_id, file, caption in rows:
        files.setdefault(video_id, file)
        text = " ".join(caption.split())
        kept = captions.setdefault(video_id, [])
        if text:
            kept.append(text)
    return tuple(
        CaptionedVideo(video_id, file, tuple(captions[video_id]))
        for video_id, file in files.items()
    )
