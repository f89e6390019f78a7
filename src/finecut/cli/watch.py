"""`finecut watch`: keep folders indexed until stopped."""

from __future__ import annotations

import datetime
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli import options
from finecut.cli.index import bundle_of
from finecut.cli.interrupt import Interrupt
from finecut.cli.show import command, out, path_text, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from finecut.index.report import IndexEvent, IndexReport
    from finecut.index.scan import Scan
    from finecut.index.watch import WatchEvent


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut watch ~/Videos",
            "finecut watch ~/Videos /mnt/nas/films --poll 30 --json",
            'finecut watch /srv/videos --index /srv/finecut --exclude "*.part" --grace 600',
        )
    )(watch)


@command
def watch(
    roots: Annotated[list[str], typer.Argument(help="Folders of videos, or video files.")],
    index: options.Index = None,
    bundle: options.BundleRef = None,
    levels: Annotated[
        str,
        typer.Option(help="What is stored of a clip: video, frame or patch (finer, larger)."),
    ] = "patch",
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out names or paths that fit; may be repeated."),
    ] = None,
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Go through links, each target once.")
    ] = False,
    poll: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Look this often instead of waiting for notices: for mounts."
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long a file must stay the same to be read."),
    ] = 2.0,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long a file must be gone to leave the index."),
    ] = 60.0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoding processes; one per core otherwise.")
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one JSON object on one line.")
    ] = False,
) -> None:
    """Keep folders indexed as their files change, until stopped.

    Begins with what changed since the last run. Files that are still being copied are waited for;
    a folder that vanishes as a whole (a disk, a mount) loses nothing in the index. Searches and a
    running server see each change as soon as it is in.
    """
    from finecut.bundle.load import Bundle
    from finecut.index.build import build_index
    from finecut.index.watch import Pace, Watch
    from finecut.search.duplicates import note_copies

    directory = options.index_dir(index)
    chosen = Bundle.load(
        bundle or bundle_of(directory), threads=threads, providers=options.providers(device)
    )

    def build(
        found: Scan, on_event: Callable[[IndexEvent], None], should_stop: Callable[[], bool]
    ) -> IndexReport:
        report = build_index(
            found.roots,
            directory,
            chosen,
            levels=levels,  # type: ignore[arg-type]
            exclude=exclude or (),
            follow_symlinks=follow_symlinks,
            workers=workers,
            found=found,
            on_event=on_event,
            should_stop=should_stop,
        )
        if (report.n_new or report.n_changed) and not report.stopped:
            note_copies(directory)
        return report

    with Interrupt() as interrupt:
        Watch(
            roots,
            directory,
            build,
            pace=Pace(settle_s=settle, grace_s=grace, poll_s=poll),
            exclude=exclude or (),
            follow_symlinks=follow_symlinks,
            on_event=_print_json if as_json else _print,
            should_stop=lambda: interrupt.asked,
        ).run()


def _print_json(event: WatchEvent) -> None:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    print_json({"at": at, **event.to_json()})
    sys.stdout.flush()  # others wait for it at the end of a pipe


def _print(event: WatchEvent) -> None:
    at = datetime.datetime.now().strftime("%H:%M:%S")
    parts = [path_text(event.path)] if event.path else []
    if event.message:
        parts.append(event.message)
    if event.report is not None:
        counts = event.to_json()
        names = ("new", "changed", "moved", "duplicates", "removed", "texts", "failed", "left")
        parts += [f"{counts[f'n_{name}']} {name}" for name in names if counts[f"n_{name}"]]
    out(f"{at} {event.kind:8} {', '.join(parts)}".rstrip())
    sys.stdout.flush()
