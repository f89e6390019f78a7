"""`finecut demo`: a small library out of real photographs and clips, indexed and searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.show import EXIT_FAILED, command, out, path_text, print_json, say, time_text


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=options.examples("finecut demo", "finecut demo --dir my-demo --serve"))(demo)


@command
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the library and its index go.")
    ] = Path("finecut-demo"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Open the search page on it afterwards.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page.")] = 8500,
    as_json: options.Json = False,
) -> None:
    """Make a small library of videos, index it and search it.

    The videos are made of photographs and clips that packages ship, each with its licence; the
    answers are compared with the expected ones, and exit code 1 says that one is wrong. Needs the
    extra `demo`: pip install "finecut[demo]". No network, no GPU, nothing of your own.
    """
    from finecut.demo.run import run_demo

    report = run_demo(directory, say=say)
    if as_json:
        print_json(report.to_json())
    else:
        for answer in report.answers:
            out()
            out(f'$ finecut search "{answer.query}" --index {path_text(str(report.index))}')
            if not answer.good_match:
                out("No good match. Best guess:")
            out(
                f"  {time_text(answer.start_s)}-{time_text(answer.end_s)}  "
                f"{answer.confidence:4.0%}  {path_text(Path(answer.video).name)}"
                f"  ({answer.elapsed_ms:.0f} ms, {'right' if answer.right else 'WRONG'})"
            )
        out()
        right = sum(answer.right for answer in report.answers)
        out(f"{right} of {len(report.answers)} answers are right.")
        out(f"library {path_text(str(report.library))}, index {path_text(str(report.index))}")
        out(f"contact sheet {path_text(str(report.contact_sheet))}")
        out(f"its page: finecut serve --index {path_text(str(report.index))}")
    if not all(answer.right for answer in report.answers):
        say("An answer is not the expected one.")
        raise typer.Exit(EXIT_FAILED)
    if serve:
        from finecut.cli.serve import serve as serve_page

        serve_page(index=str(report.index), port=port)
