"""Replicas under Ray Serve: the same API, new versions without a restart, a clean end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'finecut[cluster]'")

from finecut.cluster.serve import ServeArgs, app, encode_together
from finecut.errors import UsageError
from finecut.search.engine import Searcher
from finecut.server.library import Library
from server.serving import ColorLibrary, color_video, make_color_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ColorLibrary:
    return make_color_library(tmp_path_factory.mktemp("colors"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def served(library: ColorLibrary) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command on a cluster of this machine, and the address it listens on."""
    command = [sys.executable, "-m", "finecut", "serve", "--index", str(library.index),
               "--cluster", "local", "--max-replicas", "2", "--threads", "1",
               "--port", str(free_port()), "--json"]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)["url"].rstrip("/")
        if process.poll() is None:
            process.kill()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def search(url: str, query: str) -> Any:
    return get(f"{url}/api/v1/search?" + urllib.parse.urlencode({"q": query, "k": 3}))


@pytest.mark.slow
def test_replicas_answer_follow_the_index_and_leave(
    served: tuple[subprocess.Popen[str], str], library: ColorLibrary
) -> None:
    process, url = served
    queries = ["red", "blue", "a green thing", "yellow", "black"] * 4
    with ThreadPoolExecutor(8) as callers:
        told = list(callers.map(lambda query: search(url, query), queries))
    searcher = Searcher.open(library.index, threads=1)
    for query, answer in zip(queries, told, strict=True):
        right = searcher.search(query, 3)
        assert [(r["video_id"], r["start_s"], r["end_s"]) for r in answer["results"]] == [
            (m.video_id, m.to_json()["start_s"], m.to_json()["end_s"]) for m in right
        ]
    with urllib.request.urlopen(f"{url}/", timeout=60) as page:
        assert b"<title>" in page.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{url}/api/v1/search?q=")
    assert refused.value.code == 422 and b"urn:finecut" in refused.value.read()

    color_video(library.videos / "new.mp4", "magenta", seconds=3)
    library.indexed()
    end = time.monotonic() + 60
    while not any(r["name"] == "new.mp4" for r in search(url, "magenta")["results"]):
        assert time.monotonic() < end, "the new version was not picked up"
        time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0
    assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_sentences_of_many_requests_are_encoded_in_one_run(
    library: ColorLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Library(library.index, threads=1)
    bundle, runs = opened.snapshot().bundle, []
    encode = bundle.encode_text
    monkeypatch.setattr(
        bundle, "encode_text", lambda texts: runs.append(list(texts)) or encode(texts)
    )
    encode_together(opened, ["red", "a AND b", "blue sea", "red", '"never closed'])
    assert runs == [["red", "blue sea"]]
    expected = Searcher.open(library.index, bundle=str(library.bundle), threads=1).search(
        "blue sea", 3
    )
    found = opened.snapshot().searcher.search("blue sea", 3)
    assert [m.to_json() for m in found] == [m.to_json() for m in expected]
    assert len(runs) == 1  # it was remembered
    opened.close()


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"min_replicas": 3, "max_replicas": 2}, "below `min_replicas`"),
        ({"token": "short"}, "at least 16"),
        ({"index": "s3://user:word@bucket/index"}, "must not hold credentials"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_starts(
    wrong: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        app(ServeArgs(**{"index": str(tmp_path), **wrong}))
