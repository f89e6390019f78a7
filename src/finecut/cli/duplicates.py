"""`finecut duplicates`: videos of an index that are copies of one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finecut.cli import options
from finecut.cli.show import bytes_text, command, out, path_text, print_json, say, table, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finecut.index.rows import VideoRow
    from finecut.search.duplicates import Group, Pair


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut duplicates",
            "finecut duplicates --index clips.index --json",
            "finecut duplicates --threshold 0.9 --share 0.9",
        )
    )(duplicates)


@command
def duplicates(
    index: options.Index = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How alike the frames must be: 0.8 when not given."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How much of the shorter video must agree: 0.5 else."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Group the copies in an index, with what agrees.

    Copies are re-encoded, resized or trimmed. Nothing is decoded: the thumbnails and vectors of the
    index are compared, and their times must agree. A mirrored video counts as another one. Only
    what is new since the last time is compared.
    """
    from finecut.index.store import Index
    from finecut.search.duplicates import SHARE, THRESHOLD, groups, note_copies

    opened = Index.open(options.index_dir(index))
    found = groups(
        opened,
        threshold=THRESHOLD if threshold is None else threshold,
        share=SHARE if share is None else share,
    )
    note_copies(opened.directory)  # for searches: everything is compared now
    videos = {row.video_id: row for row in opened.videos}
    if as_json:
        print_json({"groups": [_plain(group, videos) for group in found]})
        return
    if not found:
        out("No copies found.")
        return
    for number, group in enumerate(found, start=1):
        out(f"{number}. {len(group.videos)} copies")
        table([_row(videos[name]) for name in group.videos], right=(1, 2, 3))
        for pair in group.pairs:
            out(f"   {_evidence(pair, videos)}")
    spare = sum(videos[name].size_bytes for group in found for name in group.videos[1:])
    say(f"{len(found)} groups; all but the first of each take {bytes_text(spare)}")


def _row(row: VideoRow) -> tuple[str, ...]:
    return (
        "  ",
        time_text(row.duration_s),
        f"{row.width}x{row.height}",
        bytes_text(row.size_bytes),
        path_text(row.paths[0]),
    )


def _evidence(pair: Pair, videos: Mapping[str, VideoRow]) -> str:
    first, second = (Path(videos[name].paths[0]).name for name in (pair.first, pair.second))
    plain = pair.to_json()
    return (
        f"{path_text(first)} {time_text(pair.start_s)}-{time_text(pair.end_s)} = "
        f"{path_text(second)} {time_text(max(0.0, plain['second_start_s']))}-"
        f"{time_text(plain['second_end_s'])}: {pair.share:.0%} of the shorter, "
        f"alike {pair.similarity:.2f}, moving alike {max(0.0, pair.motion):.2f}"
    )


def _plain(group: Group, videos: Mapping[str, VideoRow]) -> dict[str, Any]:
    return {
        "videos": [
            {
                "video_id": name,
                "paths": list(videos[name].paths),
                "duration_s": round(videos[name].duration_s, 3),
                "width": videos[name].width,
                "height": videos[name].height,
                "size_bytes": videos[name].size_bytes,
            }
            for name in group.videos
        ],
        "pairs": [pair.to_json() for pair in group.pairs],
    }
