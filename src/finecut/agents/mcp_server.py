"""The tools as an MCP server (Model Context Protocol), by the official SDK: stdio and HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from finecut import __version__
from finecut.agents.tools import MAX_FRAMES, Tools
from finecut.errors import FinecutError, MissingDependency, QueryError
from finecut.server.library import Library

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp

    from finecut.storage.location import Location

PATH = "/mcp"
INSTRUCTIONS = """Search a person's library of videos by sentences and land on moments.

Call `search` with a plain sentence about what is seen (or, where the index has words, said or \
shown). Results are moments: a video_id with [start_s, end_s) in seconds and a confidence. \
good_match false means that nothing is likely to be what was asked for: say so. Look with \
`describe_moment` before you claim what a moment shows. `cut_moment` saves one as a file."""

VideoId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="video_id of a result")]
Start = Annotated[float, Field(ge=0, le=10**7, description="seconds from the video's start")]
End = Annotated[float, Field(gt=0, le=10**7, description="the first second left out")]
Query = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description='a plain sentence; also: -word, NOT some words, "words said or shown", '
        "A AND B in one moment, A THEN B WITHIN 30s, in:folder name:x longer:2m said:hello",
    ),
]
Limit = Annotated[int, Field(ge=1, le=50, description="moments wanted")]
Glob = Annotated[
    str | None,
    Field(max_length=1000, description="only videos whose path fits, as *.mp4 or holiday/*"),
]
Shortest = Annotated[
    float | None, Field(ge=0, le=10**7, description="only videos of so many seconds or more")
]
Frames = Annotated[int, Field(ge=1, le=MAX_FRAMES, description="pictures wanted")]
Name = Annotated[
    str | None, Field(max_length=200, description="a file name like goal.mp4; made up if left out")
]


def mcp_server(tools: Tools) -> MCPServer:
    """An MCP server that offers the tools; ``cut_moment`` only where files may be written.

    Raises:
        MissingDependency: the SDK is not installed.
    """
    try:
        from mcp.server.mcpserver import Image, MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise MissingDependency(
            'finecut mcp needs the MCP SDK, version 2: pip install "finecut[mcp]"'
        ) from error

    server: MCPServer = MCPServer(
        "finecut",
        title="finecut",
        version=__version__,
        instructions=INSTRUCTIONS,
        log_level="WARNING",
    )
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

    def told(work: Callable[[], Any]) -> Any:
        # Our errors say what to do; any other stays between us and the log.
        try:
            return work()
        except QueryError as error:
            rest = error.query[error.at : error.at + 40]
            where = f"before {rest!r}" if rest else "the end"
            raise ToolError(f"{error} (Character {error.at} of the query: {where}.)") from error
        except FinecutError as error:
            raise ToolError(str(error)) from error

    @server.tool(annotations=reads)
    def search(
        query: Query, limit: Limit = 5, path_glob: Glob = None, min_duration_s: Shortest = None
    ) -> dict[str, Any]:
        """Find the moments that show what a sentence says, best first."""
        return told(lambda: tools.search(query, limit, path_glob, min_duration_s))

    # Pictures are content for a model to look at, so there is no structured output.
    @server.tool(annotations=reads, structured_output=False)
    def describe_moment(
        video_id: VideoId, start_s: Start, end_s: End, frames: Frames = 3
    ) -> list[Any]:
        """Look at a moment: facts and words with times as JSON, then pictures in order of time."""
        facts, pictures = told(lambda: tools.describe(video_id, start_s, end_s, frames))
        images = [Image(data=picture.jpeg, format="jpeg") for picture in pictures]
        return [json.dumps(facts, ensure_ascii=False), *images]

    @server.tool(annotations=reads)
    def index_status() -> dict[str, Any]:
        """How much is indexed, with which model and languages, which words, and what failed."""
        return told(tools.status)

    if tools.output is not None:

        @server.tool(annotations=writes)
        def cut_moment(
            video_id: VideoId, start_s: Start, end_s: End, name: Name = None
        ) -> dict[str, Any]:
            """Save a moment as a new file; nothing is ever overwritten."""
            return told(lambda: tools.cut(video_id, start_s, end_s, name))

    return server


def serve_stdio(tools: Tools) -> None:
    """Answer one client on standard input and output until it goes."""
    mcp_server(tools).run("stdio")


def http_app(
    tools: Tools, *, token: str | None = None, allowed_hosts: Sequence[str] = ()
) -> ASGIApp:
    """The MCP server at ``/mcp``, behind the same guard and token as ``finecut serve``.

    Raises:
        UsageError: a token that is too short.
        MissingDependency: the SDK is not installed.
    """
    from mcp.server.transport_security import TransportSecuritySettings

    from finecut.server.auth import Gatekeeper
    from finecut.server.guard import Guard
    from finecut.server.settings import Settings

    settings = Settings(
        index_dir=tools.library.index_dir, token=token, allowed_hosts=tuple(allowed_hosts)
    )
    app = mcp_server(tools).streamable_http_app(
        streamable_http_path=PATH,
        # No call depends on one before it, so any replica can answer any call.
        stateless_http=True,
        json_response=True,
        max_request_body_size=settings.max_body_bytes,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return Guard(app, settings=settings, gatekeeper=Gatekeeper(token, str(settings.index_dir)))


def serve_http(
    tools: Tools,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve ``/mcp`` until stopped; the arguments are those of `finecut.server.run.serve`.

    Raises:
        UsageError: no token for an open address, or the port is taken.
    """
    from finecut.server.run import check_bind, listen, page_url, run_app

    check_bind(host, token, verb="mcp --http")
    app = http_app(tools, token=token, allowed_hosts=allowed_hosts)
    with listen(host, port) as listener:
        if on_listening is not None:
            on_listening(page_url(host, listener.getsockname()[1]) + PATH.lstrip("/"))
        run_app(app, listener)


def tools_for(
    index_dir: Location, *, bundle: str | None, output: Path | None, threads: int | None
) -> Tools:
    """The tools over one index."""
    return Tools(Library(index_dir, bundle=bundle, threads=threads), output)
