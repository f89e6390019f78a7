"""`finecut index`: bring an index up to date with folders of videos."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finecut.cli import options
from finecut.cli.interrupt import Interrupt
from finecut.cli.said import t
from finecut.cli.show import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    bytes_text,
    command,
    out,
    path_text,
    plain,
    print_json,
    say,
    time_text,
)
from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle
    from finecut.index.report import IndexEvent, IndexReport
    from finecut.storage.location import Location

PLAIN_EVERY_S = 5.0  # between lines of progress where stderr is no terminal
MOST_NOTES = 20  # of what could not be read of the words, shown
ETA_FILES = 20  # or a fifth of all: before that the time left is a guess that misleads


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut index ~/Videos",
            "finecut index finecut-demo/library --index finecut-demo/index",
            "  Nothing to do: 8 files are indexed and unchanged.",
            'finecut index ~/Videos /media/camera --exclude "*.part" --exclude drafts',
            "finecut index clips --index clips.index --levels frame --json",
            "finecut index ~/Videos --channels said,told,named",
            "finecut index ~/Videos --keep-days 7",
            "finecut index /media/archive --index /media/index --cluster auto",
        )
    )(index)


@command
def index(
    roots: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of videos or video files, on disks or in buckets."),
    ] = None,
    index: options.Index = None,
    bundle: options.BundleRef = None,
    levels: Annotated[
        str,
        typer.Option(help="What is stored of a clip: video, frame or patch (finer, larger)."),
    ] = "patch",
    patches_kept: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Merge the patches of a frame into so many tokens: fewer take less room, more "
            "tell finer things apart. Kept for the next runs, 16 in a new index.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out names or paths that fit; may be repeated."),
    ] = None,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Go through links, each target once.")
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Words to be found by: some of said,shown,told,named, or none. "
            "Kept for the next runs; said,told,named at first.",
        ),
    ] = None,
    ocr: Annotated[
        bool | None,
        typer.Option("--ocr/--no-ocr", help="Read what is on the screen (channel shown)."),
    ] = None,
    speech: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Transcribe videos without subtitles by the Whisper model in this folder; "
            "none: no longer.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoding processes; one per core otherwise.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on the machines of a Ray cluster: HOST:PORT, auto for the one this machine "
            "is part of, local to start one here.",
        ),
    ] = None,
    encoder_gpus: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="N", help="With --cluster: GPUs, or a part of one, for each encoder."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Index again what is indexed already.")
    ] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How long past states can be gone back to; kept for the next runs, an hour at "
            "first.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="STATE",
            help="Go back to a past state instead: a number of finecut info --history, a date or "
            "a time.",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say how the time was spent, stage by stage.")
    ] = False,
    device: options.Device = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Index folders of videos; again, only what has changed since.

    Words come along: subtitles beside and inside the videos, transcripts, chapters, titles and
    names; with --ocr what is on the screen, with --speech what is spoken.

    What is new is decoded and encoded; what moved, changed or is gone is recognised. Run it
    again at any time: what is unchanged costs nothing, and a run that was stopped goes on.
    """
    from finecut.bundle.load import Bundle
    from finecut.index.build import build_index

    directory = options.index_dir(index)
    if as_of is not None:
        _go_back(directory, as_of, roots, as_json=as_json)
        return
    if not roots:
        raise UsageError("Say what to index: finecut index FOLDER")
    chosen = Bundle.load(
        bundle or bundle_of(directory), threads=threads, providers=options.providers(device)
    )
    if cluster is not None:
        if device is not None:
            raise UsageError("--device is for this machine; leave it out with --cluster.")
        from finecut.cluster.build import build_index_on_cluster

        build = partial(build_index_on_cluster, address=cluster, encoder_gpus=encoder_gpus or 0.0)
    elif encoder_gpus is not None:
        raise UsageError("--encoder-gpus is for --cluster; say which cluster, or leave it out.")
    else:
        build = build_index
    with Interrupt() as interrupt, _Progress(per_second=cluster is not None) as progress:
        report = build(
            roots,
            directory,
            chosen,
            levels=levels,  # type: ignore[arg-type]
            patches_kept=patches_kept,
            exclude=exclude or (),
            follow_symlinks=follow_symlinks,
            workers=workers,
            force=force,
            channels=None if channels is None else _channels(channels),
            ocr=ocr,
            speech="" if speech == "none" else speech,
            keep_days=keep_days,
            on_event=progress.show,
            should_stop=lambda: interrupt.asked,
        )
    if as_json:
        print_json({"index": str(directory), **report.to_json()})
    else:
        _show_report(report, directory, chosen, profile=profile)
    if (report.n_new or report.n_changed) and not report.stopped:
        from finecut.index.store import Index
        from finecut.search.calibration import bank_background
        from finecut.search.duplicates import note_copies

        copies = note_copies(directory)
        if directory.is_local:
            # So that the first search need not: half a second for 100,000 clips.
            bank_background(chosen, Index.open(directory))
        if copies and not as_json:
            say(t("{n} videos are copies of one another: see finecut duplicates", n=copies))
    if report.stopped:
        say(t("Stopped: {n} files are left; the same command goes on from here.", n=report.n_left))
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.failures:
        raise typer.Exit(EXIT_FAILED)


