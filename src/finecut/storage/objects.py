"""Read and write whole objects, of a store or of this machine, with the same few functions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from uuid import uuid4

from finecut.errors import ObjectNotFound, StorageConflict, StorageError, UsageError
from finecut.storage.location import Location
from finecut.storage.stores import is_conflict, mapped, raise_mapped, store_of

LIST_PAGE = 1000  # objects per answer: S3 gives no more
DELETE_PAGE = 1000  # and takes no more at once


class Stat(NamedTuple):
    """What is known of an object without reading it."""

    size: int  # bytes
    mtime_ns: int  # Unix time, in nanoseconds; whole seconds from most stores
    etag: str  # changes whenever the content does


# -- reading ---------------------------------------------------------------------------------------


def read_bytes(place: Location) -> bytes:
    """All of an object.

    Raises:
        ObjectNotFound: there is none.
        StorageError: it cannot be read.
        MissingDependency: it is in an object store, and ``obstore`` is not installed.
    """
    return read_with_etag(place)[0]


def read_with_etag(place: Location) -> tuple[bytes, str]:
    """All of an object, and what `write_bytes` takes as ``if_match`` to replace just this.

    Raises:
        As `read_bytes`.
    """
    if place.is_local:
        try:
            with open(place.path, "rb") as file:
                return file.read(), _file_etag(os.fstat(file.fileno()))
        except OSError as error:
            _raise_local(error, place)
    store = store_of(place)
    import obstore

    try:
        answer = obstore.get(store, place.key)
        return bytes(answer.bytes()), answer.meta["e_tag"] or ""
    except Exception as error:
        raise_mapped(error, place)


def read_range(place: Location, start: int, end: int, *, if_match: str = "") -> bytes:
    """The bytes from ``start`` up to, and without, ``end``; fewer where the object ends before.

    Args:
        place: of the object.
        start: the first byte.
        end: the first byte left out.
        if_match: only of the content with this etag; "" for whatever is there. Objects only.

    Raises:
        As `read_bytes`.
        StorageConflict: the content is another one than ``if_match`` says.
        UsageError: ``start`` is below 0 or ``end`` before ``start``.
    """
    if not 0 <= start <= end:
        raise UsageError(f"A range must be 0 <= start <= end, got {start} to {end}.")
    if place.is_local:
        try:
            with open(place.path, "rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError as error:
            _raise_local(error, place)
    if start == end:
        return b""
    store = store_of(place)
    import obstore

    try:
        if not if_match:
            return bytes(obstore.get_range(store, place.key, start=start, end=end))
        answer = obstore.get(
            store, place.key, options={"range": (start, end), "if_match": if_match}
        )
        return bytes(answer.bytes())
    except Exception as error:
        raise_mapped(error, place)


def stat(place: Location) -> Stat:
    """Size, time of the last change and etag.

    Raises:
        As `read_bytes`.
    """
    if place.is_local:
        try:
            status = place.path.stat()
        except OSError as error:
            _raise_local(error, place)
        return Stat(status.st_size, status.st_mtime_ns, _file_etag(status))
    store = store_of(place)
    import obstore

    try:
        return _stat_of(obstore.head(store, place.key))
    except Exception as error:
        raise_mapped(error, place)


def exists(place: Location) -> bool:
    """Whether there is an object (locally: a file or folder) of this name.

    Raises:
        StorageError: the store does not say.
    """
    if place.is_local:
        return place.path.exists()
    try:
        stat(place)
    except ObjectNotFound:
        return False
    return True


def walk(place: Location) -> Iterator[tuple[Location, int, int]]:
    """Every object below a place: (its place, bytes, mtime_ns), sorted by name within a folder.

    Nothing where there is nothing: an object store knows no empty folders.

    Raises:
        StorageError: it cannot be listed, or (a store) the bucket is not there.
    """
    if place.is_local:
        for folder, folders, names in os.walk(place.path):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    status = path.stat()
                except OSError:
                    continue  # gone since it was listed, or a link that leads nowhere
                yield Location.parse(path), status.st_size, status.st_mtime_ns
        return
    store = store_of(place)
    import obstore

    try:
        for page in obstore.list(store, place.key or None, chunk_size=LIST_PAGE):
            for item in page:
                known = _stat_of(item)
                # Not by `/`: names that are listed are there, whatever they look like.
                found = Location(place.scheme, place.bucket, item["path"])
                yield found, known.size, known.mtime_ns
    except Exception as error:
        raise_mapped(error, place)


def children(place: Location) -> list[str]:
    """Names directly below a place, objects and folders, sorted.

    Raises:
        StorageError: it cannot be listed, or (a store) the bucket is not there.
    """
    if place.is_local:
        try:
            return sorted(os.listdir(place.path))
        except OSError as error:
            _raise_local(error, place)
    store = store_of(place)
    import obstore

    try:
        found = obstore.list_with_delimiter(store, place.key or None)
    except Exception as error:
        raise_mapped(error, place)
    paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
    return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})


def folder(place: Location) -> tuple[list[tuple[Location, int, int]], list[Location]]:
    """What lies directly in a folder of a store: objects as `walk` gives them, and folders.

    Raises:
        StorageError: it cannot be listed, or the bucket is not there.
    """
    store = store_of(place)
    import obstore

    try:
        found = obstore.list_with_delimiter(store, place.key or None)
    except Exception as error:
        raise_mapped(error, place)
    listed = []
    for item in found["objects"]:
        known = _stat_of(item)
        listed.append(
            (Location(place.scheme, place.bucket, item["path"]), known.size, known.mtime_ns)
        )
    folders = [path.rstrip("/") for path in found["common_prefixes"]]
    return listed, [Location(place.scheme, place.bucket, path) for path in folders]


# -- writing ---------------------------------------------------------------------------------------


def write_bytes(
    place: Location, data: bytes, *, if_absent: bool = False, if_match: str | None = None
) -> str:
    """Store an object as one step: a reader sees all of the old or all of the new.

    Args:
        place: where; a local file's folder must be there.
        data: the whole content.
        if_absent: only where nothing is yet.
        if_match: only in place of the content with this etag. (A local file is compared, then
            replaced: that is one step only among those that hold a lock of their own.)

    Returns: the etag of what is there now.
    Raises:
        StorageConflict: there is something, or something else, already.
        StorageError: it cannot be written.
        MissingDependency: it is in an object store, and ``obstore`` is not installed.
    """
    if place.is_local:
        try:
            return _write_file(place, data, if_absent, if_match)
        except OSError as error:
            _raise_local(error, place)
    store = store_of(place)
    import obstore

    mode: Any = "create" if if_absent else {"e_tag": if_match} if if_match else "overwrite"
    try:
        # In one request: only that can be conditional, and what is written here is small.
        answer = obstore.put(store, place.key, data, mode=mode, use_multipart=False)
        return answer["e_tag"] or ""
    except Exception as error:
        if if_match is not None and is_conflict(error):
            # A request whose answer was lost is sent again, and then meets its own work.
            found = _found(place)
            if found is not None and found[0] == data:
                return found[1]
        raise_mapped(error, place)


def _found(place: Location) -> tuple[bytes, str] | None:
    try:
        return read_with_etag(place)
    except StorageError:
        return None


def _write_file(place: Location, data: bytes, if_absent: bool, if_match: str | None) -> str:
    path = place.path
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            etag = _file_etag(os.fstat(file.fileno()))
        if if_match is not None and _file_etag_at(path) != if_match:
            raise StorageConflict(f"{place} was changed by somebody else meanwhile.")
        if if_absent:
            try:
                os.link(part, path)
            except FileExistsError as error:
                raise StorageConflict(f"{place} is there already.") from error
        else:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return etag


def delete(place: Location) -> None:
    """Remove an object; nothing happens where there is none.

    Raises:
        StorageError: it cannot be removed.
    """
    if place.is_local:
        try:
            place.path.unlink(missing_ok=True)
        except OSError as error:
            _raise_local(error, place)
        return
    _delete_all(place, [place.key])


def delete_tree(place: Location) -> None:
    """Remove everything below a place; nothing happens where there is nothing.

    Raises:
        StorageError: something cannot be removed.
    """
    if place.is_local:
        try:
            if place.path.exists():
                shutil.rmtree(place.path)
        except OSError as error:
            _raise_local(error, place)
        return
    page: list[str] = []
    for found, _, _ in list(walk(place)):
        page.append(found.key)
        if len(page) == DELETE_PAGE:
            _delete_all(place, page)
            page = []
    if page:
        _delete_all(place, page)


def _delete_all(place: Location, keys: Sequence[str]) -> None:
    store = store_of(place)
    import obstore

    try:
        obstore.delete(store, list(keys))
    except Exception as error:
        found = mapped(error, place)
        if not isinstance(found, ObjectNotFound):  # some stores mind, some do not
            raise found from None


def _stat_of(meta: Any) -> Stat:
    mtime_ns = round(meta["last_modified"].timestamp() * 1000) * 1_000_000
    return Stat(int(meta["size"]), mtime_ns, meta["e_tag"] or "")


def _file_etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _file_etag_at(path: Path) -> str | None:
    try:
        return _file_etag(path.stat())
    except FileNotFoundError:
        return None


def _raise_local(error: OSError, place: Location) -> NoReturn:
    if isinstance(error, StorageError):
        raise error
    if isinstance(error, FileNotFoundError):
        raise ObjectNotFound(f"There is no {place}.") from error
    raise StorageError(
        f"{place} cannot be read or written: {error.strerror or error}. Check the permissions and "
        "the space."
    ) from error
