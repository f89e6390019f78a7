"""One indexing run: decoders, encoder and writer side by side, and what is told about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from finecut.index.cache import MANY_TEXTS
from finecut.index.content import path_id
from finecut.index.decode_pool import DecodePool, Ended, Failed, Message, Probed, Request
from finecut.index.encode import Encoded, Encoder, arrays_of
from finecut.index.fragments import WrittenClips
from finecut.index.plan import Job, Plan, message_of, reason_of
from finecut.index.read_texts import ReadTexts
from finecut.index.report import EventKind, Failure, IndexEvent, IndexReport
from finecut.index.rows import PathStamp, VideoRow, failed_row
from finecut.index.store import Index
from finecut.index.tables import EncodedClip
from finecut.index.text_plan import TextPlan
from finecut.index.texts import VideoTexts
from finecut.index.underway import VideoUnderway, done_row, untouched
from finecut.index.writer import IndexWriter, now
from finecut.types import DecodedClip
from finecut.video.spec import DecodeSpec, Limits

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle

COMMIT_S = 2.0  # between commits: many small ones would scatter the tables
COMMIT_VIDEOS = 64  # but at the latest after so many
COMMIT_TEXTS = 1000  # videos whose texts are renewed without reading
PENDING_BYTES = 64 << 20  # of tokens held back for the next commit
ENCODE_WAIT_S = 0.3  # how long clips wait for company before they are encoded
TIDY_COMMITS = 200  # in a long run, join small files so often
WAIT_S = 0.1  # for a decoder's next word, before looking after the rest
DECODE_STAGES = ("read", "decode", "resize", "texts")  # measured in the decoding processes


class Run:
    """The state of one run. `apply`, `work` and `finish` are its parts, in this order."""

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
        self.build = 0  # the writer's number of this run
        self.total_files = 0
        self.done_files = 0
        self.total_bytes = 0
        self.done_bytes = 0
        self.waiting: list[tuple[VideoUnderway, DecodedClip]] = []
        self.waiting_since = 0.0
        self.encoded: list[EncodedClip] = []
        self.encoded_bytes = 0
        self.written: list[WrittenClips] = []
        self.finished: list[VideoUnderway] = []
        self.failed: list[tuple[VideoUnderway, VideoRow]] = []
        self.text_plan: TextPlan
        self.last_commit = time.monotonic()
        self.commits = 0
        self.stages: dict[str, float] = dict.fromkeys(
            (*DECODE_STAGES, "encode", "write", "tidy", "wait_decode", "wait_encode"), 0.0
        )

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
        self.build = writer.build
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
            message = message_of(stamp.path, error)
            report.failures.append(Failure(stamp.path, reason_of(error), message))
            rows.append(
                failed_row(
                    path_id(stamp.path),
                    [stamp],
                    build=writer.build,
                    at=now(),
                    reason=reason_of(error),
                    error=message,
                )
            )
        writer.commit(videos=rows, removed=plan.removed)
        report.n_written += len(rows) + len(plan.removed)

    def plan_texts(
        self, writer: IndexWriter, plan: Plan, found: Mapping[str, PathStamp], texts: TextPlan
    ) -> list[VideoUnderway]:
        """What there is to read: the videos to decode, then those of which only the texts changed.

        Texts that need no reading (names after a move, channels given up) are committed here.
        """
        videos = [
            VideoUnderway(job, texts.of_new(job.video_id, [stamp.path for stamp in job.stamps]))
            for job in plan.jobs
        ]
        decoded = {job.video_id for job in plan.jobs}
        at_once = []
        for row in writer.videos.values():
            here = [stamp for stamp in row.stamps if stamp.path in found]
            if row.status != "done" or row.video_id in decoded or not here:
                continue
            text_job = texts.of_known(row.video_id, row.paths)
            if text_job is None:
                continue
            if text_job.request is None:
                at_once.append(texts.texts(text_job, None, row.duration_s))
            else:
                videos.append(VideoUnderway(Job(row.video_id, here, False), text_job, known=row))
        for start in range(0, len(at_once), COMMIT_TEXTS):
            writer.commit(texts=at_once[start : start + COMMIT_TEXTS])
        self.text_plan = texts
        self.report.n_texts += len(at_once)
        self.total_files = len(videos)
        self.total_bytes = sum(video.size_bytes for video in videos)
        self.tell("plan")
        return videos

    def work(
        self, writer: IndexWriter, videos: Sequence[VideoUnderway], decoders: int, encoders: int
    ) -> None:
        """Decode, encode and commit, until all is done or a stop is asked for."""
        if not videos:
            return
        spec = DecodeSpec.from_manifest(self.bundle.manifest)
        queue = (
            (video, Request(video.job.path, video.known is None, video.text_job.request))
            for video in videos
        )
        interrupt: KeyboardInterrupt | None = None
        with Encoder[VideoUnderway](self.bundle, encoders) as encoder:
            with DecodePool(queue, spec, self.limits, workers=min(decoders, len(videos))) as pool:
                try:
                    for video, message in self._messages(pool):
                        if video is not None and message is not None:
                            self.hear(video, message)
                        self._encode(writer, encoder)
                        self.commit_in_time(writer)
                    self._encode(writer, encoder, all_of_it=True)
                except KeyboardInterrupt as error:
                    interrupt = error
                    self.report.stopped = True
            self.stages["encode"] = encoder.busy_s
        self.commit(writer)
        self.report.n_left = self.total_files - self.done_files
        writer.remove_unfinished()
        if interrupt is not None:
            raise interrupt

    def finish(self, writer: IndexWriter) -> None:
        """Upkeep and the cache, so that the first search is as quick as the next."""
        report = self.report
        self.tell("tidy")
        started = time.monotonic()
        writer.compact(orphans=True)
        stats = Index.open(writer.directory, most_texts=MANY_TEXTS).stats()
        self.stages["tidy"] += time.monotonic() - started
        report.n_failed = len(report.failures)
        report.bytes_per_video_hour = stats.bytes_per_video_hour
        report.stages_s = dict(self.stages)
        report.elapsed_s = time.monotonic() - self.started
        report.x_realtime = report.video_s / report.elapsed_s if report.elapsed_s else 0.0
        self.tell("finish")

    # -- what `work` is made of ----------------------------------------------------------------

    def _messages(
        self, pool: DecodePool[VideoUnderway]
    ) -> Iterator[tuple[VideoUnderway, Message] | tuple[None, None]]:
        """Everything the decoders say; a lull comes as nothing, so that the rest goes on."""
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
                self.stages["wait_decode"] += time.monotonic() - started
            yield item if item is not None else (None, None)

    def hear(self, video: VideoUnderway, message: Message) -> None:
        if isinstance(message, Ended):
            for stage, seconds in zip(DECODE_STAGES, message.stages_s, strict=True):
                self.stages[stage] += seconds
        if video.failed:
            return
        if isinstance(message, ReadTexts):
            video.texts = message
            self.encoded_bytes += message.characters
            self.report.screen_frames += message.frames_seen
            self.report.screen_read += message.frames_read
        elif isinstance(message, Probed):
            video.probe = message.probe
            self.tell("start", video.job.path)
        elif isinstance(message, DecodedClip):
            if not self.waiting:
                self.waiting_since = time.monotonic()
            self.waiting.append((video, message))
            video.n_waiting += 1
        elif isinstance(message, Failed):
            self.fail(video, message.reason, message.message)
        else:
            video.ended = message
            self.finish_if_whole(video)

    def _encode(
        self, writer: IndexWriter, encoder: Encoder[VideoUnderway], *, all_of_it: bool = False
    ) -> None:
        """Put waiting clips on their way when it is time to, and take in what is through."""
        frames = sum(len(clip.times) for _, clip in self.waiting)
        late = time.monotonic() - self.waiting_since > ENCODE_WAIT_S
        if frames and (frames >= encoder.batch_frames or late or all_of_it):
            while encoder.full:
                self._take(writer, encoder, wait=True)
            encoder.put([(video, clip) for video, clip in self.waiting if not video.failed])
            self.waiting = []
        self._take(writer, encoder, wait=False)
        while all_of_it and not encoder.idle:
            self._take(writer, encoder, wait=True)

    def _take(self, writer: IndexWriter, encoder: Encoder[VideoUnderway], *, wait: bool) -> None:
        started = time.monotonic()
        through = encoder.take(wait=wait)
        self.stages["wait_encode"] += time.monotonic() - started
        for item in through:
            item.owner.n_waiting -= 1
            if item.owner.failed:
                continue
            if item.tokens is None:
                message = f"{item.owner.job.path}: {item.error}"
                self.fail(item.owner, "not encoded", message)
                continue
            self._keep(writer, item)
        for video in {id(item.owner): item.owner for item in through}.values():
            self.finish_if_whole(video)
        if through:
            self.tell("clip", through[-1].owner.job.path)

    def _keep(self, writer: IndexWriter, item: Encoded[VideoUnderway]) -> None:
        assert item.tokens is not None
        video, clip = item.owner, item.clip
        (clip_id,) = writer.take_clip_ids(1)
        # The frames have done their duty; only their number still counts.
        light = replace(clip, frames=np.empty((len(clip.times), 0, 0, 3), np.uint8))
        self.encoded.append(
            EncodedClip(clip_id, video.job.video_id, writer.build, light, item.tokens)
        )
        self.encoded_bytes += sum(array.nbytes for array in arrays_of(item.tokens))
        video.n_clips += 1
        video.n_frames += len(clip.times)
        self.report.n_frames += len(clip.times)
        self.report.video_s += clip.end_s - clip.start_s

    def finish_if_whole(self, video: VideoUnderway) -> None:
        if video.failed or video.ended is None or video.n_waiting:
            return
        path = video.job.path
        if video.known is not None:
            self.finished.append(video)
        elif not video.n_clips:
            self.fail(video, "empty", f"{path}: no frame could be taken from it.")
        elif not untouched(video.job.stamps[0]):
            message = f"{path} changed while it was read: still being written? Run again later."
            self.fail(video, "being written", message)
        else:
            self.finished.append(video)

    def fail(self, video: VideoUnderway, reason: str, message: str) -> None:
        video.failed = True
        job = video.job
        if video.known is not None:  # it stays as it is; its texts are tried again next time
            self.report.text_notes.append(Failure(job.path, reason, message))
            self._count(video)
            return
        self.encoded = [item for item in self.encoded if item.video_id != job.video_id]
        row = failed_row(
            job.video_id,
            job.stamps,
            build=self.build,
            at=now(),
            reason=reason,
            error=message,
            probe=video.probe,
        )
        self.failed.append((video, row))

    def commit_in_time(self, writer: IndexWriter) -> None:
        n_ready = len(self.finished) + len(self.failed)
        if (
            self.encoded_bytes > PENDING_BYTES
            or n_ready >= COMMIT_VIDEOS
            or (n_ready and time.monotonic() - self.last_commit > COMMIT_S)
        ):
            self.commit(writer)

    def commit(self, writer: IndexWriter) -> None:
        """Make what is encoded last, then say which files are done."""
        started = self.last_commit = time.monotonic()
        finished, failed, encoded = self.finished, self.failed, self.encoded
        written = self.written
        if not (finished or failed or encoded or written):
            return
        rows = [done_row(video, writer.build) for video in finished if video.known is None]
        rows += [row for _, row in failed]
        texts = [self._texts(video) for video in finished]
        writer.commit(encoded, rows, texts=texts, written=written)
        self.finished, self.failed, self.encoded, self.encoded_bytes = [], [], [], 0
        self.written = []
        self.stages["write"] += time.monotonic() - started
        report = self.report
        report.n_written += len(rows)
        for video in finished:
            if video.texts is not None:
                path = video.job.path
                report.text_notes += [Failure(path, "texts", note) for note in video.texts.notes]
            if video.known is not None:
                report.n_texts += 1
                self._count(video)
                self.tell("texts", video.job.path)
                continue
            report.n_changed += video.job.changed
            report.n_new += not video.job.changed
            self._count(video)
            self.tell("done", video.job.path)
        for video, row in failed:
            for stamp in video.job.stamps:
                report.failures.append(Failure(stamp.path, row.reason, row.error))
            self._count(video)
            self.tell("failed", video.job.path, message=row.error)
        self.commits += 1
        if self.commits % TIDY_COMMITS == 0:
            writer.compact()

    def _texts(self, video: VideoUnderway) -> VideoTexts:
        if video.known is not None:
            duration_s = video.known.duration_s
        else:
            duration_s = done_row(video, self.build).duration_s
        return self.text_plan.texts(video.text_job, video.texts, duration_s)

    def _count(self, video: VideoUnderway) -> None:
        self.done_files += 1
        self.done_bytes += video.size_bytes
