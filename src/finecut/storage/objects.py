"""Read and write whole objects, of a store or of this machine, with the same few functions.

Object stores are reached through ``obstore``, the Rust library that Lance uses too, so that the
same environment variables serve both (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on). No message
made here holds a secret: of what a server answers only its code and its sentence are told.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from uuid import uuid4

from finecut.errors import (
    MissingDependency,
    ObjectNotFound,
    StorageConflict,
    StorageDenied,
    StorageError,
    UsageError,
)
from finecut.storage.location import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MOST_RETRIES = 5  # of a request, when the server fails or the line drops
RETRY_S = 60.0  # then it is given up
REQUEST_S = 60.0  # one request, its body included
CONNECT_S = 5.0
LIST_PAGE = 1000  # objects per answer: S3 gives no more
DELETE_PAGE = 1000  # and takes no more at once
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_")
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|KEY|PASSWORD|SAS|CREDENTIAL|ENDPOINT_URL")
_SECRET_MARKS = re.compile(
    r"(?i)\b(x-amz-[\w-]+|[\w-]*signature[\w-]*|[\w-]*credential[\w-]*|sig|awsaccesskeyid|"
    r"authorization|[\w-]*token)(=|:\s?|>)[^\s&<>\"',;]+"
)
_SHORTEST_SECRET = 6  # characters; shorter values would blot out common words
_LONGEST_MESSAGE = 300  # characters of what a server says


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
    store = _store(place)
    import obstore

    try:
        answer = obstore.get(store, place.key)
        return bytes(answer.bytes()), answer.meta["e_tag"] or ""
    except Exception as error:
        _raise(error, place)


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
    store = _store(place)
    import obstore

    try:
        if not if_match:
            return bytes(obstore.get_range(store, place.key, start=start, end=end))
        answer = obstore.get(
            store, place.key, options={"range": (start, end), "if_match": if_match}
        )
        return bytes(answer.bytes())
    except Exception as error:
        _raise(error, place)


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
    store = _store(place)
    import obstore

    try:
        return _stat_of(obstore.head(store, place.key))
    except Exception as error:
        _raise(error, place)


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
    store = _store(place)
    import obstore

    try:
        for page in obstore.list(store, place.key or None, chunk_size=LIST_PAGE):
            for item in page:
                known = _stat_of(item)
                # Not by `/`: names that are listed are there, whatever they look like.
                found = Location(place.scheme, place.bucket, item["path"])
                yield found, known.size, known.mtime_ns
    except Exception as error:
        _raise(error, place)


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
    store = _store(place)
    import obstore

    try:
        found = obstore.list_with_delimiter(store, place.key or None)
    except Exception as error:
        _raise(error, place)
    paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
    return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})


def folder(place: Location) -> tuple[list[tuple[Location, int, int]], list[Location]]:
    """What lies directly in a folder of a store: objects as `walk` gives them, and folders.

    Raises:
        StorageError: it cannot be listed, or the bucket is not there.
    """
    store = _store(place)
    import obstore

    try:
        found = obstore.list_with_delimiter(store, place.key or None)
    except Exception as error:
        _raise(error, place)
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
    store = _store(place)
    import obstore

    mode: Any = "create" if if_absent else {"e_tag": if_match} if if_match else "overwrite"
    try:
        # In one request: only that can be conditional, and what is written here is small.
        answer = obstore.put(store, place.key, data, mode=mode, use_multipart=False)
        return answer["e_tag"] or ""
    except Exception as error:
        if if_match is not None and _is_conflict(error):
            # A request whose answer was lost is sent again, and then meets its own work.
            found = _found(place)
            if found is not None and found[0] == data:
                return found[1]
        _raise(error, place)


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
    store = _store(place)
    import obstore

    try:
        obstore.delete(store, list(keys))
    except Exception as error:
        mapped = _mapped(error, place)
        if not isinstance(mapped, ObjectNotFound):  # some stores mind, some do not
            raise mapped from None


# -- the stores ------------------------------------------------------------------------------------


def lance_options() -> dict[str, str]:
    """The ``storage_options`` of Lance for a dataset in an object store.

    Credentials and the address of the store are not among them: Lance reads the environment itself,
    and what is handed to it may be kept in messages.
    """
    return {
        "connect_timeout": f"{CONNECT_S:g}s",
        "timeout": f"{REQUEST_S:g}s",
        "client_max_retries": str(MOST_RETRIES),
        "client_retry_timeout": f"{RETRY_S:g}",
    }


def _store(place: Location) -> ObjectStore:
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)
    }
    return _made_store(place.scheme, place.bucket, tuple(sorted(environment.items())), os.getpid())


@lru_cache(maxsize=16)
def _made_store(
    scheme: str, bucket: str, environment: tuple[tuple[str, str], ...], process: int
) -> ObjectStore:
    """The store of one bucket; another one when the environment changes, or after a fork."""
    from datetime import timedelta

    try:
        from obstore.store import from_url
    except ImportError as error:
        raise MissingDependency(
            f"{scheme}:// places need a package that is not installed: pip install 'finecut[cloud]'"
        ) from error
    # Options of the client that are given here hide those of the environment.
    plain = {name: value.lower() in ("true", "1", "yes", "on", "y") for name, value in environment}
    try:
        return from_url(
            f"{scheme}://{bucket}",
            client_options={
                "allow_http": any(plain.get(f"{name}ALLOW_HTTP") for name in _ENVIRONMENT),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "timeout": timedelta(seconds=REQUEST_S),
            },
            retry_config={
                "max_retries": MOST_RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_S),
            },
        )
    except Exception as error:
        _raise(error, Location(scheme, bucket, ""))


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


# -- errors ----------------------------------------------------------------------------------------


def scrub(text: str) -> str:
    """A text without the secrets of the environment and without what looks like a signature.

    >>> scrub("GET /a?X-Amz-Signature=0f3e&n=1 said no")
    'GET /a?X-Amz-Signature=***&n=1 said no'
    """
    for name, value in os.environ.items():
        secret = name.startswith(_ENVIRONMENT) and _SECRET_NAMES.search(name)
        if secret and not name.endswith("ENDPOINT_URL") and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _SECRET_MARKS.sub(r"\1\2***", text)


def plain_reason(text: str) -> str:
    """What an error of a store says, as one short line without secrets: the server's own code and
    sentence where it answered in XML."""
    code, sentence = re.search(r"<Code>([^<]+)", text), re.search(r"<Message>([^<]+)", text)
    if code or sentence:
        told = ": ".join(found[1] for found in (code, sentence) if found)
    else:
        told = text.partition("\n\nDebug source:")[0].replace("\n", " ")
    return scrub(told)[:_LONGEST_MESSAGE]


def _is_conflict(error: Exception) -> bool:
    return type(error).__name__ in ("AlreadyExistsError", "PreconditionError")


def _raise_local(error: OSError, place: Location) -> NoReturn:
    if isinstance(error, StorageError):
        raise error
    if isinstance(error, FileNotFoundError):
        raise ObjectNotFound(f"There is no {place}.") from error
    raise StorageError(
        f"{place} cannot be read or written: {error.strerror or error}. Check the permissions and "
        "the space."
    ) from error


def _raise(error: Exception, place: Location) -> NoReturn:
    """The error of obstore as one of ours; never chained, since its own text may hold secrets."""
    raise _mapped(error, place) from None


def _mapped(error: Exception, place: Location) -> Exception:
    text, kind = str(error), type(error).__name__
    if isinstance(error, StorageError | UsageError | MissingDependency):
        return error
    if "NoSuchBucket" in text or (kind == "GenericError" and "bucket does not exist" in text):
        return StorageError(
            f"There is no bucket {place.scheme}://{place.bucket}. Make it first, or check the name "
            "and AWS_REGION or AWS_ENDPOINT_URL."
        )
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"There is no {place}.")
    if _is_conflict(error):
        return StorageConflict(f"{place} was made or changed by somebody else meanwhile.")
    told = plain_reason(text)
    if kind == "InvalidPathError":
        return StorageError(
            f"{place} holds an object whose name cannot be asked for ({told}). Rename it, or name "
            "the folders beside it."
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or re.search(
        r"\b40[13]\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken", text
    ):
        return StorageDenied(
            f"{place} may not be accessed ({told}). Check the credentials in the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN …) and the rights they "
            "have."
        )
    if "169.254.169.254" in text or "credential" in text.lower():
        return StorageDenied(
            f"No credentials were found for {place}. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or those of your store), or AWS_SKIP_SIGNATURE=true for a "
            "public bucket."
        )
    return StorageError(
        f"{place} cannot be reached ({told}). Check the network, and AWS_ENDPOINT_URL where the "
        "store is not Amazon's (AWS_ALLOW_HTTP=true for http://)."
    )
