"""Busy servers, metrics, the OpenAPI document, and the manual of the API."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import finecut
from finecut.index.alias import switch
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from finecut.server.gate import Gate
from finecut.server.library import Library, seen_box
from finecut.server.problems import Refused

MANUAL = Path(__file__).parents[2] / "docs" / "http-api.md"


def test_a_full_gate_turns_callers_away():
    release, results = threading.Event(), []

    async def main() -> None:
        gate = Gate("searches", running=1, waiting=1, max_wait_s=30)

        async def call(number: int) -> None:
            results.append(await gate.run(lambda: release.wait(10) and number))

        async with anyio.create_task_group() as group:
            group.start_soon(call, 1)
            group.start_soon(call, 2)
            await anyio.sleep(0.05)
            with pytest.raises(Refused) as refused:
                await gate.run(int)
            assert refused.value.status == 503
            assert refused.value.headers["Retry-After"] == "1"
            assert gate.busy == 2
            release.set()
        assert gate.busy == 0
        assert await gate.run(lambda: 7) == 7  # free again

    anyio.run(main)
    assert sorted(results) == [1, 2]


def test_a_gate_that_does_not_move_turns_callers_away():
    release = threading.Event()

    async def main() -> None:
        gate = Gate("searches", running=1, waiting=5, max_wait_s=0.05)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.run, release.wait, 10)
            await anyio.sleep(0.02)
            with pytest.raises(Refused, match=r"none finished within 0\.05 s"):
                await gate.run(int)
            release.set()

    anyio.run(main)


def test_an_error_inside_a_gate_frees_its_place():
    async def main() -> None:
        gate = Gate("searches", running=1, waiting=0, max_wait_s=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await gate.run(lambda: 1 / 0)
        assert gate.busy == 0

    anyio.run(main)


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Fails unless it comes true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def change(index: Path) -> str:
    """Make a commit that changes nothing but the version; the version."""
    with IndexWriter(index) as writer:
        writer.set_keep(writer.head.keep_s + 1)
        return writer.head.version(writer.meta)


def test_while_a_new_version_opens_the_old_one_answers(own, monkeypatch):
    library = Library(own.index, threads=1)
    old = library.snapshot()
    entered, release = threading.Event(), threading.Event()
    open_index = Index.open

    def slow(place):
        entered.set()
        assert release.wait(20)
        return open_index(place)

    monkeypatch.setattr(Index, "open", slow)
    version = change(own.index)
    assert entered.wait(20)  # nobody asked: the library follows by itself
    assert library.snapshot() is old  # at once, though the new version is being opened
    release.set()
    wait_until(lambda: library.snapshot().version == version)
    assert library.snapshot().commit == old.commit + 1
    library.close()
    assert library._follower is not None
    library._follower.join(20)
    assert not library._follower.is_alive()


def test_a_library_that_nobody_uses_stops_following(own, monkeypatch):
    monkeypatch.setattr("finecut.server.library.CHECK_EVERY_S", 0.01)
    library = Library(own.index, threads=1)
    library.snapshot()
    follower = library._follower
    assert follower is not None
    del library
    follower.join(20)
    assert not follower.is_alive()


def test_a_version_that_cannot_be_opened_leaves_the_old_one(own, monkeypatch, connect):
    monkeypatch.setattr("finecut.server.library.CHECK_EVERY_S", 0.01)
    client = connect(own.index)
    before = client.get("/ready").json()["index_version"]
    head = (own.index / "head.json").read_text()
    (own.index / "head.json").write_text("{")
    library = client.app.state.finecut.library
    wait_until(lambda: library.failures > 2)
    assert client.get("/ready").json()["index_version"] == before
    assert client.get("/api/v1/search", params={"q": "red"}).status_code == 200
    assert "finecut_index_open_failures" in client.get("/metrics").text
    (own.index / "head.json").write_text(head)
    after = change(own.index)
    wait_until(lambda: client.get("/ready").json()["index_version"] == after)


def test_an_index_that_is_gone_is_not_served(own, monkeypatch, connect):
    monkeypatch.setattr("finecut.server.library.CHECK_EVERY_S", 0.01)
    client = connect(own.index)
    assert client.get("/ready").status_code == 200
    own.index.rename(own.index.with_name("elsewhere"))
    wait_until(lambda: client.get("/ready").status_code == 503)
    own.index.with_name("elsewhere").rename(own.index)
    assert client.get("/ready").status_code == 200
    version = change(own.index)  # and it is followed again
    wait_until(lambda: client.get("/ready").json()["index_version"] == version)


def test_a_switched_alias_is_followed(own, made, tmp_path, monkeypatch, connect):
    monkeypatch.setattr("finecut.server.library.CHECK_EVERY_S", 0.01)
    switch(tmp_path / "live", own.index)
    client = connect(tmp_path / "live")
    first = client.get("/ready").json()["index_version"]
    assert first == Index.open(own.index).version
    switch(tmp_path / "live", made.index)
    expected = Index.open(made.index).version
    wait_until(lambda: client.get("/ready").json()["index_version"] == expected != first)
    shutil.rmtree(own.index)  # dropped: nobody reads it any more
    assert client.get("/api/v1/search", params={"q": "red"}).status_code == 200


def test_a_server_told_to_stop_says_so_and_goes_on(made, connect):
    client = connect(made.index)
    client.app.state.finecut.draining.set()
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["type"]) == (503, "urn:finecut:problem:stopping")
    answer = client.get("/api/v1/search", params={"q": "red"})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert "finecut_draining 1.0" in client.get("/metrics").text


def test_a_busy_server_answers_503(made, connect):
    client = connect(made.index, max_searches=1, max_waiting=0)
    state = client.app.state.finecut
    state.searches._in_line = 1  # as one search that runs
    answer = client.get("/api/v1/search", params={"q": "red"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:finecut:problem:busy"
    state.searches._in_line = 0
    assert client.get("/api/v1/search", params={"q": "red"}).status_code == 200


def test_an_unexpected_error_tells_nothing_of_the_inside(made, connect, monkeypatch):
    client = connect(made.index)
    library = client.app.state.finecut.library
    monkeypatch.setattr(library, "snapshot", lambda: 1 / 0)
    answer = client.get("/api/v1/search", params={"q": "red"})
    assert answer.status_code == 500 and "division" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_metrics_count_what_happened(made, connect):
    client = connect(made.index)
    for query in ("red", "blue", "a dog runs on the beach"):
        client.get("/api/v1/search", params={"q": query})
    client.get(f"/api/v1/videos/{'0' * 32}")
    client.get("/api/v1/videos/whatever-this-is")
    text = client.get("/metrics").text
    values = dict(re.findall(r"^(finecut\S+) (\S+)$", text, re.M))

    def requests(route: str, status: int) -> float:
        label = f'{{method="GET",route="{route}",status="{status}"}}'
        return float(values[f"finecut_http_requests_total{label}"])

    assert requests("/api/v1/search", 200) == 3
    assert requests("/api/v1/videos/{video_id}", 404) == 1
    assert requests("/api/v1/videos/{video_id}", 422) == 1
    assert float(values['finecut_search_seconds_count{kind="text"}']) == 3
    assert float(values["finecut_search_no_good_match_total"]) == 1
    assert float(values['finecut_index_videos{status="done"}']) == 6
    assert float(values['finecut_index_videos{status="failed"}']) == 1
    assert float(values["finecut_index_clips"]) > 6
    assert "whatever" not in text  # no label is made of what a caller sends


def test_health_and_ready(client):
    assert client.get("/health").json() == {"status": "ok", "version": finecut.__version__}
    assert client.get("/ready").json()["status"] == "ready"


def operations(client):
    document = client.get("/openapi.json").json()
    return document, {
        (method.upper(), path): what
        for path, methods in document["paths"].items()
        for method, what in methods.items()
    }


def test_the_openapi_document_describes_every_call(client):
    document, calls = operations(client)
    assert len(calls) == 19
    assert len({what["operationId"] for what in calls.values()}) == len(calls)
    for call, what in calls.items():
        assert what["summary"] and what["description"], call
        assert "application/problem+json" in what["responses"]["422"]["content"], call
    example = calls["GET", "/api/v1/search"]["responses"]["200"]["content"]["application/json"]
    assert example["example"]["results"][0]["match"] == "strong"
    assert document["components"]["schemas"]["Problem"]["properties"].keys() >= {"type", "detail"}
    assert "bearer" in document["components"]["securitySchemes"]


def test_the_manual_names_every_call(client):
    manual = MANUAL.read_text(encoding="utf-8")
    _, calls = operations(client)
    for method, path in calls:
        assert f"`{method} {path}`" in manual, f"{MANUAL.name} does not have `{method} {path}`"


def test_the_manual_names_every_field_of_a_result(client):
    manual = MANUAL.read_text(encoding="utf-8")
    answer = client.get("/api/v1/search", params={"q": "red"}).json()
    for name in [*answer, *answer["results"][0], *answer["results"][0]["evidence"]]:
        assert f"`{name}`" in manual, f"{MANUAL.name} does not explain `{name}`"


@pytest.mark.parametrize(
    ("resize", "width", "height", "box"),
    [
        ("squash", 1600, 900, (0, 0, 1, 1)),
        ("crop", 900, 900, (0, 0, 1, 1)),
        ("crop", 1600, 800, (0.25, 0, 0.75, 1)),
        ("crop", 800, 1600, (0, 0.25, 1, 0.75)),
        ("pad", 1600, 800, (0, -0.5, 1, 1.5)),
        ("pad", 800, 1600, (-0.5, 0, 1.5, 1)),
        ("crop", 0, 0, (0, 0, 1, 1)),
    ],
)
def test_what_of_a_frame_the_model_sees(resize, width, height, box):
    assert seen_box(resize, 1.0, width, height) == pytest.approx(box)


def test_the_page_asks_nobody_else():
    """No address of another host in any file of the page (XML namespaces are names, not calls)."""
    page = Path(finecut.__file__).parent / "server" / "page"
    files = sorted(page.iterdir())
    assert len(files) > 15
    for file in files:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|eval\(|innerHTML", text), file.name
