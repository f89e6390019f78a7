"""The two small files that make a folder an index: ``index.json`` and ``head.json``.

``index.json`` is written once and says what the index is. ``head.json`` is replaced at the end of
every commit and names the versions of the tables that belong together: it is the commit
point that readers follow, and it can be read without loading Lance.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from finecut.errors import (
    IndexCorrupt,
    IndexMismatch,
    IndexNotFound,
    ObjectNotFound,
    StorageError,
)
from finecut.storage.location import Location
from finecut.storage.objects import read_with_etag, write_bytes

if TYPE_CHECKING:
    from finecut.bundle.manifest import Manifest

SCHEMA_VERSION = 1
META_FILE = "index.json"
HEAD_FILE = "head.json"
Levels = Literal["video", "frame", "patch"]
MOST_KEPT = 255  # which token a patch went into is a byte
# Where the loss ends on real and made-up clips: see docs/decisions.md and docs/index-format.md.
PATCHES_KEPT = 16


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """What an index is made of; fixed when it is created."""

    schema_version: int
    uuid: str  # tells this index from another one made later in the same place
    created_at: float
    bundle_name: str
    bundle_ref: str  # what `Bundle.load` finds the bundle by
    fingerprint: str
    levels: Levels
    recall_dim: int
    embed_dim: int
    patch_rows: int  # 0 where no patches are stored
    patch_columns: int
    frame_values: bool
    frames_per_second: float
    max_frames: int
    # Tokens that a frame's patches are merged into; 0 for one each, as in an index made before
    # they were merged.
    patches_kept: int = 0

    @property
    def n_patches(self) -> int:
        """Places of a frame that a re-ranker and a heat map know."""
        return self.patch_rows * self.patch_columns

    @property
    def n_patch_tokens(self) -> int:
        """Tokens stored of them."""
        return self.patches_kept or self.n_patches

    @classmethod
    def of_bundle(
        cls,
        manifest: Manifest,
        ref: str,
        levels: Levels,
        now: float,
        patches_kept: int = PATCHES_KEPT,
    ) -> IndexMeta:
        """The meta of a new index for this bundle; levels the bundle lacks are left out."""
        video = manifest.video
        patches = levels == "patch" and video.n_patches > 0
        merged = patches and patches_kept < video.n_patches
        return cls(
            schema_version=SCHEMA_VERSION,
            uuid=uuid.uuid4().hex,
            created_at=now,
            bundle_name=manifest.name,
            bundle_ref=str(ref),
            fingerprint=manifest.fingerprint,
            levels="patch" if patches else "video" if levels == "video" else "frame",
            recall_dim=video.recall_dim,
            embed_dim=video.embed_dim,
            patch_rows=video.patch_rows if patches else 0,
            patch_columns=video.patch_columns if patches else 0,
            frame_values=video.frame_values and levels != "video",
            frames_per_second=manifest.sampling.frames_per_second,
            max_frames=manifest.sampling.max_frames,
            patches_kept=patches_kept if merged else 0,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The commit readers see: table versions that belong together."""

    number: int  # rises by one with every commit
    videos: int  # Lance versions
    clips: int
    tokens: int
    next_clip_id: int  # clip ids are never used twice
    build: int  # number of the last run
    n_videos: int
    n_clips: int
    n_frames: int
    video_s: float  # seconds of indexed video
    texts: int = 0  # Lance version; 0 in an index made before there were texts
    text_channels: str = "said,told,named"  # channels that are read, with commas between
    speech_model: str = ""  # folder of the model speech is transcribed with; "" for none
    at: float = 0.0  # Unix seconds of this commit; 0.0 where an older finecut made it
    keep_s: float = 3600.0  # how long a state that was replaced can be gone back to
    restored: bool = False  # the tables' newest versions are still to be made those named here

    def version(self, meta: IndexMeta) -> str:
        """Text that changes whenever the content of the index does."""
        return f"{meta.uuid[:12]}-{self.number}"


_LIMITS = {"recall_dim": 65536, "embed_dim": 65536, "patch_rows": 64, "patch_columns": 64}
_LIMITS |= {"patches_kept": MOST_KEPT}


