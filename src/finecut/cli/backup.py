"""`finecut backup`: a copy of an index, taken while it is in use."""

from __future__ import annotations

from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.show import command, out, path_text, print_json, time_text


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut backup clips.copy --index clips.index",
            "finecut search red --index clips.copy",
        )
    )(backup)


@command
def backup(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A new folder, or a URL in an object store.")
    ],
    index: options.Index = None,
    as_json: options.Json = False,
) -> None:
    """Copy an index while it is searched and written.

    The copy is an index itself: search it to try it, and copy it back to restore it. Videos are
    not in an index, and not in its copy.
    """
    from finecut.index.backup import copy_index

    place = options.index_dir(index)
    commit = copy_index(place, target)
    if as_json:
        print_json({"index": str(place), "target": target, **commit.to_json()})
        return
    head = commit.head
    out(
        f"{path_text(target)} is a copy of commit {head.number} of {path_text(str(place))}: "
        f"{head.n_videos} videos, {time_text(head.video_s)}"
    )
