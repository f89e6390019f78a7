"""Index folders of videos: find, decode, encode and store, side by side, and never half."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import BundleError, FinecutError, UsageError
from finecut.index.content import path_id
from finecut.index.decode_pool import DecodePool, Ended, Failed, Probed
from finecut.index.meta import IndexMeta, Levels
from finecut.index.plan import Job, Plan, Stopped, make_plan, reason_of
from finecut.index.report import EventKind, Failure, IndexEvent, IndexReport
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.scan import absolute, scan
from finecut.index.store import Index
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter, now
from finecut.types import DecodedClip, VideoProbe, VideoTokens
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec, Limits

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle

COMMIT_S = 2.0  # between commits: many small ones would scatter the tables
COMMIT_VIDEOS = 64  # but at the latest after so many
PENDING_BYTES = 64 << 20  # of tokens held back for the next commit
ENCODE_WAIT_S = 0.3  # how long clips wait for company before they are encoded
TIDY_COMMITS = 200  # in a long run, join small files so often
WAIT_S = 0.2


def build_index(
    roots: Sequence[str | Path],
    index_dir: str | Path,
    bundle: Bundle,
    *,
    levels: Levels = "patch",
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    workers: int | None = None,
    force: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    on_event: Callable[[IndexEvent], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> IndexReport:
    """Bring an index up to date with some folders: whatever is new, moved, changed or gone.

    A file that cannot be indexed is reported and does not stop the run. What an event calls done
    is in the index for good, however the process ends; the next run goes on from there.

    Args:
        roots: folders and files; what the index knows outside them is left alone.
        index_dir: made if it is not there.
        bundle: the model; an index keeps to the one it was made with.
        levels: which tokens to store: of whole clips only, of frames, or of patches too.
        exclude: globs on names, paths below a root, or whole paths.
        follow_symlinks: go through links, each target once.
        workers: decoding processes; by default one per core, at most 8.
        force: index again what is indexed already.
        limits: guards against hostile files.
        on_event: called with progress, from this thread.
        should_stop: asked often; once True the run commits what is done and ends.

    Raises:
        UsageError: a root is not there, or the index cannot be written.
        IndexLocked: another process writes to the index.
        IndexMismatch: the index was made with another bundle or other levels.
        BundleError: the bundle does not run.
        KeyboardInterrupt: after what is done was committed.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"`workers` must be at least 1, got {workers}.")
    if levels not in ("video", "frame", "patch"):
        raise UsageError(f"`levels` must be video, frame or patch, got {levels!r}.")
    run = _Run(bundle, limits, on_event, should_stop)
    run.tell("scan")
    found = scan(
        roots,
        exclude=exclude,
        follow_symlinks=follow_symlinks,
        on_folder=lambda folder, count: run.tell("scan", folder, message=f"{count} files"),
    )
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, levels, now())
    directory = Path(absolute(index_dir))
    with IndexWriter(directory, meta) as writer:
        try:
            plan = make_plan(
                found,
                writer.videos,
                exclude=exclude,
                force=force,
                on_hash=lambda path, count: run.tell("hash", path, message=f"{count} files"),
                should_stop=should_stop,
            )
        except Stopped:
            run.report.stopped = True
            return run.report
        try:
            run.apply(writer, plan, found.unreadable)
            run.work(writer, plan.jobs, workers or min(8, os.cpu_count() or 1))
        except OSError as error:
            raise FinecutError(
                f"The index at {directory} could not be written: {error}. What was reported done "
                "is kept. Free some space or mend the permissions and run the same command again."
            ) from error
        run.finish(writer)
    return run.report


@dataclass(slots=True, eq=False)
class _Video:
    """A file on its way."""

    job: Job
    probe: VideoProbe | None = None
    ended: Ended | None = None
    failed: bool = False
    n_waiting: int = 0  # clips decoded but not encoded
    n_clips: int = 0
    n_frames: int = 0


