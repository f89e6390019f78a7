"""Which videos searches answer one of: what `note_copies` found, a small file to look ids up in."""

from __future__ import annotations

import json

from finecut.index.place import CACHE
from finecut.storage.location import Location
from finecut.storage.small_file import SmallFile

FILE = "copies.json"
MAX_BYTES = 256 << 20


def place_of(directory: Location) -> Location:
    """Where the file of an index lies: with the index, since other machines search it too."""
    return directory / CACHE / FILE


class KnownCopies:
    """The file of one index, read anew when it changes. Safe to use from many threads."""

    def __init__(self, directory: Location) -> None:
        self._file = SmallFile[dict[str, str]](place_of(directory), _parse, {})

    def groups(self) -> dict[str, str]:
        """For the id of each video with copies, the id its group goes by; {} without the file.

        A file that cannot be read is one of the cache's: without it every copy is answered.
        """
        try:
            return self._file.value()
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}


def _parse(content: bytes) -> dict[str, str]:
    if len(content) > MAX_BYTES:
        return {}
    return {str(one): str(group) for one, group in json.loads(content).items()}