def _read(place: Location) -> tuple[dict[str, Any], str]:
    """The object in a JSON file, and the etag of the file.

    Raises:
        ObjectNotFound: there is no file.
        IndexCorrupt: it cannot be read.
        StorageError: its object store cannot be reached.
    """
    try:
        content, etag = read_with_etag(place)
        plain = json.loads(content)
    except ObjectNotFound:
        raise
    except StorageError as error:
        if not place.is_local:
            raise  # the network, or a right that is missing: nothing is wrong with the index
        raise IndexCorrupt(str(error)) from error
    except ValueError as error:
        raise IndexCorrupt(
            f"{place} is damaged ({error}). Delete the folder {place.parent} and index again."
        ) from error
    if not isinstance(plain, dict):
        raise IndexCorrupt(f"{place} must hold a JSON object, got {type(plain).__name__}.")
    return plain, etag


def _typed(cls: Any, plain: dict[str, Any], path: Location) -> Any:
    """Check every field's presence, type and range; unknown keys are left out."""
    values = {}
    for field in fields(cls):
        if field.name not in plain and field.default is not MISSING:
            continue
        value = plain.get(field.name)
        kind = str(field.type)
        if kind == "int":
            good = type(value) is int and 0 <= value <= _LIMITS.get(field.name, 1 << 62)
        elif kind == "float":
            good = type(value) in (int, float)
        elif kind == "bool":
            good = type(value) is bool
        elif kind == "Levels":
            good = value in get_args(Levels)
        else:
            good = type(value) is str and len(value) < 4096
        if not good:
            raise IndexCorrupt(
                f"{path}: `{field.name}` must be of type {kind}, got {value!r:.60}. "
                f"Delete the folder {path.parent} and index again."
            )
        values[field.name] = value
    return cls(**values)


def read_meta(directory: Location | str | Path) -> IndexMeta:
    """What the index in ``directory`` is.

    Raises:
        IndexNotFound: there is none.
        IndexMismatch: another finecut made it, with a schema this one does not know.
        IndexCorrupt: ``index.json`` is damaged.
        StorageError: its object store cannot be reached.
    """
    directory = Location.parse(directory)
    path = directory / META_FILE
    try:
        plain, _ = _read(path)
    except ObjectNotFound as error:
        raise IndexNotFound(
            f"There is no index at {directory}. Make one with: finecut index FOLDER "
            f"--index {directory}"
        ) from error
    schema = plain.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise IndexMismatch(
            f"The index at {directory} has schema version {schema!r:.20}; this finecut reads "
            f"{SCHEMA_VERSION}. Use the finecut that made it, or build a new one: "
            f"finecut index FOLDER --index NEW_PLACE"
        )
    return _typed(IndexMeta, plain, path)


def read_head(directory: Location | str | Path) -> Head:
    """The last commit of the index in ``directory``.

    Raises:
        IndexCorrupt: ``head.json`` is missing or damaged.
        StorageError: its object store cannot be reached.
    """
    return read_head_file(Location.parse(directory) / HEAD_FILE)


def read_head_file(path: Location) -> Head:
    """A head, of the last commit or of one that is kept (``index/history.py``).

    Raises:
        IndexCorrupt: the file is missing or damaged.
        StorageError: its object store cannot be reached.
    """
    return read_head_with_etag(path)[0]


def read_head_with_etag(path: Location) -> tuple[Head, str]:
    """A head, and what `write_json` takes to replace this very one.

    Raises:
        As `read_head_file`.
    """
    try:
        plain, etag = _read(path)
    except ObjectNotFound as error:
        raise IndexCorrupt(
            f"{path} is missing. Delete the folder {path.parent} and index again."
        ) from error
    return _typed(Head, plain, path), etag


def write_json(path: Location | Path, value: Any, *, if_match: str | None = None) -> str:
    """Replace ``path`` as one step that survives a crash: all of the old or all of the new.

    Args:
        path: of the file.
        value: a dict, or a dataclass.
        if_match: only in place of the content with this etag, in an object store.

    Returns: the etag of the file now.
    Raises:
        StorageError: it cannot be written (StorageConflict: there is something else by now).
    """
    place = Location.parse(path)
    plain = value if isinstance(value, dict) else asdict(value)
    content = json.dumps(plain, indent=1).encode()
    return write_bytes(place, content, if_match=None if place.is_local else if_match)
