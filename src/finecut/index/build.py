"""Index folders of videos: find, decode, encode and store, side by side, and never half."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finecut.errors import FinecutError, UsageError
from finecut.index.create import check_kept
from finecut.index.history import DAY_S
from finecut.index.meta import MOST_KEPT, PATCHES_KEPT, IndexMeta, Levels
from finecut.index.plan import Stopped, make_plan
from finecut.index.report import IndexEvent, IndexReport
from finecut.index.run import Run
from finecut.index.scan import Scan, scan
from finecut.index.tables import plain_message
from finecut.index.text_plan import TextPlan, TextSettings, state_of
from finecut.index.underway import VideoUnderway
from finecut.index.writer import IndexWriter, now
from finecut.storage.location import Location
from finecut.video.spec import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle

Work = Callable[[Run, IndexWriter, list[VideoUnderway]], None]

MOST_DECODERS = 8  # by default; beyond it the encoder is what is waited for
MOST_ENCODERS = 4
MOST_DAYS = 36500  # that past states are kept


def build_index(
    roots: Sequence[str | Path],
    index_dir: str | Path | Location,
    bundle: Bundle,
    *,
    levels: Levels = "patch",
    patches_kept: int | None = None,
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    workers: int | None = None,
    force: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    channels: Sequence[str] | None = None,
    ocr: bool | None = None,
    speech: str | Path | None = None,
    keep_days: float | None = None,
    found: Scan | None = None,
    work: Work | None = None,
    on_event: Callable[[IndexEvent], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> IndexReport:
    """Bring an index up to date with some folders: whatever is new, moved, changed or gone.

    A file that cannot be indexed is reported and does not stop the run. What an event calls done
    is in the index for good, however the process ends; the next run goes on from there.

    Args:
        roots: folders and files; what the index knows outside them is left alone.
        index_dir: made if it is not there.
        bundle: the model; an index keeps to the one it was made with. The threads it was loaded
            with, if any, are how many batches are encoded side by side.
        levels: which tokens to store: of whole clips only, of frames, or of patches too.
        patches_kept: tokens that the patches of a frame are merged into, 1 to 255; as many as a
            frame has, or more, for no merging. None: as the index was made; 16 in a new one.
        exclude: globs on names, paths below a root, or whole paths.
        follow_symlinks: go through links, each target once.
        workers: decoding processes; by default one per core, at most 8.
        force: index again what is indexed already.
        limits: guards against hostile files.
        channels: of text, to be in the index: said, shown, told, named. None for this and the next
            two: as it was in the last run (at first said, told and named).
        ocr: read what is on the screen, that is with or without the channel shown.
        speech: folder of a Whisper model to transcribe videos with that have no subtitles; "" for
            no transcribing.
        keep_days: how long a past state can be gone back to after the next commit, in days (at
            least an hour). None: as it was in the last run.
        found: what was found under the roots just now; None: look.
        work: what reads, encodes and commits the videos; None: processes of this machine.
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
    if keep_days is not None and not 0 <= keep_days <= MOST_DAYS:
        raise UsageError(f"`keep_days` must be 0 to {MOST_DAYS}, got {keep_days!r}.")
    if levels not in ("video", "frame", "patch"):
        raise UsageError(f"`levels` must be video, frame or patch, got {levels!r}.")
    count = bundle.manifest.video.n_patches
    if patches_kept is not None and (patches_kept < 1 or MOST_KEPT < patches_kept < count):
        raise UsageError(
            f"`patches_kept` must be 1 to {MOST_KEPT}, or {count} for all of them, got "
            f"{patches_kept!r}."
        )
    cores = os.cpu_count() or 1
    # Runs of one thread side by side do more than one run on all cores, and share with decoders.
    run = Run(bundle.with_threads(1), limits, on_event, should_stop)
    if found is None:
        run.tell("scan")
        found = scan(
            roots,
            exclude=exclude,
            follow_symlinks=follow_symlinks,
            on_folder=lambda folder, count: run.tell("scan", folder, message=f"{count} files"),
        )
    kept = PATCHES_KEPT if patches_kept is None else patches_kept
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, levels, now(), kept)
    directory = Location.parse(index_dir).absolute()
    with IndexWriter(directory, meta) as writer:
        if patches_kept is not None:
            check_kept(directory, writer.meta, meta)
        settings = TextSettings.parse(writer.head.text_channels, writer.head.speech_model)
        settings = settings.changed(channels, ocr, speech).check()
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
            writer.set_texts(settings.channels_text, settings.speech)
            if keep_days is not None:
                writer.set_keep(keep_days * DAY_S)
            run.apply(writer, plan, found.unreadable)
            states = {name: state_of(text) for name, text in writer.text_states().items()}
            texts = TextPlan(settings, found.roots, states, follow_symlinks=follow_symlinks)
            videos = run.plan_texts(writer, plan, found.files, texts)
            if work is not None:
                work(run, writer, videos)
            else:
                run.work(
                    writer,
                    videos,
                    workers or min(MOST_DECODERS, cores),
                    bundle.threads or min(MOST_ENCODERS, cores),
                )
        except OSError as error:
            raise FinecutError(
                f"The index at {directory} could not be written: {plain_message(error)}. "
                "What was reported done is kept. Free some space or mend the permissions, then run "
                "the same command again."
            ) from error
        run.finish(writer)
    return run.report
