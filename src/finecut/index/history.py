"""Past commits of an index: their heads are kept for a while, and an index can go back to one.

Lance keeps the versions of each table; what belongs together is known by the heads alone. So each
commit first puts the head it replaces into ``history/NUMBER.json``. A head that stands there can be
opened as long as its tables' versions stay, and `tidy` drops both together.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finecut.errors import NotFound, ObjectNotFound, UsageError
from finecut.index.meta import Head, read_head, read_head_file, read_meta, write_json
from finecut.index.tables import TABLES, TEXTS, open_table
from finecut.storage.location import Location
from finecut.storage.objects import children, delete

FOLDER = "history"
MIN_KEEP_S = 3600.0  # a reader may lag this far behind the last commit
DAY_S = 86400.0
_DIGITS = 12  # of a file's name, so that names sort as numbers do
_SHOWN = 3  # commits named in a message


@dataclass(frozen=True, slots=True)
class Commit:
    """One state an index was in."""

    head: Head
    version: str  # as ``Index.version`` says it
    until: float | None  # Unix seconds when the next commit replaced it; None: it is the last

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``finecut info --history --json``."""
        head = self.head
        return {
            "number": head.number,
            "version": self.version,
            "committed_at": head.at or None,
            "n_videos": head.n_videos,
            "n_clips": head.n_clips,
            "video_s": head.video_s,
        }


def keep(directory: Location, head: Head) -> None:
    """Put a head among the past ones: before another takes its place, so that what stands there was
    a commit, whatever is cut off. Doing it twice changes nothing."""
    if directory.is_local:
        (directory / FOLDER).path.mkdir(exist_ok=True)
    write_json(_place(directory, head.number), head)


def commits(directory: Location | str | Path) -> list[Commit]:
    """The states this index can go back to and the one it is in, oldest first.

    Raises:
        IndexNotFound, IndexMismatch, IndexCorrupt: there is no index that can be read.
    """
    directory = Location.parse(directory)
    meta, last = read_meta(directory), read_head(directory)
    # A writer may be at its commit now: what it has set aside is the last one itself.
    numbers = [number for number in _numbers(directory) if number < last.number]
    heads = [*(read_head_file(_place(directory, number)) for number in numbers), last]
    after = [head.at for head in heads[1:]]
    return [
        Commit(head, head.version(meta), until)
        for head, until in zip(heads, [*after, None], strict=True)
    ]


def find(directory: Location | str | Path, as_of: str | int) -> Commit:
    """The state an index was in.

    Args:
        directory: of the index.
        as_of: a commit's number (``41``), a version (``3f2a…-41``), or a moment: a date or an ISO
            time, of this machine's time zone where it names none. Of a moment, the last commit up
            to it is meant; a date is its first instant.

    Raises:
        UsageError: ``as_of`` cannot be meant.
        NotFound: no such commit, or it was tidied away.
        IndexNotFound, IndexMismatch, IndexCorrupt: there is no index that can be read.
    """
    directory = Location.parse(directory)
    text = str(as_of).strip()
    known = commits(directory)
    meta = read_meta(directory)
    named = re.fullmatch(r"(?:([0-9a-f]{12})-)?([0-9]{1,15})", text)
    if named:
        if named[1] and named[1] != meta.uuid[:12]:
            raise NotFound(f"The version {text} is of another index than {directory}.")
        found = [commit for commit in known if commit.head.number == int(named[2])]
    else:
        moment = _moment(text)
        found = [commit for commit in known if commit.head.at and commit.head.at <= moment]
    if not found:
        raise NotFound(
            f"The index {directory} keeps no commit {text!r:.80}: it keeps {_span(known)}. Older "
            "ones were tidied away, or there were none. List them: finecut info --history "
            f"--index {directory}. Keep them longer: finecut index FOLDER --keep-days DAYS"
        )
    commit = found[-1]
    _check_there(directory, commit)
    return commit


def _moment(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            "A past state is named by a commit's number (41), a version (3f2a…-41), a date "
            f"(2026-11-20) or a time (2026-11-20T18:30), got {text!r:.80}."
        ) from None


def moment_text(seconds: float) -> str:
    """A moment as `find` reads it, to the second; ``unknown`` for a commit without one."""
    if not seconds:
        return "unknown"
    return datetime.datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")


def _span(known: list[Commit]) -> str:
    first, last = known[0].head, known[-1].head
    if first is last:
        return f"only {last.number} ({moment_text(last.at)})"
    return (
        f"{first.number} ({moment_text(first.at)}) to {last.number} ({moment_text(last.at)}), "
        f"{len(known)} in all"
    )


def _check_there(directory: Location, commit: Commit) -> None:
    """Refuse a commit whose tables are no longer there as they were."""
    for table in TABLES:
        version = getattr(commit.head, table)
        if table == TEXTS and not version:  # made before there were texts
            continue
        try:
            open_table(directory, table, version)
        except (OSError, ValueError) as error:
            raise NotFound(
                f"Commit {commit.head.number} of {directory} cannot be gone back to: version "
                f"{version} of the table {table} was tidied away. List what is kept: "
                f"finecut info --history --index {directory}"
            ) from error


def restored_head(past: Head, last: Head, at: float) -> Head:
    """The head that makes ``past`` the newest state again.

    Ids of clips and numbers of runs go on from the last commit: none is ever used twice. The tables
    get their new versions afterwards (``restored`` says that this is still to be done), so the
    whole restore is the one step that replaces ``head.json``.
    """
    return replace(
        past,
        number=last.number + 1,
        at=at,
        next_clip_id=max(past.next_clip_id, last.next_clip_id),
        build=max(past.build, last.build),
        keep_s=last.keep_s,
        restored=True,
    )


def bring_back(tables: Mapping[str, Any], head: Head) -> None:
    """Make the versions that a restored head names the newest of their tables. Texts are left to
    the writer, which brings them to their head's version at any rate."""
    for name, table in tables.items():
        version = getattr(head, name)
        if name != TEXTS and table.version != version:
            table.checkout_version(version).restore()
            table.checkout_latest()


def tidy(
    directory: Location,
    head: Head,
    tables: Mapping[str, Any],
    now: float,
    *,
    orphans: bool = False,
) -> None:
    """Drop states that were replaced longer ago than the index keeps them, and what only they need.

    A version is not judged by its own age, as Lance would: one that was made a year ago and
    replaced a second ago is what readers are reading. With ``orphans``, files go that no version
    ever named.
    """
    limit = now - max(head.keep_s, MIN_KEEP_S)
    oldest, dropped = head, []
    for number in reversed(_numbers(directory)):
        if number >= head.number:
            continue
        if oldest.at and oldest.at <= limit:  # this one was replaced before the limit
            dropped.append(number)
        else:
            oldest = read_head_file(_place(directory, number))
    for number in dropped:
        delete(_place(directory, number))  # first: nothing is promised that is not there
    for name, table in tables.items():
        kept_from = min(getattr(oldest, name) or table.version, table.version)
        table.cleanup_old_versions(
            retain_versions=table.version - kept_from + 1, delete_unverified=orphans
        )


def _place(directory: Location, number: int) -> Location:
    return directory / FOLDER / f"{number:0{_DIGITS}d}.json"


def _numbers(directory: Location) -> list[int]:
    """Numbers of the past heads, oldest first."""
    try:
        names = children(directory / FOLDER)
    except ObjectNotFound:
        return []
    return sorted(int(name[:-5]) for name in names if re.fullmatch(r"[0-9]{12,18}\.json", name))
