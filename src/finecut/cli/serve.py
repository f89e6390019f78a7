"""`finecut serve`: the search page and the HTTP API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.said import t
from finecut.cli.show import command, out, print_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut serve",
            "finecut serve --index clips.index --port 9000",
            "FINECUT_TOKEN=a-long-secret-of-yours finecut serve --host 0.0.0.0",
        )
    )(serve)


@command
def serve(
    index: options.Index = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8500,
    token: Annotated[
        str | None,
        typer.Option(envvar="FINECUT_TOKEN", show_envvar=True, help="What callers must know."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further host name to answer to; may be repeated."),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="A folder or URL that may be indexed from the page."),
    ] = None,
    bundle: options.BundleRef = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Serve the search page and the HTTP API until stopped."""
    from finecut.server.run import serve as run

    def listening(url: str) -> None:
        if as_json:
            print_json({"url": url, "api": f"{url}api/v1", "openapi": f"{url}openapi.json"})
            sys.stdout.flush()
        else:
            out(t("finecut is at {url}  (Ctrl-C stops it)", url=url))
            sys.stdout.flush()

    run(
        options.index_place(index),
        host=host,
        port=port,
        token=token,
        allowed_hosts=allow_host or (),
        on_listening=listening,
        bundle=bundle,
        roots=root or (),
        threads=threads,
    )
