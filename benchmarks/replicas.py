"""Ask replicas over one index in a bucket while a writer changes it: is any answer wrong or lost?

The bucket is that of an S3 server on this machine (moto). A writer adds videos, takes some out and
tidies up, commit by commit; half-way one replica is killed (SIGKILL) and another takes its place.
Every answer names the version it is of: afterwards each is compared with what that very commit
says when its tables are opened as they were. A caller retries, on the next replica, what was cut
off or answered 503, as docs/operations.md asks of callers.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import numpy as np

from record import ROOT, Entry, arguments, percentile, save

QUERIES = (
    "a dog catches a frisbee", "a man cooks in a kitchen", "sunset over the sea",
    "two people talk at a table", "a red car on a road", "children play football",
    "a woman plays the piano", "a bird flies over water", "snow falls on a city", "a cat sleeps",
    "somebody climbs a rock", "a train arrives", "a boat on a lake", "people dance at night",
    "a close-up of a flower", "a horse runs in a field",
)  # fmt: skip
K = 5
FIRST_VIDEOS = 30  # ten clips each
EACH_S = 0.5  # between two commits
REMOVE_EVERY, COMPACT_EVERY = 5, 12  # commits
CALLERS = 4
MOST_TRIES = 8
TIMEOUT_S = 60.0
STOPPING_S = 60.0


@dataclass
class Replica:
    """A server process, and where it listens."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, index: str, cache: Path) -> Replica:
        command = [sys.executable, "-m", "finecut", "serve", "--index", index, "--port", "0",
                   "--threads", "1", "--drain-s", "1", "--json"]  # fmt: skip
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            # Caches of their own, as on machines of their own.
            env={**os.environ, "FINECUT_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("a replica did not start")
        port = int(json.loads(line)["url"].rstrip("/").rpartition(":")[2])
        replica = cls(process, port)
        replica.wait_ready()
        return replica

    def wait_ready(self) -> None:
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if ask(self.port, "/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("a replica did not become ready")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(STOPPING_S)


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@dataclass
class Answers:
    """What callers were told."""

    told: list[tuple[int, int, list[dict[str, Any]], float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def call(replicas: list[Replica], numbers: itertools.count[int], most: int, into: Answers) -> None:
    """Ask until all is asked; each question goes to the next replica, and on after a failure."""
    while (number := next(numbers)) < most:
        query = number % len(QUERIES)
        path = "/api/v1/search?" + urlencode({"q": QUERIES[query], "k": K, "evidence": "false"})
        began, why = time.perf_counter(), ""
        for attempt in range(MOST_TRIES):
            replica = replicas[(number + attempt) % len(replicas)]
            try:
                status, body = ask(replica.port, path)
            except (OSError, http.client.HTTPException) as error:
                why = type(error).__name__
            else:
                if status == 200:
                    plain = json.loads(body)
                    commit = int(plain["index_version"].rpartition("-")[2])
                    taken = time.perf_counter() - began
                    with into.lock:
                        into.told.append((query, commit, plain["results"], taken, time.time()))
                    break
                why = str(status)
                if status != 503:
                    attempt = MOST_TRIES
            with into.lock:
                into.retried[why] += 1
            if attempt >= MOST_TRIES:
                with into.lock:
                    into.failed.append(why)
                break
            time.sleep(0.05 * (attempt + 1))
        else:
            with into.lock:
                into.failed.append(why)


# -- the writer ------------------------------------------------------------------------------------


def write(index: str) -> None:
    """Change the index, commit by commit, until stdin is closed."""
    from finecut import Bundle
    from finecut.index.meta import IndexMeta
    from finecut.index.writer import IndexWriter
    from made_index import MADE_AT, POOL, made_tokens

    bundle = Bundle.load("starter")
    rng = np.random.default_rng(1)
    centres = bundle.query_bank().recall
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, "patch", MADE_AT)
    pool = [made_tokens(rng, bundle, 6) for _ in range(POOL // 8)]
    stop = threading.Event()

    def put(writer: IndexWriter, numbers: range) -> None:
        stored, rows = [], []
        for number in numbers:
            clips, row = made(writer, rng, centres, pool, number)
            stored += clips
            rows.append(row)
        writer.commit(stored, rows)

    with IndexWriter(index, meta) as writer:
        put(writer, range(FIRST_VIDEOS))
        print("ready", flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
        for step in itertools.count(1):
            if stop.wait(EACH_S):
                break
            put(writer, range(FIRST_VIDEOS + step - 1, FIRST_VIDEOS + step))
            if step % REMOVE_EVERY == 0:
                there = sorted(writer.videos)
                writer.commit(removed=[there[int(rng.integers(len(there)))]])
            if step % COMPACT_EVERY == 0:
                writer.compact()
    print(json.dumps({"commits": writer.head.number, "clips": writer.head.n_clips}), flush=True)


def made(writer: Any, rng: Any, centres: Any, pool: Any, number: int) -> tuple[list[Any], Any]:
    from dataclasses import replace

    from finecut.index.rows import PathStamp
    from made_index import CLIPS_PER_VIDEO, made_video, near, video_row

    recall = near(rng, centres[rng.integers(len(centres))], CLIPS_PER_VIDEO)
    clips = made_video(writer, pool[number % len(pool)], recall, number, 6)
    row = video_row(number, writer.build, Path("made.mp4"), CLIPS_PER_VIDEO, 6)
    # In a bucket, where a search does not look whether the file is there.
    stamp = PathStamp(f"s3://finecut-videos/video-{number:06d}.mp4", 0, 1)
    return clips, replace(row, stamps=(stamp,))


# -- the judge -------------------------------------------------------------------------------------


def expected(index: str, told: list[Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """What each commit says to each question it was asked, from its tables as they were."""
    from finecut import Bundle, Index, Searcher

    bundle = Bundle.load("starter", threads=1)
    asked: dict[int, set[int]] = {}
    for query, commit, *_ in told:
        asked.setdefault(commit, set()).add(query)
    right = {}
    for commit, queries in sorted(asked.items()):
        searcher = Searcher(Index.open(index, as_of=commit), bundle)
        for query in sorted(queries):
            found = searcher.search(QUERIES[query], K, 50, evidence=False)
            right[query, commit] = [moment.to_json() for moment in found]
    return right


def same(told: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    """Whether two lists of moments are the same ones in the same order, scores to float32."""
    if len(told) != len(right):
        return False
    for one, other in zip(told, right, strict=True):
        for name, value in other.items():
            if isinstance(value, float):
                if not np.isclose(one[name], value, rtol=1e-4, atol=1e-4):
                    return False
            elif name not in ("video", "evidence") and one.get(name) != value:
                return False
    return True


# -- all of it -------------------------------------------------------------------------------------


def start_store(stack: ExitStack) -> str:
    """An S3 server on this machine, the environment set to it; the URL of a bucket."""
    script = ROOT / "tests" / "cluster" / "s3_server.py"
    server = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    stack.callback(server.wait)
    stack.callback(server.kill)
    assert server.stdout is not None
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "KEYOFTHEBENCHMARK",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-benchmark",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    import boto3

    name = f"finecut-{uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=name)
    return f"s3://{name}"


def run(queries: int, n_replicas: int, index: str, folder: Path) -> dict[str, Any]:
    """Figures of one run over a new index at ``index``."""
    writer = subprocess.Popen(
        [sys.executable, __file__, "--write", index],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    replicas: list[Replica] = []
    into = Answers()
    try:
        assert writer.stdin is not None and writer.stdout is not None
        if writer.stdout.readline().strip() != "ready":
            raise SystemExit("the writer did not start")
        replicas += [Replica.start(index, folder / f"cache-{n}") for n in range(n_replicas)]
        numbers = itertools.count()
        callers = [
            threading.Thread(target=call, args=(replicas, numbers, queries, into))
            for _ in range(CALLERS)
        ]
        began = time.time()
        for caller in callers:
            caller.start()
        while len(into.told) < queries // 2 and any(caller.is_alive() for caller in callers):
            time.sleep(0.01)
        replicas[0].end(signal.SIGKILL)
        replicas[0] = Replica.start(index, folder / "cache-new")
        # And one is told to leave while it is asked: it says so, and finishes what it has.
        leaver = replicas[1]
        replicas[1] = Replica.start(index, folder / "cache-second")
        left = leaver.end()
        for caller in callers:
            caller.join()
        ended = time.time()
        openings = [opening_of(replica) for replica in replicas]
        writer.stdin.close()
        wrote = json.loads(writer.stdout.read().strip().splitlines()[-1])
    finally:
        for replica in replicas:
            replica.end(signal.SIGKILL)
        writer.kill()
        writer.wait()
    right = expected(index, into.told)
    wrong = [
        (query, commit)
        for query, commit, results, *_ in into.told
        if not same(results, right[query, commit])
    ]
    empty = sum(not results for _, _, results, *_ in into.told)
    return {
        "queries": queries,
        "answered": len(into.told),
        "wrong": len(wrong),
        "wrong_of_commits": sorted({commit for _, commit in wrong})[:20],
        "empty": empty,
        "failed": len(into.failed),
        "failed_why": dict(Counter(into.failed)),
        "retried": dict(into.retried),
        "replicas": n_replicas,
        "killed": 1,
        "left_with_code": left,
        "commits_written": wrote["commits"],
        "commits_answered_from": len({commit for _, commit, *_ in into.told}),
        "clips_at_the_end": wrote["clips"],
        "seconds": ended - began,
        "queries_per_s": queries / (ended - began),
        "latency_ms": shares([taken * 1e3 for *_, taken, _ in into.told]),
        "stale_s": shares(staleness(index, into.told)),
        "opening_s": openings,
    }


def staleness(index: str, told: list[Any]) -> list[float]:
    """Seconds for which each answer's version had been replaced when the answer came."""
    from finecut.index.history import commits

    until = {commit.head.number: commit.until for commit in commits(index)}
    return [
        max(0.0, at - (replaced or at)) for _, commit, _, _, at in told
        for replaced in [until[commit]]
    ]  # fmt: skip


def shares(values: list[float]) -> dict[str, float]:
    return {
        "median": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "largest": max(values),
    }


def opening_of(replica: Replica) -> float:
    """Seconds the replica's last opening of a new version took."""
    text = ask(replica.port, "/metrics")[1].decode()
    line = next(line for line in text.splitlines() if line.startswith("finecut_index_opening_s"))
    return float(line.split()[1])


def main() -> None:
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2])
        return
    parser = arguments(__doc__)
    parser.add_argument("--queries", type=int, default=None, help="10,000 unless --quick (400)")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--local", action="store_true", help="in a folder, not in a bucket")
    given = parser.parse_args()
    queries = given.queries or (400 if given.quick else 10_000)
    started = time.time()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finecut-replicas-")))
        index = str(folder / "index") if given.local else f"{start_store(stack)}/index"
        os.environ["FINECUT_CACHE"] = str(folder / "cache-of-the-judge")
        figures = run(queries, given.replicas, index, folder)
    latency, stale = figures["latency_ms"], figures["stale_s"]
    save(
        "replicas",
        [
            Entry("wrong answers", figures["wrong"], "answers", "lower", 0),
            Entry("failed answers", figures["failed"], "answers", "lower", 0),
            Entry("queries answered", figures["answered"], "answers", "higher", queries),
            Entry("p95 of a query", latency["p95"], "ms", "lower"),
            Entry("queries a second, all replicas", figures["queries_per_s"], "1/s", "higher"),
            Entry("p95 of a version's age after it was replaced", stale["p95"], "s", "lower"),
        ],
        {"index": "folder" if given.local else "S3 server on this machine (moto)", **figures},
        started,
    )
    if figures["wrong"] or figures["failed"]:
        raise SystemExit(f"wrong or failed answers: {json.dumps(figures, indent=1)}")


if __name__ == "__main__":
    main()
