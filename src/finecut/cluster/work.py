"""Working through the videos of a run on a cluster: passes over what is left, until nothing is.

The driver holds the writer's lock and is the only one to commit. Workers report files of clips and
verdicts on videos; a video is done when all clips of its verdict have been reported, and is
committed then, once. What a pass loses with its workers comes again in the next one under new clip
ids, after whatever was committed of it was taken away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finecut.cluster.connect import connected, nodes
from finecut.cluster.machines import check_machines
from finecut.cluster.pipeline import Pipeline
from finecut.cluster.sizes import Sizes, clip_bytes, sizes_for
from finecut.cluster.travel import CLIP_IDS, JobRow, Verdict
from finecut.errors import BundleError, FinecutError
from finecut.index.decode_pool import Failed, Request
from finecut.index.fragments import WrittenClips
from finecut.index.plan import NOT_THERE, WORKER_LOST
from finecut.index.run import Run
from finecut.index.underway import VideoUnderway
from finecut.index.writer import IndexWriter
from finecut.video.spec import DecodeSpec

PASS_JOBS = 20_000  # videos in one pass: bounds what the driver and Ray remember of it
MOST_PASSES = 3  # with room in the cluster that may lose a video before it is given up
WAIT_S = 0.1
LOOK_S = 2.0  # between looks at which nodes are alive


@dataclass(slots=True)
class Underway:
    """What is known of one video in this pass."""

    video: VideoUnderway
    lost: int = 0  # passes that did not finish it
    blamed: int = 0  # of them those that had room to
    why: str = ""  # what a worker said that gave it up
    verdict: Verdict | None = None
    numbers: set[int] = field(default_factory=set)  # of clips reported
    n_frames: int = 0
    video_s: float = 0.0
    twice: bool = False  # a clip came two times: nothing of this pass is to be trusted

    @property
    def settled(self) -> bool:
        """Done or failed."""
        return self.video.failed or (self.verdict is not None and self.whole)

    @property
    def whole(self) -> bool:
        """Every clip of the verdict has been reported, once."""
        verdict = self.verdict
        return verdict is not None and not self.twice and len(self.numbers) == verdict.n_clips

    def begin_again(self) -> None:
        """Forget this pass."""
        self.lost += 1
        self.verdict, self.numbers, self.twice = None, set(), False
        self.n_frames, self.video_s = 0, 0.0
        video = self.video
        video.texts = video.probe = video.ended = None
        video.n_waiting = video.n_clips = video.n_frames = 0


class ClusterWork:
    """What `build_index` calls in place of `Run.work`.

    Args:
        address: of the cluster, joined only when there is something to do.
        workers: decoders; None: as many as there is room for.
        encoder_gpus: GPUs for each encoder; 0: they run on CPUs.
    """

    def __init__(
        self, address: str, *, workers: int | None = None, encoder_gpus: float = 0.0
    ) -> None:
        self._address = address
        self._workers = workers
        self._encoder_gpus = encoder_gpus

    def __call__(self, run: Run, writer: IndexWriter, videos: Sequence[VideoUnderway]) -> None:
        """Read, encode and commit, until all is done or a stop is asked for."""
        if not videos:
            return
        ended: KeyboardInterrupt | FinecutError | None = None
        with connected(self._address):
            try:
                self._all_passes(run, writer, videos)
            except (KeyboardInterrupt, FinecutError) as error:
                ended = error
                run.report.stopped = True
        run.commit(writer)
        run.report.n_left = run.total_files - run.done_files
        writer.remove_unfinished()
        if ended is not None:
            raise ended

    def _all_passes(self, run: Run, writer: IndexWriter, videos: Sequence[VideoUnderway]) -> None:
        check_machines(
            nodes(),
            writer.directory,
            writer.meta,
            run.bundle.ref,
            [video.job.path for video in videos],
        )
        left = [Underway(video) for video in videos]
        while left:
            if any(one.lost for one in left):
                run.commit(writer)
                writer.remove_unfinished()  # or their clips would count twice
            some, later = _next_pass(left)
            had_room = self._pass(run, writer, some)
            if run.report.stopped:
                return
            for one in some:
                if not one.settled:
                    _take_back(run, one)
                    one.blamed += had_room
                    if one.blamed >= MOST_PASSES:
                        _give_up(run, one)
            left = [one for one in some if not one.settled] + later

    def _pass(self, run: Run, writer: IndexWriter, some: Sequence[Underway]) -> bool:
        """One pass over some videos; whether the cluster had room for it to its end."""
        sizes = sizes_for(
            nodes(),
            n_jobs=len(some),
            clip_bytes=clip_bytes(writer.meta),
            workers=self._workers,
            encoder_gpus=self._encoder_gpus,
        )
        jobs = [
            JobRow(
                number,
                one.video.job.video_id,
                writer.build,
                writer.take_clip_ids(CLIP_IDS).start,
                Request(one.video.job.path, one.video.known is None, one.video.text_job.request),
            )
            for number, one in enumerate(some)
        ]
        with Pipeline(
            jobs,
            sizes,
            spec=DecodeSpec.from_manifest(run.bundle.manifest),
            limits=run.limits,
            bundle_ref=run.bundle.ref,
            directory=writer.directory,
            meta=writer.meta,
            one_by_one=any(one.lost for one in some),
        ) as pipeline:
            return self._hear(run, writer, some, pipeline, sizes)

    def _hear(
        self,
        run: Run,
        writer: IndexWriter,
        some: Sequence[Underway],
        pipeline: Pipeline,
        sizes: Sizes,
    ) -> bool:
        """Take reports in until the pass is over (True), or has no room left in the cluster."""
        looked = time.monotonic()
        while True:
            if run.should_stop is not None and run.should_stop():
                run.report.stopped = True
                return True
            try:
                report = pipeline.get(WAIT_S)
            except StopIteration:
                return True
            if report is not None:
                _take_in(run, some, report)
            run.commit_in_time(writer)
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                alive = nodes()
                if sum(node.cpus for node in alive) < sizes.cpus - 1e-6:
                    return False  # its workers would wait for one another: begin anew with fewer


def _next_pass(left: list[Underway]) -> tuple[list[Underway], list[Underway]]:
    """Videos for the next pass, and those for later. What was lost goes alone."""
    lost = [one for one in left if one.lost]
    if lost:
        return lost[:PASS_JOBS], lost[PASS_JOBS:] + [one for one in left if not one.lost]
    return left[:PASS_JOBS], left[PASS_JOBS:]


def _take_in(run: Run, some: Sequence[Underway], report: dict[str, Any]) -> None:
    """One report: clips in files, or words about a video."""
    if "tokens" in report:
        run.written.append(WrittenClips(tuple(report["tokens"]), tuple(report["clips"])))
        touched = [_take_clip(run, some[row["job"]], row) for row in report["rows"]]
        for one in {id(one): one for one in touched}.values():
            _settle(run, one)
        if touched:
            run.tell("clip", touched[-1].video.job.path)
        return
    one = some[report["job"]]
    if "broken" in report:
        raise BundleError(report["broken"])
    if "gave_up" in report:
        one.why = report["gave_up"]
    elif "not_encoded" in report:
        if not one.video.failed:
            message = f"{one.video.job.path}: {report['not_encoded']}"
            run.fail(one.video, "not encoded", message)
    else:
        one.verdict = Verdict.from_words(report)
        _settle(run, one)


def _take_clip(run: Run, one: Underway, row: dict[str, Any]) -> Underway:
    if row["number"] in one.numbers:
        one.twice = True
        return one
    one.numbers.add(row["number"])
    seconds = row["end_s"] - row["start_s"]
    one.n_frames += row["n_frames"]
    one.video_s += seconds
    run.report.n_frames += row["n_frames"]
    run.report.video_s += seconds
    return one


def _settle(run: Run, one: Underway) -> None:
    """Hand a video on as done or failed when all of it is there."""
    video, verdict = one.video, one.verdict
    if video.failed or video.ended is not None or verdict is None:
        return
    if verdict.failed is not None:
        video.probe = verdict.probed.probe if verdict.probed else None
        run.hear(video, _explained(verdict, video.job.path))
        return
    if not one.whole or verdict.ended is None:
        return
    if verdict.probed is not None:
        run.hear(video, verdict.probed)
    if verdict.texts is not None:
        run.hear(video, verdict.texts)
    video.n_clips, video.n_frames = len(one.numbers), one.n_frames
    run.hear(video, verdict.ended)


def _explained(verdict: Verdict, path: str) -> Failed:
    """A failure; that of a file which is here and not on the worker's machine says so."""
    assert verdict.failed is not None
    if not verdict.missing_on or not os.access(path, os.R_OK):
        return verdict.failed
    return Failed(
        NOT_THERE,
        f"{path} cannot be read on {verdict.missing_on}: every machine of the cluster needs the "
        "same folders at the same place, or the videos in an object store.",
    )


def _take_back(run: Run, one: Underway) -> None:
    run.report.n_frames -= one.n_frames
    run.report.video_s -= one.video_s
    one.begin_again()


def _give_up(run: Run, one: Underway) -> None:
    path = one.video.job.path
    why = f" ({one.why})" if one.why else ""
    message = f"{path}: the workers that read it were lost {one.lost} times{why}."
    run.fail(one.video, WORKER_LOST, message)
