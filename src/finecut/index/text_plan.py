"""Which texts of which videos are to be read: what they would be made from, and what they were.

A video's texts come in parts (its names, the files beside it, its subtitle streams, …), and each
part has a key: it changes when what the part is made from does. The keys of what is stored lie in
the table ``texts``; parts whose keys differ are read again, the others are left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finecut.errors import UsageError
from finecut.index.read_texts import SAID, ReadTexts, TextRequest, named_rows, within
from finecut.index.sidecars import Sidecar, Sidecars
from finecut.index.texts import CHANNELS, PARTS, VideoTexts
from finecut.text.ocr import check_ocr
from finecut.text.speech import check_model

READING = "1"  # of how texts are read; another one has them read again
NOT_NEEDED = "-"  # key of speech that was not transcribed since there are subtitles


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Which channels an index has. ``head.json`` keeps them: the next run goes on with them."""

    channels: tuple[str, ...] = ("said", "told", "named")
    speech: str = ""  # folder of the model speech is transcribed with; "" for none

    @classmethod
    def parse(cls, channels: str, speech: str) -> TextSettings:
        """As ``head.json`` or a command line has them.

        Raises:
            UsageError: an unknown channel.
        """
        names = [name.strip() for name in channels.split(",") if name.strip()]
        unknown = [name for name in names if name not in CHANNELS]
        if unknown:
            raise UsageError(
                f"There is no channel {unknown[0]!r:.40}; name some of {', '.join(CHANNELS)}, "
                "or none for an index without words."
            )
        return cls(tuple(name for name in CHANNELS if name in names), speech)

    def changed(
        self, channels: Sequence[str] | None, ocr: bool | None, speech: str | Path | None
    ) -> TextSettings:
        """These settings with what a run asks for; None leaves a part as it is.

        >>> TextSettings().changed(["said"], True, None).channels_text
        'said,shown'
        """
        names = set(self.channels if channels is None else channels)
        if ocr is not None:
            names = names | {"shown"} if ocr else names - {"shown"}
        folder = self.speech if speech is None else str(speech)
        return TextSettings.parse(",".join(names), folder)

    def check(self) -> TextSettings:
        """The settings, if what they need is on this machine; the speech model by its full path.

        Raises:
            MissingDependency: a package is not installed.
            UsageError: the speech model is not there.
        """
        if "shown" in self.channels:
            check_ocr()
        if not self.speech:
            return self
        return replace(self, speech=str(check_model(self.speech)))

    @property
    def channels_text(self) -> str:
        return ",".join(self.channels)


State = dict[str, tuple[str, int]]
"""By part: its key, and how many texts came of it."""


