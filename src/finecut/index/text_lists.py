"""The texts of one version of an index as plain arrays, kept beside the tables: searched and shown
without loading Lance."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.index.postings import Postings, build_postings
from finecut.index.texts import CHANNELS, STATE, TextHit, checked_channels
from finecut.text.terms import query_terms, sequence

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

HEAD = "lists.json"  # written last
ARRAYS = "lists.bin"
ALIGNED = 64  # bytes


@dataclass(frozen=True, slots=True)
class TextColumns:
    """One entry per text, in the order of the table."""

    video: NDArray[np.int32]  # [N] position in ``video_ids``
    channel: NDArray[np.uint8]  # [N] position in ``CHANNELS``
    start_s: NDArray[np.float64]  # [N]
    end_s: NDArray[np.float64]  # [N]
    source: NDArray[np.int32]  # [N] position among the sources
    language: NDArray[np.int32]  # [N] position among the languages
    text: NDArray[np.uint8]  # the UTF-8 of all texts on end
    text_ends: NDArray[np.int64]  # [N] where each ends
    video_ids: NDArray[np.bytes_]  # each video that has texts, once


class TextLists:
    """Answers about the texts of one version.

    Args:
        folder: that `write_lists` wrote.
        place: [video_ids] where each video is in ``Index.videos``; -1 for one that does not count.
        channels: texts per channel.
    """

    def __init__(self, folder: Path, place: NDArray[np.int32], channels: Mapping[str, int]) -> None:
        self._place = place
        self._channels = channels
        about, arrays = _read(folder)
        self._columns = TextColumns(**{name: arrays[name] for name in TextColumns.__slots__})
        self._postings = Postings(**{name: arrays[name] for name in Postings.__slots__})
        self._sources, self._languages = about["sources"], about["languages"]

    def channels(self) -> dict[str, int]:
        """Texts per channel that has any."""
        return {name: self._channels[name] for name in CHANNELS if self._channels.get(name)}

    def search(
        self,
        words: str,
        *,
        channels: Collection[str] | None,
        k: int,
        phrase: bool,
        allowed_videos: NDArray[np.bool_] | None,
    ) -> list[TextHit]:
        """See ``Index.search_text``."""
        wanted = checked_channels(channels)
        if phrase:
            rows, scores = self._postings.phrase(sequence(words))
        else:
            rows, scores = self._postings.any_of(query_terms(words))
        places = self._place[self._columns.video[rows]]
        fit = places >= 0
        if set(wanted) != set(CHANNELS):
            numbers = [CHANNELS.index(name) for name in wanted]
            fit &= np.isin(self._columns.channel[rows], numbers)
        if allowed_videos is not None:
            fit &= allowed_videos[places]
        rows, scores = rows[fit], scores[fit]
        if len(rows) > k:
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            best = scores >= least
            rows, scores = rows[best], scores[best]
        hits = [self._hit(int(row), float(score)) for row, score in zip(rows, scores, strict=True)]
        hits.sort(key=lambda hit: (-hit.score, hit.video, hit.start_s, hit.text))
        return hits[:k]

    def of_video(self, video: int) -> list[TextHit]:
        """All texts of one video, in the order of their times."""
        numbers = np.flatnonzero(self._place == video)
        rows = np.flatnonzero(np.isin(self._columns.video, numbers))
        hits = [self._hit(int(row), 0.0) for row in rows]
        return sorted(hits, key=lambda hit: (hit.start_s, hit.end_s, hit.source))

    def _hit(self, row: int, score: float) -> TextHit:
        columns = self._columns
        start = int(columns.text_ends[row - 1]) if row else 0
        return TextHit(
            video=int(self._place[columns.video[row]]),
            channel=CHANNELS[columns.channel[row]],
            start_s=float(columns.start_s[row]),
            end_s=float(columns.end_s[row]),
            text=columns.text[start : int(columns.text_ends[row])].tobytes().decode(),
            score=score,
            source=self._sources[columns.source[row]],
            language=self._languages[columns.language[row]],
        )


# -- making them -----------------------------------------------------------------------------------


def write_lists(folder: Path, table: pa.Table) -> None:
    """Write what `TextLists` reads, for all rows of the table ``texts``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    real = table.filter(pc.field("part") != STATE)
    names: dict[str, list[str]] = {}

    def coded(name: str) -> NDArray[np.int32]:
        column = real[name].combine_chunks().dictionary_encode()
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        names[name] = column.dictionary.to_pylist()
        return column.indices.to_numpy(zero_copy_only=False).astype(np.int32)

    channel_codes = coded("channel")
    channel = np.array([CHANNELS.index(name) for name in names["channel"]] + [0], np.uint8)
    text = [value.encode() for value in real["text"].to_pylist()]
    columns = TextColumns(
        video=coded("video_id"),
        channel=channel[channel_codes],
        start_s=real["start_s"].to_numpy(),
        end_s=real["end_s"].to_numpy(),
        source=coded("source"),
        language=coded("language"),
        text=np.frombuffer(b"".join(text), np.uint8),
        text_ends=np.cumsum([len(value) for value in text], dtype=np.int64),
        video_ids=np.array([name.encode() for name in names["video_id"]], "S32"),
    )
    arrays = {name: getattr(columns, name) for name in TextColumns.__slots__}
    about = {"sources": names["source"], "languages": names["language"]}
    _write(folder, about, arrays | build_postings(real["terms"]))


def places_and_counts(
    folder: Path, video_ids: Sequence[str]
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Where the videos that have texts are among those that count, -1 for those that do not; and
    the texts per channel of those that do."""
    _, arrays = _read(folder)
    where = {name.encode(): number for number, name in enumerate(video_ids)}
    place = np.array([where.get(bytes(name), -1) for name in arrays["video_ids"]], np.int32)
    counts = np.bincount(arrays["channel"][place[arrays["video"]] >= 0], minlength=len(CHANNELS))
    named = {name: int(count) for name, count in zip(CHANNELS, counts, strict=True) if count}
    return place, named


def _write(folder: Path, about: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """One file of all arrays, then one that says where each begins."""
    folder.mkdir()
    listed = {}
    with open(folder / ARRAYS, "wb") as file:
        for name, array in arrays.items():
            file.write(bytes(-file.tell() % ALIGNED))
            listed[name] = [file.tell(), array.dtype.str, len(array)]
            file.write(np.ascontiguousarray(array).view(np.uint8).data)
        file.write(bytes(ALIGNED))  # an empty file cannot be mapped
    (folder / HEAD).write_bytes(json.dumps({**about, "arrays": listed}).encode())


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    about = json.loads((folder / HEAD).read_bytes())
    mapped = np.memmap(folder / ARRAYS, np.uint8, "r")
    arrays = {}
    for name, (start, kind, count) in about["arrays"].items():
        dtype = np.dtype(kind)
        arrays[name] = mapped[start : start + count * dtype.itemsize].view(dtype)
        if len(arrays[name]) != count or dtype.hasobject:
            raise ValueError(f"{folder} is cut short")
    return about, arrays
