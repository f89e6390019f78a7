"""`finecut cut`: save moments as files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.search import find_video, parse_time
from finecut.cli.show import command, out, path_text, print_json, say, time_text
from finecut.errors import IndexNotFound, NotFound, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut cut clip.mp4 1:05 1:12 -o moment.mp4",
            "finecut cut finecut-demo/library/a-day-out.mp4 0:25 0:27 -o coffee.mp4",
            "  coffee.mp4  0:25.0-0:27.0 (encoded)",
            'finecut cut --query "a dog catches a frisbee" -o frisbee.mp4',
        )
    )(cut)


@command
def cut(
    video: Annotated[
        str | None, typer.Argument(help="A video file, or a name or id in the index.")
    ] = None,
    start: Annotated[str | None, typer.Argument(help="75.5, 1:15 or 1:02:03.")] = None,
    end: Annotated[str | None, typer.Argument(help="The first time left out.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The file to write.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="Save the best moment for a sentence instead.")
    ] = None,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, help="With --query: which of the results.")
    ] = 1,
    reencode: Annotated[
        str, typer.Option(help="auto: copy where key frames allow; always; never.")
    ] = "auto",
    index: options.Index = None,
    bundle: options.BundleRef = None,
    as_json: options.Json = False,
) -> None:
    """Save a moment as a file, not encoded again where possible.

    Packets are copied where a key frame lies at the start; elsewhere the stretch is encoded, exact
    to the frame. A file that is there is never overwritten.
    """
    from finecut.video.cut import cut as cut_video

    if reencode not in ("auto", "always", "never"):
        raise UsageError(f"--reencode must be auto, always or never, got {reencode!r}.")
    if query is not None and video is None:
        from finecut.search.engine import Searcher

        searcher = Searcher.open(options.index_dir(index), bundle=bundle)
        found = searcher.search(query, k=number, evidence=False)
        if len(found) < number:
            raise NotFound(f"The search found {len(found)} moments; there is no number {number}.")
        if not found.good_match:
            say("No good match; this is the best guess.")
        moment = found[number - 1]
        source, start_s, end_s = moment.video, moment.start_s, moment.end_s
    elif query is None and video is not None and start is not None and end is not None:
        source, start_s, end_s = _file_of(video, index), parse_time(start), parse_time(end)
    else:
        raise UsageError('Give VIDEO START END, or --query "a sentence".')
    if output is None:
        stem = Path(source)
        output = Path(f"{stem.stem}_{start_s:.1f}-{end_s:.1f}{stem.suffix or '.mp4'}")
    report = cut_video(source, start_s, end_s, output, reencode=reencode)  # type: ignore[arg-type]
    if as_json:
        print_json(
            {
                "output": str(output),
                "video": source,
                "start_s": report.start_s,
                "end_s": report.end_s,
                "copied": report.copied,
            }
        )
    else:
        how = "copied" if report.copied else "encoded"
        times = f"{time_text(report.start_s)}-{time_text(report.end_s)}"
        out(f"{path_text(str(output))}  {times} ({how})")


def _file_of(video: str, index: Path | None) -> str:
    """The file meant: the path if there is one, else a video of the index by name or id."""
    if Path(video).exists():
        return video
    from finecut.index.store import Index

    try:
        row = find_video(Index.open(options.index_dir(index)).videos, video)
    except (IndexNotFound, NotFound):
        return video  # the cut itself says that there is no such file
    return row.present_path() or video
