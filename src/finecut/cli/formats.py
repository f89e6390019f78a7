"""Results as files for other tools: the options of `finecut search` that ask for them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finecut.cli.show import out_bytes, path_text, say
from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.index.store import Index
    from finecut.types import Results

FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Print the results as json, csv, m3u, edl, fcpxml, otio, trec or vbs.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write them there; the name's ending is the format."
    ),
]
ContactSheet = Annotated[
    Path | None,
    typer.Option(
        "--contact-sheet", metavar="FILE", help="Write a page of thumbnails, as .jpg or .html."
    ),
]
Topic = Annotated[
    str,
    typer.Option(help="With trec: the query's number there, else 1; with vbs: the task's name."),
]


def write_results(
    found: Results,
    index: Index,
    *,
    format: str | None,
    output: Path | None,
    sheet: Path | None,
    topic: str,
) -> bool:
    """Write what the options ask for; a file that is there is never touched.

    Returns: whether stdout has had its results with that.
    Raises:
        UsageError: an unknown format or ending, or a file that is there.
    """
    if format is None and output is None and sheet is None:
        return False
    from finecut.search.formats import ENDINGS, write

    if output is not None and format is None:
        format = ENDINGS.get(output.suffix.lower())
        if format is None:
            raise UsageError(
                f"{output}: the ending tells no format; give --format, or one of "
                f"{', '.join(ENDINGS)}."
            )
    if sheet is not None:
        from finecut.search.contact_sheet import contact_sheet

        write_new(sheet, contact_sheet(found, index, sheet.suffix.lower()))
        say(f"{len(found)} moments: {path_text(str(sheet))}")
    if format is None:
        return False
    data = write(found, format, index.videos, topic=topic)
    if output is None:
        out_bytes(data)
        return True
    write_new(output, data)
    say(f"{len(found)} moments: {path_text(str(output))}")
    return False


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole or not at all.

    Raises:
        UsageError: it is there, or its folder is not.
    """
    from finecut.video.cut import publish

    if os.path.lexists(path):
        raise UsageError(f"{path} exists already; choose another name.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it first.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        publish(part, path)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already; choose another name.") from error
    finally:
        with suppress(OSError):
            part.unlink()
