"""Colour bundles, made once per kind and copied where a test wants to break one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from color_bundle import make_color_bundle


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour bundle; not to be changed."""
    return make_color_bundle(tmp_path_factory.mktemp("bundle") / "colors")


@pytest.fixture
def broken(colors: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the colour bundle with a file replaced, and the manifest made to agree or not."""
    from finecut.bundle.fingerprint import sha256

    def make(
        files: dict[str, bytes] | None = None,
        *,
        change: Callable[[dict], object] | None = None,
        honest: bool = True,
    ) -> Path:
        place = tmp_path / "broken"
        shutil.copytree(colors, place)
        manifest = json.loads((place / "manifest.json").read_text())
        for name, data in (files or {}).items():
            (place / name).write_bytes(data)
            entry = next((e for e in manifest["files"] if e["path"] == name), None)
            if honest and entry is None:
                entry = {"path": name}
                manifest["files"].append(entry)
            if honest:
                entry |= {"size_bytes": len(data), "sha256": sha256(data)}
        if change:
            change(manifest)
        (place / "manifest.json").write_text(json.dumps(manifest))
        return place

    return make
