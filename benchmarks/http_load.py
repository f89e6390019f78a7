"""`finecut serve` under load: queries a second, latency, what is lost, and memory over ten minutes.

The server is the real one, a process of its own, over 100,000 made-up clips. The load comes from
another process: plain sockets in one event loop, one connection kept per client, each client asks
its next query (a new sentence every time) when the last is answered; a whole answer is read, its
status and the query it repeats are checked. Nothing is sent again: what fails is counted. Both
processes share the machine, so the load's own cost is in every figure; it is stated.

    python benchmarks/http_load.py [--minutes 10] [--clips 100000] [--quick]

Writes results/bench-http.json and results/plots/bench-http.svg.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

import made_index
import record
from finecut import Bundle, Searcher
from record import Entry

CLIENTS = (1, 8, 32)
STEADY_CLIENTS = 8
SETTLED = 0.2  # of the long run before memory is looked at: caches fill
SERVE = """
import json, sys
from finecut.server.run import serve
told = json.loads(sys.argv[1])
serve(told.pop("index"), port=0, on_listening=lambda url: print(url, flush=True), **told)
"""


# -- the load, a process of its own -------------------------------------------------------------


async def client(place: tuple[str, int], name: int, until: float, found: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection(*place)
    number = 0
    while time.perf_counter() < until:
        number += 1
        query = f"a dog on a beach {name} {number}"
        begun = time.perf_counter()
        writer.write(
            f"GET /api/v1/search?q={quote(query)} HTTP/1.1\r\nHost: {place[0]}\r\n\r\n".encode()
        )
        found["sent"] += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, IndexError, ValueError):
            found["broken"] += 1
            break
        status = head.split(b" ", 2)[1].decode()
        found["statuses"][status] = found["statuses"].get(status, 0) + 1
        if status == "200":
            found["ms"].append((time.perf_counter() - begun) * 1e3)
            found["wrong"] += f'"query":"{query}"'.encode() not in body
        found["bytes"] += length
    writer.close()


async def generate(url: str, clients: int, seconds: float) -> dict[str, Any]:
    parts = urlsplit(url)
    place = (parts.hostname or "127.0.0.1", parts.port or 80)
    found: dict[str, Any] = {
        "sent": 0, "broken": 0, "wrong": 0, "bytes": 0, "statuses": {}, "ms": [],
    }  # fmt: skip
    begun = time.perf_counter()
    await asyncio.gather(
        *(client(place, name, begun + seconds, found) for name in range(clients)),
    )
    found["seconds"] = time.perf_counter() - begun
    found["cpu_s"] = time.process_time()
    return found


def load(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """What so many clients found in so many seconds."""
    command = [sys.executable, __file__, "--generate", url, str(clients), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# -- the server ---------------------------------------------------------------------------------


@contextmanager
def server(index: Path, **settings: Any) -> Iterator[tuple[str, int]]:
    """(address, process id) of a warm server."""
    told = json.dumps({"index": str(index), **settings})
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, told], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        load(url, 1, 1.0)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):  # mapped files are the page cache's to give and take
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc: run it on Linux")


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measured(url: str, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    """One run's figures, the server's processor time for each query among them."""
    before = cpu_s(pid)
    found = load(url, clients, seconds)
    spent = cpu_s(pid) - before
    answered = len(found["ms"])
    if not answered:
        raise SystemExit(f"nothing was answered: {found['statuses']}")
    return {
        "clients": clients,
        "seconds": found["seconds"],
        "queries_per_s": answered / found["seconds"],
        **{f"p{p}_ms": record.percentile(found["ms"], p / 100) for p in (50, 95, 99)},
        "max_ms": max(found["ms"]),
        "sent": found["sent"],
        "answered": answered,
        "lost": found["sent"] - answered,
        "wrong": found["wrong"],
        "statuses": found["statuses"],
        "bytes_per_answer": found["bytes"] / answered,
        "server_cpu_ms_per_query": spent * 1e3 / answered,
        "load_cpu_ms_per_query": found["cpu_s"] * 1e3 / answered,
    }


def in_process(index: Path, seconds: float) -> float:
    """Queries a second of as many threads as cores around one searcher: no HTTP, no JSON."""
    searcher = Searcher.open(index)
    until = time.perf_counter() + seconds
    done: list[int] = []

    def ask(name: int) -> None:
        number = 0
        while time.perf_counter() < until:
            number += 1
            searcher.search(f"a dog on a beach {name} {number}")
        done.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(os.cpu_count() or 1)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


def memory_curve(pid: int, stop: threading.Event, every_s: float) -> list[tuple[float, float]]:
    """(seconds, MiB) until told to stop."""
    begun, curve = time.perf_counter(), []
    while not stop.wait(every_s):
        curve.append((time.perf_counter() - begun, resident_mib(pid)))
    return curve


def long_run(url: str, pid: int, seconds: float) -> tuple[dict[str, Any], list]:
    stop, curve = threading.Event(), []
    every_s = max(0.1, seconds / 300)
    watch = threading.Thread(target=lambda: curve.extend(memory_curve(pid, stop, every_s)))
    watch.start()
    try:
        found = measured(url, pid, STEADY_CLIENTS, seconds)
    finally:
        stop.set()
        watch.join()
    return found, curve


def choices(index: Path, seconds: float) -> list[dict[str, Any]]:
    """The same load with other threads for one run of a graph, and other searches at once."""
    found = []
    for threads, at_once in ((None, 4), (1, 2), (1, 4), (1, 8), (2, 2)):
        with server(index, threads=threads, max_searches=at_once) as (url, pid):
            one = measured(url, pid, STEADY_CLIENTS, seconds)
        kept = ("queries_per_s", "p50_ms", "p95_ms", "server_cpu_ms_per_query")
        row = {name: one[name] for name in kept}
        found.append({"threads": threads or "all", "searches_at_once": at_once, **row})
    return found


def main() -> None:
    if sys.argv[1:2] == ["--generate"]:
        url, clients, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
        print(json.dumps(asyncio.run(generate(url, clients, seconds))))
        return
    parser = record.arguments(__doc__)
    parser.add_argument("--minutes", type=float, help="of the long run; default 10")
    parser.add_argument("--clips", type=int)
    told = parser.parse_args()
    started = time.time()
    clips = told.clips or (500 if told.quick else 100_000)
    short_s = 1.0 if told.quick else 10.0
    long_s = 60 * told.minutes if told.minutes else (3.0 if told.quick else 600.0)
    index = made_index.made_index(Bundle.load("starter"), clips)
    limit = in_process(index, short_s)
    with server(index) as (url, pid):
        runs = [measured(url, pid, clients, short_s) for clients in CLIENTS]
        steady, curve = long_run(url, pid, long_s)
    settled = [mib for at, mib in curve if at > SETTLED * long_s]
    third = max(1, len(settled) // 3)
    first, last = float(np.median(settled[:third])), float(np.median(settled[-third:]))
    lost = sum(run["lost"] + run["wrong"] for run in [*runs, steady])
    entries = [
        Entry(
            f"HTTP, {run['clients']} clients, {clips:,} clips", run["queries_per_s"], "queries/s",
            "higher", None, "threads around one searcher, no HTTP", limit,
        )
        for run in runs
    ]  # fmt: skip
    entries += [
        Entry(
            f"HTTP latency, {run['clients']} clients, p{p}", run[f"p{p}_ms"], "ms", "lower",
            spread=(run["p50_ms"], run["max_ms"]),
        )
        for run in runs
        for p in (50, 95)
    ]  # fmt: skip
    entries += [
        Entry("HTTP, answers lost or mixed up", lost, "answers", "lower", 0.0),
        Entry(
            f"server memory, growth over {long_s / 60:g} min at {STEADY_CLIENTS} clients",
            (last / first - 1) * 100, "%", "lower", 2.0,
            note="anonymous memory, median of the last third over that of the first, after a fifth",
        ),
    ]  # fmt: skip
    figures = {
        "clips": clips,
        "runs": runs,
        "long_run": steady,
        "memory_mib": {"first": first, "last": last, "most": max(mib for _, mib in curve)},
        "curve_s_mib": curve,
        "in_process_queries_per_s": limit,
        "choices": choices(index, short_s / 2),
    }
    record.save("http", entries, figures, started)

    def draw(axes: Any) -> None:
        axes.plot([at / 60 for at, _ in curve], [mib for _, mib in curve])
        axes.set(
            xlabel=f"minutes at {STEADY_CLIENTS} clients, {steady['queries_per_s']:.0f} queries/s",
            ylabel="anonymous memory of the server, MiB", ylim=(0, None),
        )  # fmt: skip

    record.plot("http", draw)


if __name__ == "__main__":
    main()
