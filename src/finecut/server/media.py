"""A video of the index, sent whole or in part (HTTP Range, RFC 9110 section 14).

One in a bucket is passed on, range by range: callers never learn where it lies or how it is read.

Which file is sent is decided by the index, never by the request: the request names a video by its
content id. At open time the file must still have that content, so that a path that has been
swapped for another file since it was indexed gives nothing away.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from anyio import to_thread
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from finecut.errors import NotFound, StorageError, VideoError
from finecut.server.problems import Refused
from finecut.storage.location import is_url
from finecut.storage.media import MediaFile, open_media

log = logging.getLogger("finecut.server")

CHUNK_BYTES = 256 * 1024
_REMEMBERED_FILES = 4096

# By container first: a suffix can be anything. Browsers sniff the rest.
_TYPES_BY_SUFFIX = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".ogv": "video/ogg",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".3gp": "video/3gpp",
    ".gif": "image/gif",
}


def content_type(path: str | os.PathLike[str]) -> str:
    """The media type of a video file, by its suffix.

    >>> content_type("a/B.MP4"), content_type("notes.html")
    ('video/mp4', 'application/octet-stream')
    """
    return _TYPES_BY_SUFFIX.get(Path(path).suffix.lower(), "application/octet-stream")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range ``[start, stop)`` of bytes that a ``Range`` header asks for.

    None means the whole file: no header, another unit, several ranges or bad syntax, all of which
    a server may answer with 200.

    Raises:
        Refused: 416, the range starts beyond the end.

    >>> parse_range("bytes=0-3", 10), parse_range("bytes=-3", 10), parse_range("bytes=8-", 10)
    ((0, 4), (7, 10), (8, 10))
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*([0-9]{0,19})-([0-9]{0,19})\s*", header or "", re.I)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, stop = max(size - int(last), 0), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None  # not a range at all: RFC 9110 14.1.1
        satisfiable = start < size
    if not satisfiable:
        raise Refused(
            416,
            "range-not-satisfiable",
            f"The range {header!r} lies outside the file, which has {size} bytes.",
            {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
        )
    return start, stop


Stamp = tuple[int | str, ...]
File = BinaryIO | MediaFile


class FileChecker:
    """Opens files of the index, and only while they still hold what was indexed."""

    def __init__(self) -> None:
        self._known: OrderedDict[Stamp, str] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, video_id: str, paths: Iterable[str]) -> tuple[File, str]:
        """The video open for reading, and the path it was found under: files here before objects.

        Raises:
            NotFound: no path holds the video now.
            StorageError: a bucket does not answer.
        """
        tried = sorted(paths, key=is_url)
        trouble: VideoError | None = None
        for path in tried:
            open_one = self._open_media if is_url(path) else self._open_file
            try:
                file = open_one(video_id, path)
            except VideoError as error:
                trouble = error
                continue
            if file is not None:
                return file, path
        if trouble is not None:
            raise StorageError(str(trouble)) from trouble
        raise NotFound(
            f"The video {video_id} is in the index, but none of its files is there as it was "
            f"indexed: {', '.join(tried) or 'none listed'}. Bring it back, or run `finecut index` "
            "again on its folder."
        )

    def _open_file(self, video_id: str, path: str) -> BinaryIO | None:
        try:
            # O_NONBLOCK: a FIFO in a video's place must not hang the server.
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or self._content(fd, path) != video_id:
                raise OSError("another file than was indexed")
            return os.fdopen(fd, "rb")
        except OSError:
            os.close(fd)
            return None

    def _open_media(self, video_id: str, url: str) -> MediaFile | None:
        try:
            media = open_media(url)
        except VideoError as error:
            if error.reason == "missing":
                return None
            raise
        try:
            if self._content_of_media(media) == video_id:
                return media
        except VideoError as error:
            if error.reason not in ("missing", "changed"):
                raise
        media.close()
        return None

    def _content_of_media(self, media: MediaFile) -> str:
        from finecut.index.content import id_of_media

        # What was opened is read by its etag, so it cannot be swapped.
        key: Stamp = (media.name, media.known.etag, media.size, media.known.mtime_ns)
        found = self._remembered(key)
        if found is None:
            found = id_of_media(media)
            self._remember(key, found)
        return found

    def _content(self, fd: int, path: str) -> str:
        """The content id of an open file, remembered while nothing touches the file."""
        from finecut.index.content import content_id

        key = _stamp(os.fstat(fd))
        found = self._remembered(key)
        if found is None:
            found = content_id(Path(path))
            if _stamp(os.stat(path)) != key:
                raise OSError("the file was swapped while it was read")
            self._remember(key, found)
        return found

    def _remembered(self, key: Stamp) -> str | None:
        with self._lock:
            return self._known.get(key)

    def _remember(self, key: Stamp, video_id: str) -> None:
        with self._lock:
            self._known[key] = video_id
            while len(self._known) > _REMEMBERED_FILES:
                self._known.popitem(last=False)


def _stamp(status: os.stat_result) -> Stamp:
    # The change time cannot be set back, unlike the time of the last write.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class _FileResponse(StreamingResponse):
    """A stream that closes its file however it ends."""

    file: File

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


async def _chunks(file: File, start: int, stop: int) -> AsyncIterator[bytes]:
    await to_thread.run_sync(file.seek, start)
    left = stop - start
    while left > 0:
        try:
            chunk = await to_thread.run_sync(file.read, min(CHUNK_BYTES, left))
        except VideoError as error:
            log.warning("sending stopped: %s", error)
            return
        if not chunk:
            return  # the file shrank; the length was promised, so the connection breaks off
        left -= len(chunk)
        yield chunk


def is_unchanged(
    etag: str, modified_s: float, none_match: str | None, modified_since: str | None
) -> bool:
    """Whether a conditional GET is answered with 304.

    >>> is_unchanged('"a"', 0, '"b", W/"a"', None)
    True
    """
    if none_match is not None:
        tags = [tag.strip().removeprefix("W/") for tag in none_match.split(",")]
        return "*" in tags or etag in tags
    return modified_since is not None and _not_newer(modified_s, modified_since)


def _not_newer(modified_s: float, date: str) -> bool:
    try:
        return int(modified_s) <= parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return False


def range_still_meant(etag: str, modified_s: float, if_range: str | None) -> bool:
    """Whether ``If-Range`` lets the range stand (else the whole file is sent)."""
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == etag  # strong comparison: a weak tag never matches
    try:
        return int(modified_s) == int(parsedate_to_datetime(if_range).timestamp())
    except (TypeError, ValueError):
        return False


def attachment(name: str) -> str:
    """A ``Content-Disposition`` that saves under a name of any script (RFC 6266).

    >>> attachment("größe.mp4")
    'attachment; filename="gr__e.mp4"; filename*=UTF-8\\'\\'gr%C3%B6%C3%9Fe.mp4'
    """
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_response(
    file: File,
    *,
    method: str,
    headers: dict[str, str],
    media_type: str,
    etag: str,
    download_as: str | None = None,
) -> Response:
    """An open file as an answer to GET or HEAD, with ranges and conditions.

    Args:
        file: open for reading, here or in a bucket; closed when the answer ends.
        method: GET or HEAD.
        headers: the request's, by lower-case name.
        media_type: of the file.
        etag: strong, with its quotes.
        download_as: a file name makes browsers save it rather than show it.
    """
    size, modified_s = _size_and_time(file)
    out = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": formatdate(modified_s, usegmt=True),
        "Cache-Control": "private, no-cache",  # keep it, but ask each time whether we may still
    }
    if download_as is not None:
        out["Content-Disposition"] = attachment(download_as)
    if is_unchanged(
        etag, modified_s, headers.get("if-none-match"), headers.get("if-modified-since")
    ):
        file.close()
        return Response(status_code=304, headers=out)
    asked = headers.get("range") if method == "GET" else None
    if asked and not range_still_meant(etag, modified_s, headers.get("if-range")):
        asked = None
    try:
        part = parse_range(asked, size)
    except Refused:
        file.close()
        raise
    start, stop = part or (0, size)
    out["Content-Length"] = str(stop - start)
    if part is not None:
        out["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    code = 206 if part is not None else 200
    if method == "HEAD":
        file.close()
        return Response(status_code=200, headers=out, media_type=media_type)
    response = _FileResponse(_chunks(file, start, stop), code, out, media_type)
    response.file = file
    return response


def _size_and_time(file: File) -> tuple[int, float]:
    """Bytes of a file, and when it was last written, in Unix seconds."""
    if isinstance(file, MediaFile):
        return file.size, file.known.mtime_ns / 1e9
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime
