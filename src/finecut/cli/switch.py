"""`finecut switch`: let an alias mean another index."""

from __future__ import annotations

from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.show import command, out, path_text, print_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut switch clips-live clips.index",
            "finecut serve --index clips-live",
        )
    )(switch)


@command
def switch(
    alias: Annotated[
        str, typer.Argument(metavar="ALIAS", help="A folder or URL of its own; made if need be.")
    ],
    index: Annotated[str, typer.Argument(metavar="INDEX", help="What it means from now on.")],
    as_json: options.Json = False,
) -> None:
    """Let an alias mean another index.

    Every --index takes the alias for that index from then on, and servers that serve the alias go
    over by themselves, without a restart. To upgrade a bundle,
    index with the new one in a new place, switch the alias, and drop the old index afterwards.
    """
    from finecut.index.alias import switch as run

    done = run(alias, index)
    if as_json:
        print_json(
            {
                "alias": alias,
                "index": str(done.index),
                "before": None if done.before is None else str(done.before),
                "bundle": done.meta.bundle_name,
            }
        )
        return
    out(f"{path_text(alias)} is now {path_text(str(done.index))} ({done.meta.bundle_name})")
    if done.before is not None and done.before != done.index:
        out(f"before: {path_text(str(done.before))}  (searches under way may still read it)")