def _go_back(directory: Location, as_of: str, roots: list[str] | None, *, as_json: bool) -> None:
    from finecut.index.history import moment_text
    from finecut.index.restore import restore

    if roots:
        raise UsageError(
            "--as-of goes back to a past state and indexes nothing: leave the folders out, and "
            "index them afterwards."
        )
    past, version = restore(directory, as_of)
    if as_json:
        print_json({"index": str(directory), "as_of": past.to_json(), "version": version})
        return
    head = past.head
    out(
        f"{path_text(str(directory))} is as it was at {moment_text(head.at)} (commit "
        f"{head.number}): {head.n_videos} videos, {time_text(head.video_s)}. Now {version}"
    )


def bundle_of(directory: Location) -> str:
    """What an index that is there was built with; the starter for a new one."""
    from finecut.bundle.place import STARTER
    from finecut.errors import IndexNotFound
    from finecut.index.meta import read_meta

    try:
        return read_meta(directory).bundle_ref
    except IndexNotFound:
        return STARTER


def _channels(text: str) -> list[str]:
    """The channels in a list with commas; none for "none"."""
    return [] if text.strip() == "none" else [name.strip() for name in text.split(",")]


def _show_report(
    report: IndexReport, directory: Location, bundle: Bundle, *, profile: bool
) -> None:
    for path, reason, message in report.failures:
        say(
            t(
                "failed: {path}: {reason}: {message}",
                path=path_text(path),
                reason=reason,
                message=message,
            )
        )
    if report.failures:
        say(t("{n} of {files} failed", n=len(report.failures), files=report.n_files))
    for path, _, message in report.text_notes[:MOST_NOTES]:
        say(f"words: {path_text(path)}: {message}")
    if len(report.text_notes) > MOST_NOTES:
        say(f"words: {len(report.text_notes) - MOST_NOTES} more notes (all of them: --json)")
    if report.nothing_to_do:
        out(t("Nothing to do: {n} files are indexed and unchanged.", n=report.n_unchanged))
        return
    counts = {
        "{n} new": report.n_new,
        "{n} changed": report.n_changed,
        "{n} moved": report.n_moved,
        "{n} duplicates": report.n_duplicates,
        "{n} removed": report.n_removed,
        "{n} unchanged": report.n_unchanged,
        "{n} with new words": report.n_texts,
        "{n} failed": report.n_failed,
    }
    told = ", ".join(t(words, n=n) for words, n in counts.items() if n)
    out(t("{n} files: {told}", n=report.n_files, told=told))
    if report.video_s:
        out(
            t(
                "{video} of video in {seconds} s ({rate}x real time), {size} per hour of video",
                video=time_text(report.video_s),
                seconds=f"{report.elapsed_s:.1f}",
                rate=f"{report.x_realtime:.0f}",
                size=bytes_text(report.bytes_per_video_hour),
            )
        )
    if report.screen_frames:
        out(
            t(
                "screen: {read} of {frames} frames had new text and were read",
                read=report.screen_read,
                frames=report.screen_frames,
            )
        )
    out(t("index: {path} (bundle {bundle})", path=path_text(str(directory)), bundle=bundle.name))
    if profile:
        for stage, seconds in report.stages_s.items():
            out(f"  {stage:12} {seconds:8.2f} s")


class _Progress:
    """A bar on a terminal; elsewhere a plain line now and then."""

    def __init__(self, *, per_second: bool = False) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()
        self._started = self._last if per_second else None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} files"),
                TextColumn("{task.fields[rate]}", markup=False),  # may hold a file name
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("looking", total=0, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: IndexEvent) -> None:
        """Take in an event of the run."""
        doing = {"scan": "looking", "hash": "recognising", "tidy": "tidying"}.get(
            event.kind, "indexing"
        )
        rate = f"{event.frames} frames, {event.x_realtime:.0f}x real time"
        if self._started is not None:
            seconds = max(1e-3, time.monotonic() - self._started)
            rate = f"{event.done_files / seconds:.2g} videos/s, {rate}"
        known = event.done_files >= ETA_FILES or event.done_files * 5 >= event.total_files
        if event.eta_s is not None and known:
            rate += f", {time_text(event.eta_s)[:-2]} left"
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=doing,
                completed=event.done_files,
                total=event.total_files,
                rate=rate if event.frames else plain(event.message),
            )
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_EVERY_S:
            self._last = now
            done = f"{event.done_files}/{event.total_files} files, {rate}"
            say(f"{doing}: {done if event.total_files else event.message}")
