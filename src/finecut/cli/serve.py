"""`finecut serve`: the search page and the HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from finecut.cli import options
from finecut.cli.interrupt import Interrupt
from finecut.cli.said import t
from finecut.cli.show import command, out, print_json
from finecut.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog=options.examples(
            "finecut serve",
            "finecut serve --index clips.index --port 9000",
            "FINECUT_TOKEN=a-long-secret-of-yours finecut serve --host 0.0.0.0",
            "finecut serve --index s3://bucket/index --cluster auto --max-replicas 8",
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
    drain_s: Annotated[
        float,
        typer.Option(
            "--drain-s",
            min=0,
            help="Seconds that requests are still taken after SIGTERM, while /ready says no.",
        ),
    ] = 0.0,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Serve by replicas on a Ray cluster: HOST:PORT, auto for the one this machine is "
            "part of, local for one on this machine.",
        ),
    ] = None,
    min_replicas: Annotated[
        int | None, typer.Option(min=1, help="With --cluster: replicas when little is asked; 1.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, help="With --cluster: replicas when much is asked; 4.")
    ] = None,
    bundle: options.BundleRef = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Serve the search page and the HTTP API until stopped.

    The index is followed: what is added to it, or an alias that is switched, is served without a
    restart.
    """
    from finecut.server.run import serve as run

    def listening(url: str) -> None:
        if as_json:
            print_json({"url": url, "api": f"{url}api/v1", "openapi": f"{url}openapi.json"})
            sys.stdout.flush()
        else:
            out(t("finecut is at {url}  (Ctrl-C stops it)", url=url))
            sys.stdout.flush()

    if cluster is not None:
        if root or drain_s:
            raise UsageError("--root and --drain-s are not for --cluster: leave them out.")
        if not port:
            raise UsageError("All machines of a cluster listen on one port: name it with --port.")
        _serve_on_cluster(
            cluster,
            listening,
            host,
            port,
            index=str(options.index_place(index)),
            token=token or "",
            bundle=bundle or "",
            allowed_hosts=",".join(allow_host or ()),
            min_replicas=min_replicas or 1,
            max_replicas=max_replicas or max(4, min_replicas or 1),
            threads=threads or 0,
        )
        return
    if min_replicas or max_replicas:
        raise UsageError("Replicas are for --cluster; say which cluster, or leave them out.")
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
        drain_s=drain_s,
    )


def _serve_on_cluster(
    cluster: str, listening: Callable[[str], None], host: str, port: int, **settings: Any
) -> None:
    from finecut.cluster.serve import ServeArgs
    from finecut.cluster.serve import serve as run

    with Interrupt("Taking the replicas away") as interrupt:
        run(
            cluster,
            ServeArgs(**settings),
            host=host,
            port=port,
            on_listening=listening,
            should_stop=lambda: interrupt.asked,
        )
