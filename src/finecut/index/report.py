"""What an indexing run tells while it goes on, and when it is over."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple


class Failure(NamedTuple):
    """A file that is not in the index, and why."""

    path: str
    reason: str  # a short word for lists
    message: str


EventKind = Literal[
    "scan", "hash", "plan", "start", "clip", "done", "texts", "failed", "tidy", "finish"
]


@dataclass(frozen=True, slots=True)
class IndexEvent:
    """Progress of a run.

    ``kind``: "scan" and "hash" while files are looked for and recognised; "plan" once, when it is
    known what there is to do; "start" of a file; "clip" whenever clips were encoded; "done" when a
    file is in the index for good; "texts" when only its words were renewed; "failed"; "tidy" when
    upkeep begins; "finish" once.
    """

    kind: EventKind
    path: str = ""
    done_files: int = 0  # of those to be done in this run, failed ones included
    total_files: int = 0
    frames: int = 0  # encoded so far
    video_s: float = 0.0  # seconds of video gone through so far
    x_realtime: float = 0.0  # seconds of video per second
    eta_s: float | None = None  # None while nothing can be said
    message: str = ""


@dataclass(slots=True)
class IndexReport:
    """What a run did. Counts are of files, that is of paths."""

    n_files: int = 0  # found under the roots
    n_new: int = 0  # indexed in this run, for the first time
    n_unchanged: int = 0
    n_moved: int = 0  # known by their content under a path that is gone
    n_duplicates: int = 0  # further paths of a content that is there already
    n_changed: int = 0  # indexed in this run because their content changed (or by force)
    n_removed: int = 0  # gone since the last run
    n_texts: int = 0  # videos that were not read again, but their texts
    n_failed: int = 0  # not in the index: failed now, or before and not touched since
    n_left: int = 0  # not reached, because the run was stopped
    n_written: int = 0  # rows of videos put or taken away; 0 when there was nothing to do
    stopped: bool = False
    failures: list[Failure] = field(default_factory=list)
    text_notes: list[Failure] = field(default_factory=list)  # texts that could not be read
    n_frames: int = 0  # encoded in this run
    screen_frames: int = 0  # looked at for words on the screen
    screen_read: int = 0  # of them, those whose text had changed, which were read
    video_s: float = 0.0  # seconds of video indexed in this run
    elapsed_s: float = 0.0
    x_realtime: float = 0.0
    bytes_per_video_hour: float = 0.0  # of the whole index
    stages_s: dict[str, float] = field(default_factory=dict)  # where the writing process was

    @property
    def nothing_to_do(self) -> bool:
        """The index is as it was: nothing added, moved or removed, nothing failed anew."""
        return not (self.n_written or self.n_left or self.n_texts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; failures as objects with path, reason and message."""
        plain = asdict(self)
        plain["failures"] = [failure._asdict() for failure in self.failures]
        plain["text_notes"] = [note._asdict() for note in self.text_notes]
        plain["nothing_to_do"] = self.nothing_to_do
        for name in ("video_s", "elapsed_s", "x_realtime", "bytes_per_video_hour"):
            plain[name] = round(plain[name], 3)
        plain["stages_s"] = {name: round(value, 3) for name, value in self.stages_s.items()}
        return plain
