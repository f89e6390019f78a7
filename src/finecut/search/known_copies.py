"""Which videos searches answer one of: what `note_copies` found, a small file to look ids up in."""

from __future__ import annotations

import json
from pathlib import Path

from finecut.index.cache import FOLDER

FILE = "copies.json"
MAX_BYTES = 256 << 20


class KnownCopies:
    """The file of one index, read anew when it changes. Safe to use from many threads."""

    def __init__(self, index_dir: Path) -> None:
        self._path = index_dir / FOLDER / FILE
        self._read: tuple[tuple[int, int] | None, dict[str, str]] = (None, {})

    def groups(self) -> dict[str, str]:
        """For the id of each video with copies, the id its group goes by; {} without the file.

        A file that cannot be read is one of the cache's: without it every copy is answered.
        """
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._read[0] != stamp and status.st_size <= MAX_BYTES:
                plain = json.loads(self._path.read_bytes())
                self._read = (stamp, {str(one): str(group) for one, group in plain.items()})
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}
        return self._read[1]
