"""Where bundles live, and which bundle a name, path or hub address means."""

from __future__ import annotations

import os
import re
from pathlib import Path

from finecut.errors import BundleError

STARTER = "starter"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HUB = re.compile(r"hf:(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w./-]{1,128}))?")


def bundles_dir() -> Path:
    """The folder of installed bundles: $FINECUT_BUNDLES, else the user's data folder."""
    told = os.environ.get("FINECUT_BUNDLES")
    if told:
        return Path(told).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("finecut", appauthor=False)) / "bundles"


def starter_dir() -> Path:
    """The bundle that ships inside the package."""
    return Path(__file__).parent / "starter"


def parse_hub(ref: str) -> tuple[str, str | None]:
    """("org/repo", revision or None) of a hub address.

    Raises:
        BundleError: not of the form hf:org/repo or hf:org/repo@revision.

    >>> parse_hub("hf:org/repo@v1")
    ('org/repo', 'v1')
    """
    match = _HUB.fullmatch(ref)
    if match is None or ".." in ref:
        raise BundleError(
            f"{ref!r} is no hub address; expected hf:org/repo or hf:org/repo@revision."
        )
    return match["repo"], match["revision"]


def hub_dir(repo: str) -> Path:
    """Where ``pull`` installs the bundle of a hub repository."""
    return bundles_dir() / ("hf--" + repo.replace("/", "--"))


def installed() -> dict[str, Path]:
    """Every bundle that can be loaded by name: the starter and those in `bundles_dir`."""
    found = {}
    if (starter_dir() / "manifest.json").is_file():
        found[STARTER] = starter_dir()
    folder = bundles_dir()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (path / "manifest.json").is_file() or path.suffix == ".zip":
                found.setdefault(path.stem if path.suffix == ".zip" else path.name, path)
    return found


def find_bundle(ref: str | Path) -> Path:
    """The directory or zip that ``ref`` means: an installed name, a path, or a pulled hub address.

    Raises:
        BundleError: nothing there; the message lists the installed names or the pull command.
    """
    if isinstance(ref, str) and ref.startswith("hf:"):
        repo, revision = parse_hub(ref)
        path = hub_dir(repo)
        if not (path / "manifest.json").is_file():
            raise BundleError(f"{ref} is not installed; get it with: finecut bundle pull {ref}")
        _check_revision(path, ref, revision)
        return path
    if isinstance(ref, str) and _NAME.fullmatch(ref):
        named = installed()
        if ref in named:
            return named[ref]
    path = Path(ref).expanduser()
    if path.exists():
        return path
    if isinstance(ref, str) and _NAME.fullmatch(ref):
        raise BundleError(
            f"No bundle is called {ref!r} and no such path exists. "
            f"Installed: {', '.join(installed()) or 'none'}."
        )
    raise BundleError(
        f"There is no bundle at {path}: expected a directory with manifest.json, or a zip of one."
    )


def lasting_ref(ref: str | Path, place: Path) -> str:
    """What finds the bundle at ``place`` from any working directory: its name or whole path."""
    if isinstance(ref, str) and (ref.startswith("hf:") or installed().get(ref) == place):
        return ref
    return str(place.resolve())


def _check_revision(path: Path, ref: str, revision: str | None) -> None:
    if revision is None:
        return
    from finecut.bundle.hub import pulled_record

    record = pulled_record(path)
    if revision not in (record.revision, record.commit):
        raise BundleError(
            f"{ref} is not installed: revision {record.revision} ({record.commit[:12]}) is; "
            f"get the other one with: finecut bundle pull {ref}"
        )
