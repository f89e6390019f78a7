"""Options that several verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from finecut.storage.location import Location

Index = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="The index's folder, or its URL in an object store (s3://BUCKET/NAME); "
        "FINECUT_INDEX, or one place for each user, when not given.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
BundleRef = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="REF",
        help="A bundle: a path, an installed name, or hf:org/repo that was pulled.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one run of the model; all cores otherwise."),
]

Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="What runs the video encoder: openvino (bf16 where the processor has it), cuda, "
        "coreml or cpu. A GPU that is present otherwise, else the CPU.",
    ),
]


def index_dir(given: str | Path | None) -> Location:
    """The index that is meant: the option, FINECUT_INDEX, or the user's own; of an alias, the
    index it names now."""
    from finecut.index.alias import follow

    return follow(index_place(given))


def index_place(given: str | Path | None) -> Location:
    """The same without following an alias: for a server, which follows it again and again."""
    if given is not None:
        from finecut.storage.location import Location

        return Location.parse(given)
    from finecut.index.place import default_index

    return default_index()


def providers(device: str | None) -> tuple[str, ...] | None:
    """What --device asks of a bundle; refused here, before any work, where it is not installed."""
    if device is None:
        return None
    from finecut.bundle.session import choose_providers

    choose_providers((device,), accelerate=True)
    return (device,)


def examples(*lines: str) -> str:
    """An epilog that keeps its lines: the examples under ``--help``."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
