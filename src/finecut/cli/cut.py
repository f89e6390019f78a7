"""`finecut cut`: save moments as files of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli import options
from finecut.cli.search import find_video, parse_time
from finecut.cli.show import EXIT_FAILED, command, out, path_text, print_json, say, time_text
from finecut.errors import IndexNotFound, NotFound, UsageError
from finecut.storage.location import is_url

if TYPE_CHECKING:
    from finecut.video.cut import CutReport
    from finecut.video.cut_many import Piece, Stretch


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut cut clip.mp4 1:05 1:12 -o moment.mp4",
            "finecut cut finecut-demo/library/a-day-out.mp4 0:25 0:27 -o coffee.mp4",
            "  coffee.mp4  0:25.0-0:27.0 (encoded)",
            'finecut cut --query "a dog catches a frisbee" -o frisbee.mp4',
            'finecut cut --query "a dog catches a frisbee" -k 5 --output-dir frisbees',
            'finecut search "a cat" --longer 1 --json | finecut cut --from - --output-dir cats',
        )
    )(cut)


@command
def cut(
    video: Annotated[
        str | None, typer.Argument(help="A video file or URL, or a name or id in the index.")
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
    k: Annotated[
        int | None,
        typer.Option("-k", "--limit", min=1, help="With --query and --output-dir: so many."),
    ] = None,
    source_list: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Save the moments of a file: a search's --json, CSV or EDL; - for stdin.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="DIR",
            help="Save many, as files in this folder, with a manifest.json.",
        ),
    ] = None,
    reencode: Annotated[
        str, typer.Option(help="auto: copy where key frames allow; always; never.")
    ] = "auto",
    index: options.Index = None,
    bundle: options.BundleRef = None,
    as_json: options.Json = False,
) -> None:
    """Save a moment as a file, not encoded again where possible.

    Packets are copied where a key frame lies at the start; elsewhere the stretch is encoded, exact
    to the frame. A file that is there is never overwritten. Of many moments, one that cannot be
    saved does not stop the rest.
    """
    from finecut.video.cut import cut as cut_video

    if reencode not in ("auto", "always", "never"):
        raise UsageError(f"--reencode must be auto, always or never, got {reencode!r}.")
    if output_dir is not None or source_list is not None or k is not None:
        if output_dir is None or video is not None or output is not None or number != 1:
            raise UsageError("Many moments go to --output-dir DIR, without VIDEO, -o and -n.")
        if (query is None) == (source_list is None):
            raise UsageError('Say which moments: --query "a sentence", or --from FILE.')
        stretches, title = _listed(source_list) if source_list else _found(query, k, index, bundle)
        _cut_many(stretches, title, output_dir, reencode, as_json=as_json)
        return
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
        out(_line(str(output), report))


def _found(
    query: str | None, k: int | None, index: str | None, bundle: str | None
) -> tuple[list[Stretch], str]:
    from finecut.search.engine import Searcher
    from finecut.video.cut_many import Stretch

    searcher = Searcher.open(options.index_dir(index), bundle=bundle)
    found = searcher.search(query or "", k=k or 10, evidence=False)
    if not found.good_match:
        say("No good match; these are the best guesses.")
    return [Stretch(one.video, one.start_s, one.end_s) for one in found], found.query


def _listed(name: str) -> tuple[list[Stretch], str]:
    from finecut.search.results_file import read_results

    if name == "-":
        return read_results(sys.stdin.buffer.read(), "stdin")
    try:
        return read_results(Path(name).read_bytes(), name)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error


def _cut_many(
    stretches: list[Stretch], title: str, folder: Path, reencode: str, *, as_json: bool
) -> None:
    from finecut.video.cut_many import cut_many

    def show(piece: Piece) -> None:
        if piece.report is None:
            say(f"failed: {path_text(piece.stretch.video)}: {piece.error}")
        elif not as_json:
            out(_line(str(folder / piece.output), piece.report))

    pieces = cut_many(
        stretches,
        folder,
        reencode=reencode,  # type: ignore[arg-type]
        title=title,
        on_piece=show,
    )
    failed = sum(piece.report is None for piece in pieces)
    if as_json:
        files = [piece.to_json() for piece in pieces]
        print_json({"output_dir": str(folder), "n_failed": failed, "files": files})
    if failed:
        say(f"{failed} of {len(pieces)} failed")
        raise typer.Exit(EXIT_FAILED)


def _line(output: str, report: CutReport) -> str:
    how = "copied" if report.copied else "encoded"
    times = f"{time_text(report.start_s)}-{time_text(report.end_s)}"
    return f"{path_text(output)}  {times} ({how})"


def _file_of(video: str, index: str | None) -> str:
    """The file meant: the path if there is one, else a video of the index by name or id."""
    if is_url(video) or Path(video).exists():
        return video
    from finecut.index.store import Index

    try:
        row = find_video(Index.open(options.index_dir(index)).videos, video)
    except (IndexNotFound, NotFound):
        return video  # the cut itself says that there is no such file
    return row.present_path() or video
