"""An agent's session with a real library, through the SDK's own client: stdio and HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finecut.agents.tools import safe_name
from finecut.bundle.load import Bundle
from finecut.errors import UsageError
from finecut.index.build import build_index
from server.serving import ColorLibrary, make_color_library

pytest.importorskip("mcp.server.mcpserver", reason="the extra `mcp` is not installed")

from mcp import StdioServerParameters
from mcp.client.client import Client

from finecut.agents.mcp_server import tools_for

TOKEN = "a-secret-of-twenty-five-chars"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ColorLibrary:
    return make_color_library(tmp_path_factory.mktemp("agents"))


def program(library: ColorLibrary, *more: str) -> list[str]:
    return ["-m", "finecut", "mcp", "--index", str(library.index), "--threads", "1", *more]


def stdio(library: ColorLibrary, *more: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=program(library, *more), env=dict(os.environ)
    )


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return answer.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return answer.content[0].text


def test_an_agent_finds_looks_and_cuts(library: ColorLibrary, tmp_path: Path) -> None:
    cuts = tmp_path / "cuts"

    async def session() -> None:
        async with Client(stdio(library, "--output", str(cuts))) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"search", "describe_moment", "index_status", "cut_moment"}
            status = await called(client, "index_status")
            assert status["videos"] == 6
            assert status["failed"] == {"unreadable": 1}

            found = await called(client, "search", query="green", limit=3, path_glob="lights*")
            best = found["results"][0]
            assert Path(best["video"]).name == "lights.mp4"
            assert best["start_s"] >= 3.0 and best["end_s"] <= 9.0
            place = {name: best[name] for name in ("video_id", "start_s", "end_s")}

            seen = await client.call_tool("describe_moment", {**place, "frames": 2})
            facts, *pictures = seen.content
            assert json.loads(facts.text)["video_duration_s"] == pytest.approx(12.0, abs=0.1)
            assert green(base64.b64decode(pictures[0].data)) and len(pictures) == 2

            saved = await called(client, "cut_moment", **place, name="green.mp4")
            assert Path(saved["file"]) == cuts / "green.mp4"
            again = await refused(client, "cut_moment", **place, name="green.mp4")
            assert "green.mp4" in again
            assert "plain file name" in await refused(
                client, "cut_moment", **place, name="../green.mp4"
            )
            assert "No video with the id" in await refused(
                client, "describe_moment", video_id="0" * 32, start_s=0, end_s=1
            )
            broken = await refused(client, "search", query="a dog AND (a cat")
            assert "never closed" in broken and "Character 10 of the query" in broken
            backwards = {**place, "start_s": 5.0, "end_s": 4.0}
            assert "after start_s" in await refused(client, "describe_moment", **backwards)

    asyncio.run(session())
    assert [path.name for path in cuts.iterdir()] == ["green.mp4"]


def green(jpeg: bytes) -> bool:
    import io

    from PIL import Image

    red, high, blue = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((1, 1)).getpixel((0, 0))
    return high > 100 > max(red, blue)


def test_without_a_folder_nothing_can_be_written(library: ColorLibrary) -> None:
    async def session() -> None:
        async with Client(stdio(library)) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == {"search", "describe_moment", "index_status"}
            assert all(tool.annotations.read_only_hint for tool in tools)

    asyncio.run(session())


@contextlib.contextmanager
def listening(library: ColorLibrary, token: str | None) -> Iterator[str]:
    environment = {**os.environ, **({} if token is None else {"FINECUT_TOKEN": token})}
    with subprocess.Popen(
        [sys.executable, *program(library, "--http", "--port", "0")],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "http://" in line)
            yield next(word for word in line.split() if word.startswith("http://"))
        finally:
            process.terminate()


def test_over_http_with_the_token(library: ColorLibrary) -> None:
    import httpx
    from httpx2 import AsyncClient
    from mcp.client.streamable_http import streamable_http_client

    async def session(url: str, token: str | None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with (
            AsyncClient(headers=headers) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            found = await called(client, "search", query="blue", limit=1)
            assert len(found["results"]) == 1

    with listening(library, TOKEN) as url:
        asyncio.run(session(url, TOKEN))
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"Accept": "application/json, text/event-stream"}
        assert httpx.post(url, json=call, headers=accept).status_code == 401
        wrong = {**accept, "Authorization": "Bearer not-the-token"}
        assert httpx.post(url, json=call, headers=wrong).status_code == 401
    with listening(library, None) as url:
        asyncio.run(session(url, None))
        other = {**accept, "Host": "evil.example"}
        assert httpx.post(url, json=call, headers=other).status_code == 421
        page = {**accept, "Origin": "https://evil.example"}
        assert httpx.post(url, json=call, headers=page).status_code == 403
        form = {"Content-Type": "text/plain"}
        assert httpx.post(url, content=b"{}", headers=form).status_code == 403


@pytest.mark.parametrize(
    "stem",
    ["größe 日本 & <b>", "what? a: b", "一只狗在草地上" * 9, "new\nline", "a\u200db."],
)
def test_a_cut_without_a_name_is_named_after_its_video(
    library: ColorLibrary, tmp_path: Path, stem: str
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(library.videos / "night.mp4", videos / f"{stem}.mp4")
    bundle = Bundle.load(library.bundle, threads=1)
    build_index([videos], tmp_path / "index", bundle, workers=1, channels=())
    tools = tools_for(
        tmp_path / "index", bundle=str(library.bundle), output=tmp_path / "cuts", threads=1
    )
    saved = Path(tools.cut(library.id_of("night.mp4"), 0.0, 1.0, None)["file"])
    assert saved.is_file() and saved.parent == tmp_path / "cuts"
    assert saved.name == safe_name(saved.name) and saved.name.endswith(" 0.0-1.0s.mp4")


@pytest.mark.parametrize(
    "name", ["", "  ", ".hidden", "a/b.mp4", "a\\b.mp4", "..", "x\n.mp4", "\u202ex.mp4", "é" * 90]
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="plain file name"):
        safe_name(name)


def test_an_open_address_needs_a_token(library: ColorLibrary) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "FINECUT_TOKEN"}
    run = subprocess.run(
        [sys.executable, *program(library, "--http", "--host", "0.0.0.0")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert run.returncode == 2
    assert "needs a token: finecut mcp --http --host 0.0.0.0" in run.stderr
