"""What a run has to do: the files found, held against the videos the index knows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finecut.errors import ObjectNotFound, StorageError, UsageError, VideoError
from finecut.index.content import content_id
from finecut.index.report import Failure
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.scan import Scan, excluded, stamp_of, under
from finecut.storage.location import is_url
from finecut.storage.media import CURABLE

WORKER_LOST, NOT_THERE = "worker lost", "not on the worker"  # of a cluster, not of files


@dataclass(slots=True)
class Job:
    """One content to decode, under the paths it was found."""

    video_id: str
    stamps: list[PathStamp]
    changed: bool  # a known path, or indexed again by force

    @property
    def path(self) -> str:
        return self.stamps[0].path


@dataclass(slots=True)
class Plan:
    """What changes at once, and what there is to decode. Counts are of paths."""

    jobs: list[Job] = field(default_factory=list)
    put: list[VideoRow] = field(default_factory=list)  # with other paths or stamps than before
    removed: list[str] = field(default_factory=list)  # ids without a path left
    failures: list[Failure] = field(default_factory=list)  # known from before
    unreadable: list[tuple[PathStamp, OSError | VideoError]] = field(default_factory=list)
    n_files: int = 0
    n_unchanged: int = 0
    n_moved: int = 0
    n_duplicates: int = 0
    n_changed: int = 0  # further paths of contents that are indexed again
    n_removed: int = 0


class Stopped(Exception):
    """The caller asked to stop."""


def make_plan(
    found: Scan,
    videos: Mapping[str, VideoRow],
    *,
    exclude: Sequence[str] = (),
    force: bool = False,
    on_hash: Callable[[str, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Plan:
    """Recognise what is known, by stamps first and by content where those differ.

    Paths outside the roots of ``found`` are left alone, and so are those it holds back. A path
    below a folder that could not be read is not taken for gone.

    Args:
        found: the files that are there now.
        videos: what the index knows, by id.
        exclude: globs; known files that match now leave the index.
        force: index everything found again.
        on_hash: called with each file whose content is looked at, and how many were before it.
        should_stop: asked between files.

    Raises:
        UsageError: a root is an empty folder although the index knows videos in it: most likely
            a disk that is not connected.
        Stopped: ``should_stop`` said so; nothing has changed.
    """
    known = {stamp.path: (row, stamp) for row in videos.values() for stamp in row.stamps}
    files = dict(found.files)
    plan = Plan()
    stamps = {video_id: list(row.stamps) for video_id, row in videos.items()}
    lost: Counter[str] = Counter()  # paths gone and paths new, by the content they name
    gained: Counter[str] = Counter()
    for path in _gone(found, files, known, exclude):
        row, stamp = known[path]
        stamps[row.video_id].remove(stamp)
        lost[row.video_id] += 1

    jobs: dict[str, Job] = {}
    n_hashed = 0
    for path, stamp in files.items():
        row, before = known.get(path, (None, None))
        if row is not None and stamp == before and not force and not _tried_again(row, path):
            plan.n_unchanged += row.status == "done"
            continue
        if should_stop is not None and should_stop():
            raise Stopped
        if on_hash:
            on_hash(path, n_hashed)
        n_hashed += 1
        try:
            video_id = content_id(path)
        except FileNotFoundError:
            continue  # gone since it was found: the next run sees it
        except (OSError, VideoError) as error:
            if isinstance(error, VideoError) and error.reason == "missing":
                continue
            if row is not None and row.status == "done":
                plan.n_unchanged += 1  # indexed, and merely not readable just now
            elif row is None or stamp != before or row.reason != reason_of(error):
                plan.unreadable.append((stamp, error))
            continue
        same = row is not None and row.video_id == video_id
        if row is not None and before is not None:
            stamps[row.video_id].remove(before)
        target = videos.get(video_id)
        if video_id in jobs:
            jobs[video_id].stamps.append(stamp)
            plan.n_duplicates += not same
            plan.n_changed += same
        elif target is None or force or (same and target.status == "failed"):
            changed = row is not None and row.status == "done"
            jobs[video_id] = Job(video_id, [stamp], changed)
            gained[video_id] += target is not None and not same
        else:
            stamps[video_id].append(stamp)
            gained[video_id] += not same
            plan.n_unchanged += same

    for video_id, left in stamps.items():
        row = videos[video_id]
        moved = min(lost[video_id], gained[video_id])
        plan.n_moved += moved
        plan.n_duplicates += gained[video_id] - moved
        plan.n_removed += lost[video_id] - moved
        if video_id in jobs:
            jobs[video_id].stamps += left
            continue
        if not left:
            plan.removed.append(video_id)
        elif tuple(left) != row.stamps:
            plan.put.append(replace(row, stamps=tuple(left)))
        if row.status == "failed":
            paths = [stamp.path for stamp in left if stamp.path in files]
            plan.failures += [Failure(path, row.reason, row.error) for path in paths]
    plan.n_files = len(files)
    plan.jobs = list(jobs.values())
    return plan


def reason_of(error: OSError | VideoError) -> str:
    """The short word for a file that cannot even be opened."""
    if isinstance(error, VideoError):
        return error.reason
    return "permission" if isinstance(error, PermissionError) else "unreadable"


def message_of(path: str, error: OSError | VideoError) -> str:
    """The same in a sentence."""
    if isinstance(error, VideoError):
        return str(error)
    return f"{path} cannot be read: {error.strerror or error}."


def _tried_again(row: VideoRow, path: str) -> bool:
    # A decoder that fell silent was stuck in the file; or, reading over a network, in that.
    return row.reason in (*CURABLE, WORKER_LOST, NOT_THERE) or (
        row.reason == "timeout" and is_url(path)
    )


def _gone(
    found: Scan,
    files: dict[str, PathStamp],
    known: Mapping[str, tuple[VideoRow, PathStamp]],
    exclude: Sequence[str],
) -> list[str]:
    """Known paths under the roots that are there no more; the others are added to ``files``."""
    gone = []
    patterns = [pattern.replace(os.sep, "/").rstrip("/") for pattern in exclude]
    missing: dict[str, int] = {}
    for path in known:
        root = next((root for root in found.roots if under(path, root)), None)
        if root is None or path in files or path in found.held:
            continue
        if any(under(path, folder) for folder, _ in found.unreadable):
            continue
        if excluded(path, root, patterns):
            gone.append(path)
            continue
        try:
            if is_url(path) and path not in found.passed:
                raise ObjectNotFound(path)  # a list of a bucket is whole
            stamp = stamp_of(path)
        except (FileNotFoundError, ObjectNotFound):
            gone.append(path)
            missing[root] = missing.get(root, 0) + 1
        except (OSError, StorageError):
            continue  # there, or not: nobody can tell, so it stays
        else:  # of an unusual name, behind a link, hidden: once named by hand
            files[path] = stamp
    for root, count in missing.items():
        if root in found.empty or (os.path.isdir(root) and not os.listdir(root)):
            raise UsageError(
                f"{root} is empty, but the index knows {count} videos in it. Is the disk "
                "connected? Nothing was changed. If they are gone for good: finecut rm "
                f"{root}"
            )
    return gone
