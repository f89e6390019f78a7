"""Which video a file is: a name made of its content, so that moving or renaming costs nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from finecut.storage.location import is_url
from finecut.storage.media import MediaFile, open_media

WHOLE_BYTES = 1 << 20  # files up to this size are read whole
BLOCK_BYTES = 1 << 16
BLOCKS = 16  # spread evenly over larger files, the first and the last byte among them


def content_id(path: str | Path) -> str:
    """32 hex digits: BLAKE2b over the size and the content of a file.

    Up to 1 MiB all of it counts; of larger files 16 blocks of 64 KiB, spread evenly from the first
    byte to the last. An edit that keeps the size and misses every block is not seen; encoders never
    make such edits, since one changed frame moves the rest.

    Args:
        path: of a file, or the URL of an object: the same content has the same id in both.

    Raises:
        OSError: the file cannot be read.
        VideoError: the object cannot be read.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_bytes(b"same"), (folder / "b").write_bytes(b"same")
    >>> content_id(folder / "a") == content_id(folder / "b"), len(content_id(folder / "a"))
    (True, 32)
    """
    if is_url(path):
        with open_media(str(path)) as media:
            return id_of_media(media)
    digest = hashlib.blake2b(digest_size=16, person=b"finecut-video")
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        if size <= WHOLE_BYTES:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        else:
            for start in _starts(size):
                file.seek(start)
                digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


def id_of_media(media: MediaFile) -> str:
    """The content id of an object that is open; of a large one 1 MiB is fetched.

    Raises:
        VideoError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"finecut-video")
    digest.update(media.size.to_bytes(8, "little"))
    if media.size <= WHOLE_BYTES:
        spans = [(0, media.size)]
    else:
        spans = [(start, start + BLOCK_BYTES) for start in _starts(media.size)]
    for data in media.spans(spans):
        digest.update(data)
    return digest.hexdigest()


def _starts(size: int) -> list[int]:
    """Where the blocks of a large file begin."""
    return [(size - BLOCK_BYTES) * number // (BLOCKS - 1) for number in range(BLOCKS)]


def path_id(path: str) -> str:
    """32 hex digits that stand for a file whose content cannot be read: made of its path."""
    name = os.fsencode(path)
    return hashlib.blake2b(name, digest_size=16, person=b"finecut-path").hexdigest()
