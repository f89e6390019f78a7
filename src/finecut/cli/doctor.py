"""`finecut doctor`: does everything work here, and what to do where it does not."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import finecut
from finecut.cli import options
from finecut.cli.show import EXIT_FAILED, bytes_text, command, out, print_json, say
from finecut.errors import FinecutError, IndexNotFound

if TYPE_CHECKING:
    from finecut.storage.location import Location

LOW_SPACE = 1 << 30  # bytes; below it an index run may fill the disk
PORT = 8500  # of `finecut serve` when none is given


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=options.examples("finecut doctor", "finecut doctor --json"))(doctor)


@command
def doctor(index: options.Index = None, as_json: options.Json = False) -> None:
    """Check that everything finecut needs works here.

    A line each: ok, warn (something is missing that can be done without) or fail, and what to do.
    """
    directory = options.index_dir(index)
    checks: list[tuple[str, Callable[[], tuple[str, str]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("decode", _decode),
        ("bundle", _bundle),
        ("providers", _providers),
        ("index", lambda: _index(directory)),
        ("space", lambda: _space(directory)),
        ("port", _port),
        ("learn", _learn),
    ]
    found = []
    for name, check in checks:
        try:
            state, text = check()
        except Exception as error:  # a doctor reports whatever is broken and goes on
            state, text = "fail", f"{type(error).__name__}: {error}"
        found.append({"check": name, "state": state, "text": text})
        if not as_json:
            out(f"{state:4}  {name:10} {text}")
    if as_json:
        print_json({"ok": all(row["state"] != "fail" for row in found), "checks": found})
    if any(row["state"] == "fail" for row in found):
        say("Something is broken; the lines that begin with fail say what.")
        raise typer.Exit(EXIT_FAILED)


def _python() -> tuple[str, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    return "ok", f"finecut {finecut.__version__}, Python {version}, {os.cpu_count()} cores"


def _packages() -> tuple[str, str]:
    """The versions installed of what finecut requires, against what it asks for."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("finecut") or ()]
    base = [item for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
    wrong = []
    for item in base:
        try:
            have = version(item.name)
        except PackageNotFoundError:
            wrong.append(f"{item.name} is missing")
            continue
        if not item.specifier.contains(have, prereleases=True):
            wrong.append(f"{item.name} is {have}, needed is {item.specifier}")
    if wrong:
        return "fail", f"{'; '.join(wrong)}; install finecut anew: pip install --upgrade finecut"
    return "ok", f"all {len(base)} that are needed"


def _decode() -> tuple[str, str]:
    """Write a video of two frames and read it back."""
    import av
    import numpy as np

    from finecut.video.decode import decode_clips
    from finecut.video.spec import DecodeSpec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=1)
            stream.width = stream.height = 64
            for gray in (60, 200):
                picture = np.full((64, 64, 3), gray, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        spec = DecodeSpec(1.0, 8, 32, 32, "squash", "bilinear")
        frames = sum(len(clip.times) for clip in decode_clips(path, spec))
    wanted = {"h264": "H.264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1"}
    missing = [name for codec, name in wanted.items() if codec not in av.codecs_available]
    if frames != 2:
        return "fail", f"a video of 2 frames gave {frames}; install PyAV anew"
    if missing:
        return "warn", f"PyAV {av.__version__} has no decoder for {', '.join(missing)}"
    return "ok", f"PyAV {av.__version__}: H.264, HEVC, VP9, AV1"


def _bundle() -> tuple[str, str]:
    from finecut.bundle.verify import verify

    report = verify()
    if report.ok:
        return "ok", f"starter: {len(report.passed)} checks passed"
    return "fail", f"starter: {'; '.join(report.problems)}"


def _providers() -> tuple[str, str]:
    """What can run the video encoder, in the words --device takes."""
    import onnxruntime

    from finecut.bundle import openvino_session as openvino
    from finecut.bundle.session import choose_providers

    found = choose_providers(None, accelerate=True)
    names = ", ".join(name.removesuffix("ExecutionProvider").lower() for name in found)
    told = f"onnxruntime {onnxruntime.__version__}: {names}"
    if openvino.installed():
        return "ok", f"{told}; with --device openvino: {openvino.precision()}"
    return "ok", f"{told}; OpenVINO is not installed ({openvino.INSTALL})"


def _index(directory: Location) -> tuple[str, str]:
    from finecut.index.store import Index

    try:
        stats = Index.open(directory).stats()
    except IndexNotFound:
        return "warn", f"none at {directory} yet; make it with: finecut index FOLDER"
    except FinecutError as error:
        return "fail", str(error)
    failed = f", {stats.n_failed} failed (finecut ls --failed)" if stats.n_failed else ""
    return "ok", f"{directory}: {stats.n_videos} videos, {stats.n_clips} clips{failed}"


def _space(directory: Location) -> tuple[str, str]:
    from finecut.index.place import cache_root

    folder = directory.absolute().path if directory.is_local else cache_root().absolute()
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    return "ok" if free > LOW_SPACE else "warn", f"{bytes_text(free)} free at {place}"


def _port() -> tuple[str, str]:
    """Whether the page's usual port is free on this machine."""
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return "warn", f"{PORT} is taken; a page may run already, or: finecut serve --port 0"
    return "ok", f"{PORT} is free for finecut serve"


def _learn() -> tuple[str, str]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return "ok", 'training is not installed (pip install "finecut[learn]"); search needs none'
    return "ok", "training is installed"
