"""Whether the machines of a cluster can do the work: they must see what the driver sees."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from finecut import __version__
from finecut.cluster.connect import Node
from finecut.cluster.encode import load_same
from finecut.cluster.write import check_same_index
from finecut.errors import FinecutError, UsageError
from finecut.index.meta import IndexMeta
from finecut.storage.location import Location, is_url

if TYPE_CHECKING:
    from typing import Any

MOST_PATHS = 5  # videos looked for on each machine
ANSWER_S = 120.0  # a machine has so long to start a process and look


def check_machines(
    nodes: Sequence[Node],
    directory: Location,
    meta: IndexMeta,
    bundle_ref: str,
    paths: Sequence[str],
    *,
    here: str | None = None,
) -> None:
    """Have every other machine look for the index, the bundle and some of the videos.

    Args:
        nodes: of the cluster; those without CPUs do no work.
        directory: of the index.
        meta: of the index.
        bundle_ref: of the model.
        paths: of the videos to be read.
        here: address of the driver's machine, which sees it all; None: ask Ray.

    Raises:
        UsageError: some machine cannot do the work; the message says which, and why.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.util.get_node_ip_address() if here is None else here
    step = max(1, len(paths) // MOST_PATHS)
    some = list(paths[::step][:MOST_PATHS])
    look = ray.remote(num_cpus=0, max_retries=1)(problems_here)
    asked: dict[str, tuple[Node, Any]] = {}
    for node in nodes:
        if node.cpus >= 1 and node.address != here and node.address not in asked:
            there = NodeAffinitySchedulingStrategy(node.node_id, soft=True)
            answer = look.options(scheduling_strategy=there).remote(
                __version__, str(directory), meta, bundle_ref, some
            )
            asked[node.address] = (node, answer)
    problems = []
    for node, answer in asked.values():
        try:
            problems += [f"{node.host}: {text}" for text in ray.get(answer, timeout=ANSWER_S)]
        except Exception as error:  # whatever a machine without finecut says
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            problems.append(
                f"{node.host}: cannot look ({last[0][:200]}). Is finecut installed there? "
                "pip install 'finecut[cluster]'"
            )
    if problems:
        raise UsageError(
            "Not every machine of the cluster can do this work. Mount the same folders at the "
            "same place on all of them, or keep videos and index in an object store. "
            + " | ".join(problems)
        )


def problems_here(
    version: str, directory: str, meta: IndexMeta, bundle_ref: str, paths: Sequence[str]
) -> list[str]:
    """What this machine lacks, in sentences; runs there."""
    found = []
    if version != __version__:
        found.append(f"finecut {__version__} is installed here, the run is of {version}.")
    try:
        check_same_index(Location.parse(directory), meta)
    except FinecutError as error:
        found.append(str(error))
    try:
        load_same(bundle_ref, meta.fingerprint)
    except FinecutError as error:
        found.append(str(error))
    missing = [path for path in paths if not is_url(path) and not os.access(path, os.R_OK)]
    if missing:
        found.append(f"{missing[0]} cannot be read on {socket.gethostname()}.")
    return found
