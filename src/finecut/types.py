"""Value types that cross the borders between finecut's parts.

Letters of shapes, always in this order: Q queries, G gallery, K candidates, F frames, P patches
per frame, W words, D embedding size, R recall-vector size. Times are seconds from the first shown
frame; intervals are ``[start_s, end_s)``. Arrays check themselves and print as shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_shape(
    sizes: dict[str, int] | None = None, /, **arrays: tuple[NDArray[Any], str]
) -> dict[str, int]:
    """Check named arrays against shapes like ``"G F D"``; one letter is one size throughout.

    Args:
        sizes: sizes already known, by letter.
        **arrays: name -> (array, shape). A number in the shape is that very size.

    Returns: every letter with its size.
    Raises:
        ShapeError: an array has another number of axes, or a letter two sizes.

    >>> check_shape(a=(np.zeros((2, 3)), "F D"), b=(np.zeros(3), "D"))
    {'F': 2, 'D': 3}
    """
    known = dict(sizes or {})
    for name, (array, shape) in arrays.items():
        letters = shape.split()
        if array.ndim != len(letters):
            raise ShapeError(
                f"`{name}` must have the axes [{', '.join(letters)}], got the shape {array.shape}."
            )
        for letter, size in zip(letters, array.shape, strict=True):
            expected = int(letter) if letter.isdigit() else known.setdefault(letter, size)
            if size != expected:
                raise ShapeError(
                    f"`{name}` has {letter} = {size}, expected {expected} "
                    f"(shape {array.shape}, axes [{', '.join(letters)}])."
                )
    return known


def _shapes(self: Any) -> str:
    parts = []
    for name in self.__dataclass_fields__:
        item = getattr(self, name)
        if isinstance(item, np.ndarray):
            text = f"{item.dtype}[{', '.join(map(str, item.shape))}]"
        elif isinstance(item, bytes):
            text = f"<{len(item)} bytes>"
        else:
            text = repr(item)
        parts.append(f"{name}={text}")
    return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """What a container says about its (best) video stream, before any frame is decoded."""

    container: str
    codec: str
    width: int  # pixels as shown: after rotation and sample aspect ratio
    height: int
    rotation: int  # degrees clockwise that turn a decoded frame upright: 0, 90, 180, 270
    duration_s: float  # 0.0 where the container does not say
    fps: float  # average; 0.0 where unknown
    has_audio: bool
    size_bytes: int
    recorded_at: float | None = None  # Unix seconds, from the container's creation_time


@dataclass(frozen=True, slots=True, repr=False)
class DecodedClip:
    """One clip of a video, ready to encode: at most ``max_frames`` distinct frames.

    A frame that nearly repeats the one before it is not held twice; the stretch it stands for is
    ``[times[i], times[i + 1])`` (the last one ends at ``end_s``).
    """

    number: int  # 0, 1, … within the video
    start_s: float
    end_s: float
    frames: NDArray[np.uint8]  # [F, height, width, 3] RGB, upright, at the bundle's frame size
    times: NDArray[np.float64]  # [F] true presentation times, rising, in [start_s, end_s)
    strip: bytes  # JPEG: the F frames' thumbnails side by side, in the video's own aspect ratio
    strip_width: int  # pixels of one thumbnail in the strip
    strip_height: int

    def __post_init__(self) -> None:
        check_shape(frames=(self.frames, "F H W 3"), times=(self.times, "F"))
        if self.frames.dtype != np.uint8:
            raise ShapeError(f"`frames` must be uint8, got {self.frames.dtype}.")
        if not len(self.times):
            raise ShapeError(f"Clip {self.number} has no frame; a clip holds at least one.")

    __repr__ = _shapes


@dataclass(frozen=True, slots=True, repr=False)
class VideoTokens:
    """One clip as a bundle encodes it. Frame and patch tokens are unit length, float32."""

    recall: NDArray[np.float32]  # [R] what stage 1 compares, by inner product
    frames: NDArray[np.float32]  # [F, D]
    patches: NDArray[np.float32] | None = None  # [F, P, D]
    frame_values: NDArray[np.float32] | None = None  # [F, D] pooled where attention is elsewhere

    __repr__ = _shapes


@dataclass(frozen=True, slots=True, repr=False)
class TextTokens:
    """One query as a bundle encodes it."""

    recall: NDArray[np.float32]  # [R] with learned weights folded in: not always unit length
    text: NDArray[np.float32]  # [D] unit length
    words: NDArray[np.float32] | None = None  # [W, D]

    __repr__ = _shapes


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """Why a moment was found: how well each frame, and each region of the best one, matches."""

    times: NDArray[np.float64]  # [F] seconds, every frame of the moment's clips, rising
    frame_relevance: NDArray[np.float32]  # [F] in [0, 1]
    patch_relevance: NDArray[np.float32] | None = None  # [rows, columns] of the best frame, [0, 1]

    __repr__ = _shapes


@dataclass(frozen=True, slots=True)
class Reason:
    """What speaks for a moment: what is seen in it, or a text of its video."""

    channel: str  # "picture", or one of the text channels: said, shown, told, named
    score: float  # in [0, 1]: how sure the picture is, or how much of the words the text holds
    text: str = ""  # of a text channel, as it is stored
    start_s: float | None = None  # of the text within the video; None: of the whole video
    end_s: float | None = None
    source: str = ""  # where the text is from: "sidecar movie.srt", "file name"

    def __str__(self) -> str:
        if self.channel == "picture":
            return f"picture {self.score:.2f}"
        seconds = int(self.start_s or 0)
        when = "" if self.start_s is None else f" {seconds // 60}:{seconds % 60:02d}"
        shown = " ".join(self.text.split())
        return f'{self.channel}: "{shown if len(shown) <= 80 else shown[:79] + "…"}"{when}'

    def to_json(self) -> dict[str, Any]:
        """What every door shows.

        >>> Reason("picture", 0.71234).to_json()["score"]
        0.7123
        >>> str(Reason("said", 1.0, "Welcome back", 65.0, 67.5, "sidecar a.srt"))
        'said: "Welcome back" 1:05'
        """
        timed = self.start_s is not None and self.end_s is not None
        return {
            "channel": self.channel,
            "score": round(float(self.score), 4),
            "text": self.text or None,
            "source": self.source or None,
            "start_s": round(float(self.start_s or 0.0), 3) if timed else None,
            "end_s": round(float(self.end_s or 0.0), 3) if timed else None,
        }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where one step of an ordered query was found."""

    query: str
    start_s: float
    end_s: float
    best_s: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Its fields, rounded for reading."""
        return {
            "query": self.query,
            "start_s": round(float(self.start_s), 3),
            "end_s": round(float(self.end_s), 3),
            "best_s": round(float(self.best_s), 3),
            "confidence": round(float(self.confidence), 4),
        }


@dataclass(frozen=True, slots=True)
class Moment:
    """One result: a stretch of one video, best first in any list of them."""

    video: str  # a path under which the video is present now
    video_id: str
    start_s: float
    end_s: float
    best_s: float  # time of the best matching frame
    score: float  # what results are ordered by: for a sentence alone the re-rank score, or the
    # recall score without one; a chance in [0, 1] for NOT, AND and THEN; ranks fused with words
    recall_score: float
    rerank_score: float | None
    confidence: float  # in [0, 1], comparable between queries
    clip_ids: tuple[int, ...] = ()  # rows of the index, best first
    evidence: Evidence | None = field(default=None, repr=False, compare=False)
    reasons: tuple[Reason, ...] = ()  # what speaks for it, the strongest first
    steps: tuple[Stretch, ...] = ()  # of "a THEN b": where each is, in their order

    def to_json(self) -> dict[str, Any]:
        """The fields every door (Python, command line, HTTP) shows, rounded for reading.

        >>> Moment("a.mp4", "v1", 0, 2, 1, .5, .4, .5, .9).to_json()["video"]
        'a.mp4'
        """
        return {
            "video": self.video,
            "video_id": self.video_id,
            "start_s": round(float(self.start_s), 3),
            "end_s": round(float(self.end_s), 3),
            "best_s": round(float(self.best_s), 3),
            "score": round(float(self.score), 6),
            "recall_score": round(float(self.recall_score), 6),
            "rerank_score": None
            if self.rerank_score is None
            else round(float(self.rerank_score), 6),
            "confidence": round(float(self.confidence), 4),
            "reasons": [reason.to_json() for reason in self.reasons],
            "steps": [step.to_json() for step in self.steps],
        }


class Results(list[Moment]):
    """Moments, best first, with what is true of the whole answer."""

    def __init__(
        self,
        moments: Sequence[Moment] = (),
        *,
        query: str = "",
        elapsed_ms: float = 0.0,
        good_match: bool = True,
        gallery: int = 0,
        understood: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(moments)
        self.query = query
        self.elapsed_ms = elapsed_ms
        self.good_match = good_match  # False: nothing here is likely to be what was asked for
        self.gallery = gallery  # clips that were searched, after filters
        self.understood = understood or query  # the query as it was read
        self.notes = tuple(notes)  # what a person should know besides: for people, in sentences

    def to_json(self) -> dict[str, Any]:
        """The object ``finecut search --json`` prints and ``/api/v1/search`` answers with."""
        return {
            "query": self.query,
            "understood": self.understood,
            "notes": list(self.notes),
            "elapsed_ms": round(self.elapsed_ms, 3),
            "good_match": self.good_match,
            "results": [moment.to_json() for moment in self],
        }
