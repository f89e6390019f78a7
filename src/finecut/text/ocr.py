"""Words on the screen, by RapidOCR: frames whose text has not changed are not read again."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finecut.errors import MissingDependency
from finecut.text.subtitles import LONGEST_CUE, plain_words
from finecut.text.terms import sequence

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERIOD_S = 1.0  # between frames that are looked at
MAX_SIDE = 960  # pixels; text that matters is legible at this size
SURE = 0.6  # confidence of a line from which it is taken
STROKE = 28  # of 255: from one pixel to the next, the edge of a letter
CELL = 12  # pixels; the picture is compared cell by cell
BUSY = 0.14  # of a cell's pixels on edges: there may be text
MOVED = 0.10  # of a cell's pixels that are edges in one frame and not in the other
CHANGED_PART = 0.06  # of the busy cells that changed, from which a frame is read
CHANGED_CELLS = 3
EMPTY_READS = 5  # in a row without a word, after which every other frame is looked at
SAME_TEXT = 0.8  # likeness of two readings of one screen

Reader = Callable[["NDArray[np.uint8]"], Sequence[tuple[str, float]]]
"""Lines of a picture [height, width, 3] RGB, top to bottom, each with a confidence 0 to 1."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Words on screen for a while, [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str


@dataclass(slots=True)
class ScreenStats:
    """How many frames there were, and how many of them had to be read."""

    frames: int = 0
    read: int = 0


@dataclass(slots=True)
class ScreenReader:
    """Told pictures of a video in order, gathers what is written on them.

    Args:
        reader: reads one picture; RapidOCR by default.
    """

    reader: Reader
    stats: ScreenStats = field(default_factory=ScreenStats)
    screens: list[Screen] = field(default_factory=list)
    _edges: NDArray[np.bool_] | None = None  # of the picture that was read last
    _text: str = ""
    _since_s: float = 0.0
    _empty: int = 0

    def add(self, time_s: float, picture: NDArray[np.uint8]) -> None:
        """Take the next picture, [height, width, 3] RGB."""
        self.stats.frames += 1
        if self._empty >= EMPTY_READS and self.stats.frames % 2:
            return
        edges = _edges(picture)
        if self._edges is not None and not _text_changed(self._edges, edges):
            return
        self._edges = edges
        self.stats.read += 1
        text = _joined(self.reader(picture))
        self._empty = 0 if text else self._empty + 1
        if _alike(text, self._text):
            # The same words; of two readings the longer one has lost less.
            self._text = max(text, self._text, key=len)
            return
        self._end(time_s)
        self._text, self._since_s = text, time_s

    def finish(self, end_s: float) -> list[Screen]:
        """Everything read; ``end_s`` is the end of the video."""
        self._end(end_s)
        self._text = ""
        return self.screens

    def _end(self, end_s: float) -> None:
        if self._text and end_s > self._since_s:
            self.screens.append(Screen(self._since_s, end_s, self._text))


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where brightness leaps from a pixel to its neighbour, [height, width - 1]."""
    green = picture[..., 1].astype(np.int16)
    return np.abs(np.diff(green, axis=1)) > STROKE


def _by_cell(marks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The part of each cell's pixels that are marked, [rows, columns]."""
    rows, columns = (max(1, size // CELL) for size in marks.shape)
    whole = np.zeros((rows * CELL, columns * CELL), np.float32)
    part = marks[: rows * CELL, : columns * CELL]
    whole[: part.shape[0], : part.shape[1]] = part
    return whole.reshape(rows, CELL, columns, CELL).mean((1, 3))


def _text_changed(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> bool:
    """Whether anything changed where there may be text."""
    if before.shape != now.shape:
        return True
    busy = np.maximum(_by_cell(before), _by_cell(now)) > BUSY
    changed = busy & (_by_cell(before ^ now) > MOVED)
    return int(changed.sum()) > max(CHANGED_CELLS, CHANGED_PART * int(busy.sum()))


def _joined(lines: Sequence[tuple[str, float]]) -> str:
    sure = [plain_words(text) for text, confidence in lines if confidence >= SURE]
    return " / ".join(line for line in sure if any(map(str.isalnum, line)))[:LONGEST_CUE]


def _alike(one: str, other: str) -> bool:
    if one == other or not one or not other:
        return one == other
    terms = sequence(one), sequence(other)
    return difflib.SequenceMatcher(None, *terms, autojunk=False).ratio() >= SAME_TEXT


def check_ocr() -> None:
    """Raise MissingDependency where RapidOCR is not installed."""
    try:
        import rapidocr_onnxruntime  # noqa: F401
    except ImportError as error:
        # It may be there and not load: OpenCV, which it uses, needs libGL of the system.
        raise MissingDependency(
            "Reading what is on the screen needs RapidOCR: pip install 'finecut[ocr]', and of the "
            f"system libGL (Debian: apt install libgl1). Got: {error}."
        ) from error


def rapid_reader() -> Reader:
    """RapidOCR with the models of its wheel (Chinese and English), on one thread.

    Raises:
        MissingDependency: it is not installed.
    """
    check_ocr()
    engine = _engine()

    def read(picture: NDArray[np.uint8]) -> list[tuple[str, float]]:
        found, _ = engine(np.ascontiguousarray(_enlarged(picture)[..., ::-1]))  # it takes BGR
        return [(str(text), float(confidence)) for _, text, confidence in found or ()]

    return read


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small picture at full size: in small print the model overlooks the spaces between words."""
    height, width = picture.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale <= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


@cache
def _engine() -> Any:
    import logging

    from rapidocr_onnxruntime import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        use_cls=False,  # upside-down text is rare, and looking for it costs a sixth
        det_limit_type="max",
        det_limit_side_len=MAX_SIDE,
    )