class _Run:
    def __init__(
        self,
        bundle: Bundle,
        limits: Limits,
        on_event: Callable[[IndexEvent], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.bundle = bundle
        self.limits = limits
        self.on_event = on_event
        self.should_stop = should_stop
        self.report = IndexReport()
        self.started = time.monotonic()
        self.total_files = 0
        self.done_files = 0
        self.total_bytes = 0
        self.done_bytes = 0
        self.waiting: list[tuple[_Video, DecodedClip]] = []
        self.waiting_since = 0.0
        self.encoded: list[EncodedClip] = []
        self.encoded_bytes = 0
        self.finished: deque[_Video] = deque()
        self.failed: list[tuple[_Video, VideoRow]] = []
        self.last_commit = time.monotonic()
        self.commits = 0
        self.stages = dict.fromkeys(("decode_wait", "encode", "write", "tidy"), 0.0)

    # -- telling -------------------------------------------------------------------------------

    def tell(self, kind: EventKind, path: str = "", *, message: str = "") -> None:
        if self.on_event is None:
            return
        elapsed = time.monotonic() - self.started
        eta_s = None
        if self.done_bytes and self.total_bytes:
            eta_s = elapsed * (self.total_bytes - self.done_bytes) / self.done_bytes
        self.on_event(
            IndexEvent(
                kind=kind,
                path=path,
                done_files=self.done_files,
                total_files=self.total_files,
                frames=self.report.n_frames,
                video_s=self.report.video_s,
                x_realtime=self.report.video_s / elapsed if elapsed > 0 else 0.0,
                eta_s=eta_s,
                message=message,
            )
        )

    # -- the parts of a run --------------------------------------------------------------------

    def apply(self, writer: IndexWriter, plan: Plan, unreadable: Sequence[tuple[str, str]]) -> None:
        """Commit what needs no decoding: moves, removals, files that cannot be opened."""
        report = self.report
        report.n_files = plan.n_files
        report.n_unchanged, report.n_moved = plan.n_unchanged, plan.n_moved
        report.n_duplicates, report.n_removed = plan.n_duplicates, plan.n_removed
        report.n_changed = plan.n_changed
        report.failures += plan.failures
        for folder, message in unreadable:
            report.failures.append(Failure(folder, "unreadable folder", f"{folder}: {message}."))
        rows = list(plan.put)
        for stamp, error in plan.unreadable:
            message = f"{stamp.path} cannot be read: {error.strerror or error}."
            report.failures.append(Failure(stamp.path, reason_of(error), message))
            rows.append(
                _failed_row(path_id(stamp.path), [stamp], writer.build, reason_of(error), message)
            )
        writer.commit(videos=rows, removed=plan.removed)
        report.n_written += len(rows) + len(plan.removed)
        self.total_files = len(plan.jobs)
        self.total_bytes = sum(job.stamps[0].size_bytes for job in plan.jobs)
        self.tell("plan")

    def work(self, writer: IndexWriter, jobs: Sequence[Job], workers: int) -> None:
        """Decode, encode and commit, until all is done or a stop is asked for."""
        if not jobs:
            return
        spec = DecodeSpec.from_manifest(self.bundle.manifest)
        videos = [_Video(job) for job in jobs]
        queue = ((video, video.job.path) for video in videos)
        interrupt: KeyboardInterrupt | None = None
        with DecodePool(queue, spec, self.limits, workers=min(workers, len(jobs))) as pool:
            try:
                for video, message in self._messages(pool):
                    self._take(writer, video, message)
                    self._go_on(writer)
                self._encode(writer)
            except KeyboardInterrupt as error:
                interrupt = error
                self.report.stopped = True
        self._commit(writer)
        self.report.n_left = self.total_files - self.done_files
        writer.remove_unfinished()
        if interrupt is not None:
            raise interrupt

    def finish(self, writer: IndexWriter) -> None:
        """Upkeep and the cache, so that the first search is as quick as the next."""
        report = self.report
        self.tell("tidy")
        started = time.monotonic()
        writer.compact()
        stats = Index.open(writer.directory).stats()
        self.stages["tidy"] += time.monotonic() - started
        report.n_failed = len(report.failures)
        report.bytes_per_video_hour = stats.bytes_per_video_hour
        report.stages_s = dict(self.stages)
        report.elapsed_s = time.monotonic() - self.started
        report.x_realtime = report.video_s / report.elapsed_s if report.elapsed_s else 0.0
        self.tell("finish")

    def _messages(self, pool: DecodePool[_Video]) -> Iterator[tuple[_Video, object]]:
        """Everything the decoders say; a lull comes as nothing, so that waiting clips go on."""
        while True:
            if self.should_stop is not None and self.should_stop():
                self.report.stopped = True
                return
            started = time.monotonic()
            try:
                item = pool.get(WAIT_S)
            except StopIteration:
                return
            finally:
                self.stages["decode_wait"] += time.monotonic() - started
            yield item if item is not None else (_NOBODY, None)

    def _take(self, writer: IndexWriter, video: _Video, message: object) -> None:
        if video.failed:
            return
        if isinstance(message, Probed):
            video.probe = message.probe
            self.tell("start", video.job.path)
        elif isinstance(message, DecodedClip):
            if not self.waiting:
                self.waiting_since = time.monotonic()
            self.waiting.append((video, message))
            video.n_waiting += 1
        elif isinstance(message, Failed):
            self._fail(writer, video, message.reason, message.message)
        elif isinstance(message, Ended):
            video.ended = message
            self._finish_if_whole(writer, video)

    def _go_on(self, writer: IndexWriter) -> None:
        """Encode and commit as far as it is time to."""
        frames = sum(len(clip.times) for _, clip in self.waiting)
        moment = time.monotonic()
        if frames >= self.bundle.manifest.video.batch_frames or (
            frames and moment - self.waiting_since > ENCODE_WAIT_S
        ):
            self._encode(writer)
        n_ready = len(self.finished) + len(self.failed)
        if (
            self.encoded_bytes > PENDING_BYTES
            or n_ready >= COMMIT_VIDEOS
            or (n_ready and moment - self.last_commit > COMMIT_S)
        ):
            self._commit(writer)

    def _encode(self, writer: IndexWriter) -> None:
        batch = [(video, clip) for video, clip in self.waiting if not video.failed]
        self.waiting = []
        if not batch:
            return
        started = time.monotonic()
        for (video, clip), tokens in zip(batch, self._encoded(writer, batch), strict=True):
            video.n_waiting -= 1
            if tokens is None or video.failed:
                continue
            (clip_id,) = writer.take_clip_ids(1)
            # The frames have done their duty; only their number still counts.
            light = replace(clip, frames=np.empty((len(clip.times), 0, 0, 3), np.uint8))
            item = EncodedClip(clip_id, video.job.video_id, writer.build, light, tokens)
            self.encoded.append(item)
            self.encoded_bytes += _bytes_of(tokens)
            video.n_clips += 1
            video.n_frames += len(clip.times)
            self.report.n_frames += len(clip.times)
            self.report.video_s += clip.end_s - clip.start_s
        self.stages["encode"] += time.monotonic() - started
        for video in {id(video): video for video, _ in batch}.values():
            self._finish_if_whole(writer, video)
        self.tell("clip", batch[-1][0].job.path)

    def _encoded(
        self, writer: IndexWriter, batch: Sequence[tuple[_Video, DecodedClip]]
    ) -> list[VideoTokens | None]:
        """Tokens per clip; None for a clip that would not encode, whose video fails."""
        try:
            tokens = self.bundle.encode_clips([clip.frames for _, clip in batch])
            if all(_finite(item) for item in tokens):
                return list(tokens)
        except BundleError:
            raise  # nothing else would encode either
        except FinecutError:
            pass  # one of them: found below
        one_by_one: list[VideoTokens | None] = []
        for video, clip in batch:
            try:
                (item,) = self.bundle.encode_clips([clip.frames])
                if not _finite(item):
                    raise UsageError("the tokens are not finite numbers")
                one_by_one.append(item)
            except BundleError:
                raise
            except FinecutError as error:
                one_by_one.append(None)
                message = f"{video.job.path}: clip {clip.number} does not encode: {error}"
                self._fail(writer, video, "not encoded", message)
        return one_by_one

    def _finish_if_whole(self, writer: IndexWriter, video: _Video) -> None:
        if video.failed or video.ended is None or video.n_waiting:
            return
        path = video.job.path
        if not video.n_clips:
            self._fail(writer, video, "empty", f"{path}: no frame could be taken from it.")
        elif not _untouched(video.job.stamps[0]):
            message = f"{path} changed while it was read: still being written? Run again later."
            self._fail(writer, video, "being written", message)
        else:
            self.finished.append(video)

    def _fail(self, writer: IndexWriter, video: _Video, reason: str, message: str) -> None:
        video.failed = True
        job = video.job
        self.encoded = [item for item in self.encoded if item.video_id != job.video_id]
        row = _failed_row(job.video_id, job.stamps, writer.build, reason, message, video.probe)
        self.failed.append((video, row))

    def _commit(self, writer: IndexWriter) -> None:
        """Make what is encoded last, then say which files are done."""
        self.last_commit = time.monotonic()
        finished, failed, encoded = list(self.finished), self.failed, self.encoded
        if not (finished or failed or encoded):
            return
        rows = [_done_row(video, writer.build) for video in finished]
        writer.commit(encoded, rows + [row for _, row in failed])
        self.finished.clear()
        self.failed, self.encoded, self.encoded_bytes = [], [], 0
        report = self.report
        report.n_written += len(rows) + len(failed)
        for video in finished:
            report.n_changed += video.job.changed
            report.n_new += not video.job.changed
            self._count(video)
            self.tell("done", video.job.path)
        for video, row in failed:
            for stamp in video.job.stamps:
                report.failures.append(Failure(stamp.path, row.reason, row.error))
            self._count(video)
            self.tell("failed", video.job.path, message=row.error)
        self.stages["write"] += time.monotonic() - self.last_commit
        self.commits += 1
        if self.commits % TIDY_COMMITS == 0:
            writer.compact()
        self.last_commit = time.monotonic()

    def _count(self, video: _Video) -> None:
        self.done_files += 1
        self.done_bytes += video.job.stamps[0].size_bytes


_NOBODY = _Video(Job("", [PathStamp("", 0, 0)], False), failed=True)


def _finite(tokens: VideoTokens) -> bool:
    arrays = (tokens.recall, tokens.frames, tokens.patches, tokens.frame_values)
    return all(array is None or bool(np.isfinite(array).all()) for array in arrays)


def _bytes_of(tokens: VideoTokens) -> int:
    arrays = (tokens.recall, tokens.frames, tokens.patches, tokens.frame_values)
    return sum(array.nbytes for array in arrays if array is not None)


def _untouched(stamp: PathStamp) -> bool:
    try:
        status = os.stat(stamp.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (stamp.size_bytes, stamp.mtime_ns)


def _done_row(video: _Video, build: int) -> VideoRow:
    assert video.ended is not None
    row = _failed_row(video.job.video_id, video.job.stamps, build, "", "", video.probe)
    return replace(
        row,
        status="done",
        duration_s=video.ended.duration_s or row.duration_s,
        n_clips=video.n_clips,
        n_frames=video.n_frames,
        lost_frames=video.ended.frames_lost,
    )


def _failed_row(
    video_id: str,
    stamps: Sequence[PathStamp],
    build: int,
    reason: str,
    message: str,
    probe: VideoProbe | None = None,
) -> VideoRow:
    return VideoRow(
        video_id=video_id,
        build=build,
        stamps=tuple(stamps),
        status="failed",
        reason=reason,
        error=message,
        size_bytes=stamps[0].size_bytes,
        container=probe.container if probe else "",
        codec=probe.codec if probe else "",
        width=probe.width if probe else 0,
        height=probe.height if probe else 0,
        rotation=probe.rotation if probe else 0,
        duration_s=probe.duration_s if probe else 0.0,
        fps=probe.fps if probe else 0.0,
        has_audio=probe.has_audio if probe else False,
        recorded_at=probe.recorded_at if probe else None,
        n_clips=0,
        n_frames=0,
        lost_frames=0,
        indexed_at=now(),
    )
