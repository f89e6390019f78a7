"""Folders kept indexed as their files come, change, move and go.

What counts is always a look at the folders, held against the index; notices of the operating system
only say when to look. So nothing depends on a notice that got lost, a watch that was stopped for a
week picks up where it was, and a network mount is watched by looking at it now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from finecut.errors import (
    BundleError,
    FinecutError,
    IndexLocked,
    IndexMismatch,
    IndexNotFound,
    UsageError,
)
from finecut.index.bell import Bell
from finecut.index.meta import read_head, read_meta
from finecut.index.report import Failure, IndexEvent, IndexReport
from finecut.index.rows import PathStamp
from finecut.index.scan import Scan, absolute, scan, under
from finecut.index.settle import Settling
from finecut.index.sidecars import SUFFIXES as TEXT_SUFFIXES
from finecut.index.store import Index
from finecut.storage.location import Location, is_url

TICK_S = 0.3  # between questions whether to stop
CALM_S = 0.3  # after a notice, before a look: more are likely to follow
AWAY_S = 5.0  # between looks for a folder that is away
LOCKED_S = 2.0  # between tries while another process writes the index
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0  # after an error: doubled each time

EventKind = Literal[
    "watching",  # once for each folder: how it is watched
    "ready",  # once: all that was there at the start is indexed, but for what still grows
    "growing",  # a file that is still being written
    "done",  # a file is in the index for good
    "failed",  # a file cannot be indexed
    "changed",  # a run is over that changed the index; `report` says what
    "away",  # a folder that was there is not, or is empty: nothing of it leaves the index
    "back",  # it is there again
    "locked",  # another process writes the index; waiting
    "error",  # something went wrong; it is tried again
    "stopped",  # the end
]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What a watch tells."""

    kind: EventKind
    path: str = ""
    message: str = ""
    report: IndexReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: event, path and message where there are any, counts of a run."""
        plain: dict[str, Any] = {"event": self.kind}
        if self.path:
            plain["path"] = self.path
        if self.message:
            plain["message"] = self.message
        if self.report is not None:
            counts = asdict(self.report)
            plain |= {name: counts[name] for name in counts if name.startswith("n_")}
        return plain


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a watch is, in seconds."""

    settle_s: float = 2.0  # a file must stay the same so long before it is read
    grace_s: float = 60.0  # and be missing so long before it leaves the index
    poll_s: float | None = None  # look this often and ask for no notices: for network mounts
    recheck_s: float = 300.0  # look at least this often, whatever the notices say

    def __post_init__(self) -> None:
        for name in ("settle_s", "grace_s", "poll_s", "recheck_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e9:
                raise UsageError(f"`{name}` must be seconds, 0 or more, got {value!r}.")
        if self.poll_s is not None and self.poll_s < 0.1:
            raise UsageError(f"`poll_s` must be at least 0.1 seconds, got {self.poll_s}.")


Build = Callable[[Scan, Callable[[IndexEvent], None], Callable[[], bool]], IndexReport]
"""Brings the index up to date with what was found: `build_index` with its settings filled in."""


class Watch:
    """A watch over some folders; `run` goes on until it is told to stop.

    Args:
        roots: folders and files.
        index_dir: of the index; made if it is not there.
        build: does the indexing, when there is something to do.
        pace: how patient it is.
        exclude: globs, as for indexing.
        follow_symlinks: go through links.
        on_event: called with what happens, from the thread of `run`.
        should_stop: asked often.
    """

    def __init__(
        self,
        roots: Sequence[str | Path],
        index_dir: str | Path | Location,
        build: Build,
        *,
        pace: Pace = Pace(),
        exclude: Sequence[str] = (),
        follow_symlinks: bool = False,
        on_event: Callable[[WatchEvent], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.roots = list(dict.fromkeys(absolute(root) for root in roots))
        if not self.roots:
            raise UsageError("Name at least one folder to watch.")
        remote = [root for root in self.roots if is_url(root)]
        if remote:
            raise UsageError(
                f"{remote[0]} cannot be watched: an object store gives no notice of changes. Run "
                "`finecut index` on it now and then, by a timer: what is unchanged is not read."
            )
        self.directory = Location.parse(index_dir).absolute()
        self.build = build
        self.pace = pace
        self.exclude = tuple(exclude)
        self.follow_symlinks = follow_symlinks
        self.on_event = on_event
        self.should_stop = should_stop
        self._settling = Settling(pace.settle_s, pace.grace_s)
        self._bell = Bell([str(self.directory)], self._no_notices, self._noticed)
        self._version = ""
        self._known: dict[str, PathStamp] = {}  # what the index holds, by path
        self._devices: dict[str, int] = {}  # of the folders files were seen in
        self._away: set[str] = set()
        self._failures: set[Failure] = set()
        self._told = ""  # the last trouble, until something works again
        self._run_due = 0.0  # when to run even if nothing is seen to differ
        self._beside_changed = False  # texts beside videos, since the last run began
        self._ready = False

    def run(self) -> None:
        """Bring the index up to date, then keep it so until told to stop.

        Raises:
            UsageError: a folder is not there, and the index knows nothing of it.
            IndexMismatch: the index was made with another bundle or other levels.
            BundleError: the bundle does not run.
        """
        self._know()
        for root in self.roots:
            if not os.path.exists(root) and not self._knows_of(root):
                raise UsageError(f"{root} is neither a folder nor a file: name folders to watch.")
        every = self.pace.poll_s
        for root in self.roots:
            self._tell("watching", root, f"every {every:g} s" if every else "by notices")
        try:
            self._go_on()
        finally:
            self._bell.close()
        self._tell("stopped")

    def _go_on(self) -> None:
        look_s = self.pace.poll_s or self.pace.recheck_s
        due = look_due = earliest = time.monotonic()
        retry_s = FIRST_RETRY_S
        while not self.should_stop():
            now = time.monotonic()
            if now < due:
                if self._bell.wait(min(TICK_S, due - now)):
                    look_due = time.monotonic() + CALM_S
                    due = max(earliest, min(due, look_due))
                continue
            pending = self._settling.due_s(now)
            if now < look_due and pending:  # still growing: no look at folders yet
                due = min(look_due, now + pending)
                continue
            try:
                self._look()
            except IndexLocked as error:
                self._trouble("locked", str(error))
                due = look_due = earliest = time.monotonic() + LOCKED_S
                continue
            except (IndexMismatch, BundleError):
                raise
            except (FinecutError, OSError) as error:
                self._trouble("error", f"{error} Trying again in {retry_s:.0f} s.")
                due = look_due = earliest = time.monotonic() + retry_s
                retry_s = min(2 * retry_s, LAST_RETRY_S)
                continue
            self._told, retry_s = "", FIRST_RETRY_S
            now = time.monotonic()
            look_due = now + (min(look_s, AWAY_S) if self._away else look_s)
            pending = self._settling.due_s(now)
            due = look_due if pending is None else min(look_due, now + pending)

    # -- one look --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Hold the folders against the index, and index what is ready to be."""
        self._know()
        present = self._present()
        if self.pace.poll_s is None:
            self._bell.watch(present, time.monotonic())
        if not present:
            return
        found = scan(present, exclude=self.exclude, follow_symlinks=self.follow_symlinks)
        changed = {
            path: stamp for path, stamp in found.files.items() if self._known.get(path) != stamp
        }
        missing, unsure = self._missing(found)
        now = time.monotonic()
        settled = self._settling.look(changed, missing, now)
        for path in settled.growing:
            self._tell("growing", path)
        due = self._beside_changed or now >= self._run_due
        if not (due or settled.changed or settled.gone):
            return
        self._beside_changed = False
        found.held = unsure | (missing.keys() - settled.gone) | (changed.keys() - settled.changed)
        found.files = {path: at for path, at in found.files.items() if path not in found.held}
        report = self.build(found, self._hear, self.should_stop)
        self._run_due = time.monotonic() + self.pace.recheck_s
        self._take_in(report)
        if not self._ready and not report.stopped and not self._settling.waiting:
            self._ready = True
            self._tell("ready")

    def _know(self) -> None:
        """Learn what the index holds, if it has changed since."""
        try:
            meta = read_meta(self.directory)
            if read_head(self.directory).version(meta) == self._version:
                return
            index = Index.open(self.directory)
        except IndexNotFound:
            self._version, self._known = "", {}
            return
        self._known = {stamp.path: stamp for row in index.videos for stamp in row.stamps}
        self._version = index.version

    def _knows_of(self, root: str) -> bool:
        return any(under(path, root) for path in self._known)

    def _present(self) -> list[str]:
        """The roots that are there; those that went or came back are told of."""
        present = []
        for root in self.roots:
            try:
                # An empty folder is a disk that is not connected if videos were known in it.
                there = not os.path.isdir(root) or bool(os.listdir(root))
                there = os.path.exists(root) and (there or not self._knows_of(root))
            except OSError:
                there = False
            if there:
                present.append(root)
                if root in self._away:
                    self._away.discard(root)
                    self._tell("back", root)
            elif root not in self._away:
                self._away.add(root)
                self._tell("away", root, "it is not there, or empty; nothing leaves the index")
        return present

    def _missing(self, found: Scan) -> tuple[dict[str, PathStamp], set[str]]:
        """Known files that are not there: those that can be told to be gone, and the others."""
        for folder in {os.path.dirname(path) for path in found.files}:
            with suppress(OSError):
                self._devices[folder] = os.stat(folder).st_dev
        missing, unsure = {}, set()
        for path, stamp in self._known.items():
            if path in found.files or not any(under(path, root) for root in found.roots):
                continue
            if any(under(path, folder) for folder, _ in found.unreadable):
                continue
            try:
                os.stat(path)
            except FileNotFoundError:
                if self._unmounted(path):
                    unsure.add(path)
                else:
                    missing[path] = stamp
            except OSError:
                unsure.add(path)
        return missing, unsure

    def _unmounted(self, path: str) -> bool:
        """Whether a file's folder was on another file system than what is there in its place."""
        folder = os.path.dirname(path)
        before = self._devices.get(folder)
        while before is not None:
            try:
                return os.stat(folder).st_dev != before
            except OSError:
                folder, below = os.path.dirname(folder), folder
                if folder == below:
                    return True
        return False

    # -- telling ---------------------------------------------------------------------------------

    def _take_in(self, report: IndexReport) -> None:
        failures = set(report.failures)
        for failure in sorted(failures - self._failures):
            self._tell("failed", failure.path, failure.message)
        self._failures = failures
        if not report.nothing_to_do:
            self.on_event(WatchEvent("changed", report=report))

    def _hear(self, event: IndexEvent) -> None:
        if event.kind == "done":
            self._tell("done", event.path)

    def _tell(self, kind: EventKind, path: str = "", message: str = "") -> None:
        self.on_event(WatchEvent(kind, path, message))

    def _trouble(self, kind: EventKind, message: str) -> None:
        """Tell of a trouble once, however often it is met again."""
        if message != self._told:
            self._told = message
            self._tell(kind, message=message)

    # -- called from the bell's thread -----------------------------------------------------------

    def _noticed(self, path: str) -> None:
        """Text files beside videos are no videos: what is indexed of them, a run finds out."""
        if os.path.splitext(path)[1].lower() in TEXT_SUFFIXES:
            self._beside_changed = True

    def _no_notices(self, message: str) -> None:
        self._tell("error", message=f"{message} Looking every {self.pace.recheck_s:g} s instead.")
