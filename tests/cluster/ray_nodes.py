"""Several Ray nodes on this machine, and ways to lose them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIES = 3
STORE_BYTES = 200 << 20  # of each node's object store


class RayNodes:
    """A head that does no work and workers of one CPU each. Use as a context manager.

    Args:
        workers: nodes beside the head.
        cpus: of each of them.
    """

    def __init__(self, workers: int = 2, cpus: float = 1) -> None:
        self._n_workers, self._cpus = workers, cpus
        self._folder = ""
        self._cluster: Any = None
        self._workers: list[Any] = []

    def __enter__(self) -> RayNodes:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
        from ray.cluster_utils import Cluster

        self._folder = tempfile.mkdtemp(prefix="fct-", dir="/tmp")  # a socket's path is short
        os.makedirs("/tmp/ray", exist_ok=True)  # where Ray notes the newest cluster's address
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        head["temp_dir"] = self._folder
        self._cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        for _ in range(self._n_workers):
            self.add()
        self._cluster.wait_for_nodes()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return self._cluster.address

    def add(self) -> None:
        """One more node."""
        arguments = {"num_cpus": self._cpus, "object_store_memory": STORE_BYTES}
        self._workers.append(patiently(lambda: self._cluster.add_node(**arguments)))

    def fill(self, count: int) -> None:
        """As many workers as this again."""
        while len(self._workers) < count:
            self.add()

    def kill_node(self, chance: random.Random) -> bool:
        """End a node without a word, with all that runs on it; the last one is kept."""
        if len(self._workers) < 2:
            return False
        node = self._workers.pop(chance.randrange(len(self._workers)))
        self._cluster.remove_node(node, allow_graceful=False)
        return True

    def worker_processes(self) -> list[int]:
        """Processes that do the stages' work now."""
        found = []
        for node in self._workers:
            for info in node.all_processes.get("raylet", []):
                found += [
                    pid
                    for pid in descendants(info.process.pid)
                    if re.match(r"ray::.*MapBatches", command_of(pid))
                ]
        return found

    def kill_worker(self, chance: random.Random) -> bool:
        """kill -9 one of the processes that work, if there is one."""
        pids = self.worker_processes()
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
        return True

    def wait_for_work(self, timeout_s: float = 90.0) -> None:
        """Until a process of a stage runs."""
        until = time.monotonic() + timeout_s
        while not any("Decode" in command_of(pid) for pid in self.worker_processes()):
            assert time.monotonic() < until, "no worker began"
            time.sleep(0.1)


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; Ray gives it half a minute, which a busy machine may need more than once."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Exception):
            return start()
    return start()


def descendants(pid: int) -> list[int]:
    """Processes a process started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            plain = path.read_text()
            if int(plain.rpartition(")")[2].split()[1]) == pid:
                child = int(path.parent.name)
                found += [child, *descendants(child)]
    return found


def command_of(pid: int) -> str:
    """A process's command line; "" once it is gone."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    return ""
