"""`finecut mcp`: the library as tools for an agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finecut.cli import options
from finecut.cli.show import command, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut mcp",
            "finecut mcp --output cuts",
            "FINECUT_TOKEN=a-long-secret-of-yours finecut mcp --http --host 0.0.0.0",
        )
    )(mcp)


@command
def mcp(
    index: options.Index = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Where moments may be saved."),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Listen at http://HOST:PORT/mcp instead of stdio.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    token: Annotated[
        str | None,
        typer.Option(envvar="FINECUT_TOKEN", show_envvar=True, help="What callers must know."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further host name to answer to; may be repeated."),
    ] = None,
    bundle: options.BundleRef = None,
    threads: options.Threads = None,
) -> None:
    """Offer search, moments and cuts to an agent.

    By the Model Context Protocol, on standard input and output, as agents start it, or over HTTP.
    Without --output nothing can be written.
    """
    from finecut.agents.mcp_server import serve_http, serve_stdio, tools_for

    tools = tools_for(options.index_dir(index), bundle=bundle, output=output, threads=threads)
    if not http:
        serve_stdio(tools)
        return

    def listening(url: str) -> None:
        say(f"finecut's tools are at {url}  (Ctrl-C stops it)")
        sys.stderr.flush()

    serve_http(
        tools, host=host, port=port, token=token, allowed_hosts=allow_host or (),
        on_listening=listening,
    )  # fmt: skip
