"""Write a bundle: copy its files, hash them, fill in the manifest, put it in place in one step."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finecut.bundle.fingerprint import fingerprint, sha256
from finecut.bundle.manifest import FileEntry, Frames, Manifest, Sampling, Text, Video
from finecut.bundle.schema import invalid
from finecut.errors import BundleError

MANIFEST = "manifest.json"


def write_bundle(
    out_dir: str | Path,
    fields: Mapping[str, Any],
    files: Mapping[str, bytes | str | Path],
    *,
    replace: bool = False,
) -> Manifest:
    """Write a whole bundle and return its manifest.

    Args:
        out_dir: the bundle's directory; made here. It appears complete or not at all.
        fields: the manifest's sections (``name``, ``method``, ``sampling``, ``frames``, ``video``,
            ``text``, ``provenance``, optional ``rerank`` and ``calibration``); sizes, hashes and
            the fingerprint are computed and must not be among them.
        files: name in the bundle -> its bytes, or the path of a file to copy.
        replace: swap an existing bundle for this one instead of refusing.

    Raises:
        BundleError: the fields do not make a manifest, a file is missing or not used by name,
            or ``out_dir`` exists.
    """
    target = Path(out_dir)
    computed = {"schema_version", "fingerprint", "files"} & set(fields)
    if computed:
        raise BundleError(
            f"The manifest fields {sorted(computed)} are computed when a bundle is written; "
            "leave them out."
        )
    if target.exists() and not replace:
        raise BundleError(f"{target} exists already; choose another place, or pass replace=True.")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        entries = []
        for name, source in sorted(files.items()):
            data = _bytes_of(name, source)
            entry = _entry(name, data)  # before anything is written: it refuses other places
            (work / name).write_bytes(data)
            entries.append(entry)
        manifest = _manifest(fields, entries)
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        (work / MANIFEST).write_text(text, encoding="utf-8")
        work.chmod(0o755)
        _put_in_place(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _bytes_of(name: str, source: bytes | str | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise BundleError(f"Bundle file {name!r} cannot be read from {source}: {error}.") from error


def _entry(name: str, data: bytes) -> dict[str, Any]:
    try:
        entry = FileEntry(path=name, size_bytes=len(data), sha256=sha256(data))
    except ValidationError as error:
        raise BundleError(f"A bundle cannot hold this file: {invalid(error)}") from error
    return entry.model_dump(mode="json")


def _manifest(fields: Mapping[str, Any], entries: list[dict[str, Any]]) -> Manifest:
    hashes = {entry["path"]: entry["sha256"] for entry in entries}
    try:
        sections = (
            Sampling.model_validate(fields.get("sampling", {})),
            Frames.model_validate(fields.get("frames", {})),
            Video.model_validate(fields.get("video", {})),
            Text.model_validate(fields.get("text", {})),
        )
        # A file that is named but not given is refused by the manifest itself, by name.
        known = {name: hashes.get(name, "0" * 64) for name in _named(sections[2], sections[3])}
        mark = fingerprint(*sections, known)
        return Manifest.model_validate({**fields, "fingerprint": mark, "files": entries})
    except ValidationError as error:
        raise BundleError(f"These fields make no manifest: {invalid(error)}") from error


def _named(video: Video, text: Text) -> tuple[str, str, str]:
    return video.graph, text.graph, text.tokenizer


def _put_in_place(work: Path, target: Path) -> None:
    """Rename ``work`` to ``target``; an old bundle steps aside first and is removed after."""
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        os.rename(target, old / "bundle")
    try:
        os.rename(work, target)
    except OSError:
        if old is not None:
            os.rename(old / "bundle", target)
        raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
