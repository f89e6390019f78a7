"""Index folders of videos on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finecut.cluster.connect import load_ray
from finecut.cluster.work import ClusterWork
from finecut.index.build import build_index
from finecut.index.report import IndexReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finecut.bundle.load import Bundle
    from finecut.storage.location import Location


def build_index_on_cluster(
    roots: Sequence[str | Path],
    index_dir: Location | str | Path,
    bundle: Bundle,
    *,
    address: str,
    workers: int | None = None,
    encoder_gpus: float = 0.0,
    **options: Any,
) -> IndexReport:
    """As `finecut.index.build.build_index`, with the videos decoded, encoded and written by the
    workers of a Ray cluster. The index is the same, up to the order of its rows and its ids.

    Args:
        roots: folders and files, at the same place on every machine; or URLs.
        index_dir: likewise.
        bundle: the model; the same on every machine.
        address: HOST:PORT of the cluster, "auto" for the one this machine is part of, "local" for
            one that is started on this machine for the run.
        workers: decoders on all machines together; None: one per CPU.
        encoder_gpus: GPUs (or a part of one) for each encoder.
        options: of `build_index`.

    Raises:
        UsageError: there is no cluster, or no room in it.
        As `build_index`.
    """
    load_ray()  # says so when it is missing, before anything is looked for
    work = ClusterWork(address, workers=workers, encoder_gpus=encoder_gpus)
    return build_index(roots, index_dir, bundle, work=work, **options)