def state_of(text: str) -> State:
    """A stored state; {} for what is none."""
    try:
        plain = json.loads(text)
        return {
            part: (str(key), int(count)) for part, (key, count) in plain.items() if part in PARTS
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def state_text(state: State) -> str:
    """A state as it is stored."""
    return json.dumps(state)


def stale_parts(wanted: Mapping[str, str], have: State) -> frozenset[str]:
    """Parts to renew: made of something else now, wanted anew, or not wanted any more."""
    before = {part: have[part][0] if part in have else "" for part in PARTS}
    stale = {part for part in PARTS if wanted.get(part, "") != before[part]}
    if wanted.get("speech"):
        if not stale.isdisjoint(SAID):
            stale.add("speech")  # there may be subtitles now, or none any more
        elif before["speech"] == NOT_NEEDED:
            stale.discard("speech")
    return frozenset(stale)


@dataclass(frozen=True, slots=True)
class TextJob:
    """The texts of one video that are to be read."""

    video_id: str
    paths: tuple[str, ...]
    stale: frozenset[str]
    wanted: Mapping[str, str]
    have: State
    request: TextRequest | None  # None: nothing that needs a decoding process


class TextPlan:
    """What is to be read of each video, and what comes of it.

    Args:
        settings: which channels, and the speech model.
        roots: folders that are indexed; names of folders above them say nothing.
        states: what the stored texts were made from, by video.
        follow_symlinks: links to text files are taken too.
    """

    def __init__(
        self,
        settings: TextSettings,
        roots: Sequence[str],
        states: Mapping[str, State],
        *,
        follow_symlinks: bool = False,
    ) -> None:
        self._settings = settings
        self._roots = roots
        self._states = states
        self._sidecars = Sidecars(follow_symlinks=follow_symlinks)
        self._model = model_key(settings.speech) if settings.speech else ""

    def of_new(self, video_id: str, paths: Sequence[str]) -> TextJob:
        """All texts of a video that is decoded now."""
        return self._job(video_id, paths, {}, all_parts=True)

    def of_known(self, video_id: str, paths: Sequence[str]) -> TextJob | None:
        """The texts of an indexed video that are to be renewed, if any."""
        job = self._job(video_id, paths, self._states.get(video_id, {}))
        return job if job.stale else None

    def _job(
        self,
        video_id: str,
        paths: Sequence[str],
        have: State,
        *,
        all_parts: bool = False,
    ) -> TextJob:
        beside = {
            sidecar.stamp.path: sidecar for path in paths for sidecar in self._sidecars.of(path)
        }
        wanted = self._keys(paths, list(beside.values()))
        stale = frozenset(PARTS) if all_parts else stale_parts(wanted, have)
        # Nobody need look for what is not there.
        parts = (stale & set(wanted)) - {"names"}
        if not beside:
            parts -= {"sidecars"}
        request = None
        if parts:
            request = TextRequest(
                parts=tuple(sorted(parts)),
                sidecars=tuple((path, sidecar.language) for path, sidecar in beside.items()),
                speech=self._settings.speech,
                said=any(have[part][1] > 0 for part in SAID if part in have and part not in stale),
            )
        return TextJob(video_id, tuple(paths), stale, wanted, have, request)

    def _keys(self, paths: Sequence[str], beside: Sequence[Sidecar]) -> dict[str, str]:
        """The keys a video's texts would have now, by part; parts not wanted are left out."""
        stamps = [(one.stamp.path, one.stamp.size_bytes, one.stamp.mtime_ns) for one in beside]
        found = {
            "names": _digest(sorted(paths)),
            "sidecars": _digest(sorted(stamps)),
            "streams": READING,
            "container": READING,
            "screen": READING,
        }
        if self._model:
            found["speech"] = self._model
        return {part: key for part, key in found.items() if PARTS[part] in self._settings.channels}

    def texts(self, job: TextJob, read: ReadTexts | None, duration_s: float) -> VideoTexts:
        """What is to be stored of a job that was done."""
        rows = [row for row in read.rows if row.part in job.stale] if read else []
        if "names" in job.stale and "names" in job.wanted:
            rows += named_rows(job.paths, self._roots)
        n_all, rows = len(rows), list(within(rows, duration_s))
        if read and len(rows) < n_all:
            read.note(f"{n_all - len(rows)} cues begin after the end of the video: left out")
        state = {part: have for part, have in job.have.items() if part not in job.stale}
        counts = Counter(row.part for row in rows)
        for part in sorted(job.stale & set(job.wanted)):
            key = job.wanted[part]
            if read and part in read.not_needed:
                key = NOT_NEEDED
            asked = job.request is not None and part in job.request.parts
            if not asked or (read is not None and part not in read.unread):
                state[part] = (key, counts[part])
        return VideoTexts(job.video_id, rows, job.stale, state_text(state))


def model_key(folder: str) -> str:
    """What tells one speech model from another: its name and the size of its weights."""
    try:
        size = os.stat(Path(folder) / "model.bin").st_size
    except OSError:
        size = 0
    return f"{READING} {Path(folder).name} {size}"


def _digest(value: Any) -> str:
    plain = json.dumps([READING, value], ensure_ascii=True).encode()
    return hashlib.blake2b(plain, digest_size=8).hexdigest()
