"""`finecut info`, `ls` and `rm`: what is in an index, and taking it out."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli import options
from finecut.cli.show import bytes_text, command, out, path_text, print_json, say, table, time_text

if TYPE_CHECKING:
    from finecut.storage.location import Location


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command(
        epilog=options.examples(
            "finecut info", "finecut info --index clips.index --json", "finecut info --history"
        )
    )(info)
    app.command(
        name="ls",
        epilog=options.examples("finecut ls", "finecut ls --failed", "finecut ls --json"),
    )(list_videos)
    app.command(
        name="rm",
        epilog=options.examples(
            "finecut rm old.mp4", 'finecut rm "*/drafts/*"', "finecut rm ab12cd34"
        ),
    )(remove_videos)


def _date(seconds: float) -> str:
    if not seconds:
        return "never"
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


@command
def info(
    index: options.Index = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="List the states it can go back to, the newest first."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """What an index holds, its size and its bundle."""
    from dataclasses import asdict

    from finecut.index.store import Index

    directory = options.index_dir(index)
    if history:
        _show_history(directory, as_json=as_json)
        return
    stats = Index.open(directory).stats()
    if as_json:
        print_json({"index": str(directory), **asdict(stats)})
        return
    rows = [
        ("index", str(directory)),
        ("videos", f"{stats.n_videos} ({time_text(stats.video_s)} of video)"),
        ("failed", str(stats.n_failed)),
        ("clips", f"{stats.n_clips} ({stats.n_frames} frames)"),
        ("levels", stats.levels),
        ("bundle", f"{stats.bundle} ({stats.fingerprint[:12]})"),
        ("size", f"{bytes_text(stats.size_bytes)}, of which {bytes_text(stats.cache_bytes)} cache"),
        *((f"  {name}", bytes_text(size)) for name, size in stats.table_bytes.items()),
        ("per hour of video", bytes_text(stats.bytes_per_video_hour)),
        ("made", _date(stats.created_at)),
        ("last indexed", _date(stats.indexed_at)),
        ("version", stats.version),
    ]
    table(rows)


def _show_history(directory: Location, *, as_json: bool) -> None:
    from finecut.index.history import DAY_S, MIN_KEEP_S, commits, moment_text

    known = commits(directory)[::-1]
    keep_s = max(known[0].head.keep_s, MIN_KEEP_S)
    if as_json:
        states = [commit.to_json() for commit in known]
        print_json({"index": str(directory), "keep_days": keep_s / DAY_S, "history": states})
        return
    cells = [
        (
            str(commit.head.number),
            moment_text(commit.head.at),
            f"{commit.head.n_videos} videos",
            f"{commit.head.n_clips} clips",
            time_text(commit.head.video_s),
        )
        for commit in known
    ]
    table(cells, right=(0, 2, 3, 4))
    say(
        f"{len(known)} states; each is kept for {keep_s / DAY_S:.3g} days after the next one "
        "(finecut index --keep-days). Go back with: finecut index --as-of NUMBER"
    )


@command
def list_videos(
    index: options.Index = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what could not be read.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the videos of an index: id, length, size, state, path."""
    from finecut.index.store import Index

    rows = [
        row
        for row in Index.open(options.index_dir(index)).videos
        if not failed or row.status == "failed"
    ]
    rows.sort(key=lambda row: row.paths[0] if row.paths else "")
    if as_json:
        print_json(
            {
                "videos": [
                    {
                        "video_id": row.video_id,
                        "paths": list(row.paths),
                        "status": row.status,
                        "reason": row.reason,
                        "error": row.error,
                        "duration_s": row.duration_s,
                        "width": row.width,
                        "height": row.height,
                        "size_bytes": row.size_bytes,
                        "n_clips": row.n_clips,
                        "indexed_at": row.indexed_at,
                    }
                    for row in rows
                ]
            }
        )
        return
    cells = []
    for row in rows:
        done = row.status == "done"
        picture = f"{row.width}x{row.height}" if done else "-"
        length = time_text(row.duration_s) if done else "-"
        state = f"{row.n_clips} clip{'s' * (row.n_clips != 1)}" if done else f"failed: {row.reason}"
        for number, path in enumerate(row.paths):
            first = (row.video_id[:8], length, picture, state) if not number else ("", "", "", "=")
            cells.append((*first, path_text(path)))
    table(cells, right=(1,))
    say(f"{len(rows)} video{'s' * (len(rows) != 1)}")


@command
def remove_videos(
    selectors: Annotated[
        list[str], typer.Argument(help="Paths, folders, globs, file names, or ids.")
    ],
    index: options.Index = None,
    as_json: options.Json = False,
) -> None:
    """Take videos out of an index; the files themselves stay."""
    from finecut.index.remove import remove

    report = remove(options.index_dir(index), selectors)
    if as_json:
        print_json({"videos": list(report.videos), "paths": list(report.paths)})
        return
    out(f"{len(report.videos)} videos ({len(report.paths)} paths) taken out of the index")
