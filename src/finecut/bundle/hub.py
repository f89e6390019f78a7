"""Get a bundle from the Hugging Face hub: the one place in finecut that uses a network.

The revision is pinned to a commit before anything is fetched, the manifest is read first and says
what else to fetch and how large it is, every file's SHA-256 is checked, and the bundle appears in
the folder of installed bundles complete or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finecut.bundle.files import MANIFEST, MAX_FILE_BYTES, MAX_TOTAL_BYTES, BundleFiles
from finecut.bundle.place import bundles_dir, hub_dir, parse_hub
from finecut.bundle.schema import MAX_MANIFEST_BYTES, parse_manifest
from finecut.errors import BundleError

RECORD = "pulled.json"


@dataclass(frozen=True, slots=True)
class PulledRecord:
    """Where an installed bundle came from, kept beside it as ``pulled.json``."""

    repo: str
    revision: str  # as asked for
    commit: str  # 40 hex digits it was pinned to
    fingerprint: str
    sha256: dict[str, str]  # by file
    pulled_at: float  # Unix seconds


def pulled_record(path: Path) -> PulledRecord:
    """The record beside an installed bundle.

    Raises:
        BundleError: none there, or unreadable.
    """
    try:
        plain = json.loads((path / RECORD).read_bytes())
        return PulledRecord(**plain)
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(
            f"{path} has no readable {RECORD} ({error}); pull the bundle again."
        ) from error


def pull(ref: str) -> Path:
    """Install "hf:org/repo" or "hf:org/repo@revision" and return its folder.

    A bundle of the same commit that is there and whole is kept; another one is replaced.

    Raises:
        BundleError: no such repository or revision, no bundle in it, a file that is not what the
            manifest says, or the hub cannot be reached.
    """
    repo, revision = parse_hub(ref)
    asked = revision or "main"
    commit, sizes = _resolve(repo, asked, ref)
    target = hub_dir(repo)
    if _is_there(target, commit):
        return target
    bundles_dir().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=bundles_dir()))
    try:
        bundle = work / "bundle"
        bundle.mkdir()
        _check_size(ref, MANIFEST, sizes, MAX_MANIFEST_BYTES)
        _fetch(repo, MANIFEST, commit, work, bundle, ref)
        manifest = parse_manifest((bundle / MANIFEST).read_bytes(), ref)
        total = sum(entry.size_bytes for entry in manifest.files)
        if total > MAX_TOTAL_BYTES:
            raise BundleError(f"{ref} holds {total} bytes, expected at most {MAX_TOTAL_BYTES}.")
        for entry in manifest.files:
            _check_size(ref, entry.path, sizes, min(entry.size_bytes, MAX_FILE_BYTES))
            _fetch(repo, entry.path, commit, work, bundle, ref)
        files = BundleFiles(bundle)
        for entry in manifest.files:
            files.read(entry.path)  # size and SHA-256
        record = PulledRecord(
            repo=repo,
            revision=asked,
            commit=commit,
            fingerprint=manifest.fingerprint,
            sha256={entry.path: entry.sha256 for entry in manifest.files},
            pulled_at=time.time(),
        )
        (bundle / RECORD).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
        _install(bundle, target, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _is_there(target: Path, commit: str) -> bool:
    try:
        if pulled_record(target).commit != commit:
            return False
        files = BundleFiles(target)
        for name in files.entries:
            files.read(name)
    except BundleError:
        return False
    return True


def _install(bundle: Path, target: Path, work: Path) -> None:
    if target.exists():
        os.rename(target, work / "old")
    os.rename(bundle, target)


def _resolve(repo: str, revision: str, ref: str) -> tuple[str, dict[str, int]]:
    """The commit a revision means, and the size of each file in it."""
    info = _asking(ref, lambda: _api().model_info(repo, revision=revision, files_metadata=True))
    commit = str(info.sha or "")
    if len(commit) != 40 or not all(c in "0123456789abcdef" for c in commit):
        raise BundleError(
            f"{ref}: the hub gives the commit {commit!r:.60}, expected 40 hex digits."
        )
    return commit, {item.rfilename: item.size or 0 for item in info.siblings or []}


def _check_size(ref: str, name: str, sizes: dict[str, int], most: int) -> None:
    if name not in sizes:
        raise BundleError(
            f"{ref} has no {name}; a bundle is a repository with {MANIFEST} and the files it lists."
        )
    if sizes[name] > most:
        raise BundleError(f"{ref}: {name} has {sizes[name]} bytes, expected at most {most}.")


def _fetch(repo: str, name: str, commit: str, work: Path, bundle: Path, ref: str) -> None:
    got = _asking(
        ref,
        lambda: _api().hf_hub_download(repo, name, revision=commit, local_dir=work / "download"),
    )
    shutil.move(got, bundle / name)


def _api() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _asking(ref: str, ask: Any) -> Any:
    """Run a request and turn each way it can fail into a message that says what to do."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.RevisionNotFoundError as error:
        raise BundleError(
            f"{ref}: the repository has no such revision; see its history."
        ) from error
    except errors.GatedRepoError as error:
        raise BundleError(
            f"{ref} is gated: accept its terms on the hub and log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BundleError(
            f"{ref}: there is no such repository, or it is private and you are not logged in."
        ) from error
    except errors.EntryNotFoundError as error:
        raise BundleError(f"{ref}: a file of the bundle is missing in the repository.") from error
    except Exception as error:  # httpx, OSError, ValueError, … by version of the client
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise BundleError(
            f"{ref} cannot be fetched: {reason}. Check the connection; a bundle copied here by "
            "other means works by its path."
        ) from error
