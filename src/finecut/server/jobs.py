"""Index jobs: one at a time, in a thread, with progress that can be asked for."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finecut.errors import FinecutError, IndexLocked, NotFound, UsageError
from finecut.index.alias import follow
from finecut.index.scan import absolute, under
from finecut.server.models import Job, JobState
from finecut.server.shown import shown_path
from finecut.storage.location import is_url

if TYPE_CHECKING:
    from finecut.server.library import Library

log = logging.getLogger("finecut.server")

KEPT_JOBS = 20
STOP_WAIT_S = 20.0  # how long a stopping server waits for the job to finish its video


class _Running:
    """One job while it runs and after. Written by its thread, read by any."""

    def __init__(self, roots: Sequence[str], force: bool) -> None:
        self.id = uuid.uuid4().hex[:16]
        self.roots, self.force = list(roots), force
        self.state: JobState = "running"
        self.started_at = time.time()
        self.finished_at: float | None = None
        self.event: Any = None
        self.error: str | None = None
        self.report: dict[str, Any] | None = None
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None

    def shown(self) -> Job:
        event = self.event
        path = getattr(event, "path", None)
        state = self.state
        return Job(
            id=self.id,
            state="cancelling" if state == "running" and self.stop.is_set() else state,
            roots=[shown_path(root) for root in self.roots],
            force=self.force,
            started_at=self.started_at,
            finished_at=self.finished_at,
            done_files=getattr(event, "done_files", 0) or 0,
            total_files=getattr(event, "total_files", 0) or 0,
            current=shown_path(str(path)) if path else None,
            video_s=round(getattr(event, "video_s", 0.0) or 0.0, 3),
            x_realtime=getattr(event, "x_realtime", None) or None,
            eta_s=getattr(event, "eta_s", None),
            message=getattr(event, "message", "") or "",
            error=self.error,
            report=self.report,
        )


class Jobs:
    """Starts, watches and cancels the index jobs of one server."""

    def __init__(self, library: Library, allowed_roots: Sequence[str | Path]) -> None:
        self._library = library
        self._allowed = [absolute(root) for root in allowed_roots]
        self._jobs: list[_Running] = []  # newest first
        self._lock = threading.Lock()

    @property
    def running(self) -> str | None:
        """The id of the job that runs now."""
        with self._lock:
            return next((job.id for job in self._jobs if job.state == "running"), None)

    def list(self) -> list[Job]:
        """The last jobs, newest first."""
        with self._lock:
            return [job.shown() for job in self._jobs]

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: no such job, or one that is long over.
        """
        return self._find(job_id).shown()

    def start(self, roots: Sequence[str], force: bool) -> Job:
        """Start indexing in a thread.

        Raises:
            IndexLocked: a job runs already.
            UsageError: a root this server may not read, or nothing to index.
        """
        known = known_roots(self._library)
        # A known folder that is gone (a disk that is not connected) must not stop the others.
        chosen = [self._checked(root, known) for root in roots] or [
            root for root in known if is_url(root) or os.path.isdir(root)
        ]
        chosen = chosen or list(self._allowed)
        if not chosen:
            raise UsageError(
                "There is nothing to index: the index knows no folder yet. Run `finecut index "
                "FOLDER` once, or start the server with --root FOLDER."
            )
        with self._lock:
            if any(job.state == "running" for job in self._jobs):
                raise IndexLocked("An index job is running; wait for it or cancel it.")
            job = _Running(chosen, force)
            self._jobs = [job, *self._jobs][:KEPT_JOBS]
        job.thread = threading.Thread(target=self._run, args=(job,), name="finecut-index")
        job.thread.start()
        return job.shown()

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop after the video in hand; what is done stays."""
        job = self._find(job_id)
        job.stop.set()
        return job.shown()

    def close(self) -> None:
        """Stop what runs and wait for it: the index is whole either way."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.stop.set()
        for job in jobs:
            if job.thread is not None:
                job.thread.join(STOP_WAIT_S)

    def _find(self, job_id: str) -> _Running:
        with self._lock:
            for job in self._jobs:
                if job.id == job_id:
                    return job
        raise NotFound(f"No index job with the id {job_id!r:.80}; jobs end with the server.")

    def _checked(self, root: str, known: Sequence[str]) -> str:
        if "\0" in root or not (is_url(root) or os.path.isabs(root)):
            raise UsageError(f"A root is an absolute path or a URL, got {root!r:.200}.")
        path = _resolved(root)
        if not any(under(path, _resolved(top)) for top in (*self._allowed, *known)):
            raise UsageError(
                f"This server may not index {root!r:.200}: it is in none of the folders the index "
                "knows. Start it with --root FOLDER, or run `finecut index FOLDER`."
            )
        return absolute(root)  # as it was named: the index keeps paths that way

    def _run(self, job: _Running) -> None:
        state: JobState = "failed"
        try:
            job.report = self._build(job, lambda event: setattr(job, "event", event))
            state = "cancelled" if job.stop.is_set() else "done"
        except FinecutError as error:
            job.error = str(error)
        except Exception as error:
            log.exception("index job %s failed", job.id)
            job.error = f"The job failed in a way it did not expect: {type(error).__name__}."
        finally:
            job.finished_at = time.time()
            self._library.refresh()  # what a finished job has stored is found
            job.state = state

    def _build(self, job: _Running, on_event: Callable[[Any], None]) -> dict[str, Any]:
        from finecut.bundle.load import Bundle
        from finecut.index.build import build_index
        from finecut.search.duplicates import note_copies

        library = self._library
        directory = follow(library.index_dir)  # of an alias, what it means as the job begins
        options: dict[str, Any] = {}
        meta = library.meta()
        if meta is not None:
            bundle = library.snapshot().bundle
            options["levels"] = meta.levels
        else:
            bundle = Bundle.load(library.bundle_ref or "starter")
        report = build_index(
            job.roots,
            directory,
            bundle,
            force=job.force,
            on_event=on_event,
            should_stop=job.stop.is_set,
            **options,
        )
        if (report.n_new or report.n_changed) and not report.stopped:
            note_copies(directory)
        return report.to_json()


def _resolved(path: str) -> str:
    """The path that is meant: links and .. may not lead out of a folder."""
    return absolute(path) if is_url(path) else os.path.realpath(path)


def known_roots(library: Library) -> list[str]:
    """The folders whose videos the index holds; none where there is no index yet."""
    return [] if library.meta() is None else library.snapshot().roots
