"""Read the files of a bundle from a directory or a zip, trusting neither.

Only plain names listed in the manifest are ever opened, so nothing is extracted and no path can
climb out. Each file's size and SHA-256 are checked against the manifest on every read: the bytes
that were checked are the bytes that are used.
"""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

from finecut.bundle.fingerprint import sha256
from finecut.bundle.manifest import FileEntry, Manifest
from finecut.bundle.schema import MAX_MANIFEST_BYTES, parse_manifest
from finecut.errors import BundleError

MANIFEST = "manifest.json"
MAX_FILE_BYTES = 2 << 30  # an ONNX file cannot be larger
MAX_TOTAL_BYTES = 8 << 30
_MAX_RATIO = 200  # weights hardly compress; a zip bomb does nothing else
_RATIO_FREE_BYTES = 4 << 20


class BundleFiles:
    """The files of one bundle; ``manifest`` is read and checked at once, the rest on demand."""

    def __init__(self, place: str | Path) -> None:
        self.place = Path(place)
        self._is_zip = False
        self._prefix = ""
        if self.place.is_dir():
            data = self._read_plain(MANIFEST, MAX_MANIFEST_BYTES + 1)
        elif self.place.is_file():
            self._is_zip = True
            self._prefix = self._find_prefix()
            data = self._read_zipped(MANIFEST, MAX_MANIFEST_BYTES + 1)
        else:
            raise BundleError(
                f"There is no bundle at {self.place}: expected a directory with {MANIFEST}, "
                "or a zip of one."
            )
        self.manifest: Manifest = parse_manifest(data, str(self.place))
        self.entries = {entry.path: entry for entry in self.manifest.files}
        self._check_sizes()

    def read(self, name: str, most_bytes: int = MAX_FILE_BYTES) -> bytes:
        """The bytes of a listed file, after its size and SHA-256 were found right.

        Raises:
            BundleError: not listed, missing, too large, a link out of the bundle, or changed.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise BundleError(f"{self.place}: {name!r} is not listed in the manifest.")
        if entry.size_bytes > most_bytes:
            raise BundleError(
                f"{self.place}: {name} has {entry.size_bytes} bytes, expected at most {most_bytes}."
            )
        data = (self._read_zipped if self._is_zip else self._read_plain)(name, entry.size_bytes + 1)
        self._check(entry, data)
        return data

    def extra(self) -> list[str]:
        """Names present but not listed in the manifest (never opened, only told)."""
        if self._is_zip:
            with self._open_zip() as archive:
                names = {info.filename.removeprefix(self._prefix) for info in archive.infolist()}
        else:
            names = {path.name for path in self.place.iterdir()}
        return sorted(names - set(self.entries) - {MANIFEST, ""})

    def _check_sizes(self) -> None:
        total = sum(entry.size_bytes for entry in self.manifest.files)
        largest = max(self.manifest.files, key=lambda entry: entry.size_bytes)
        if largest.size_bytes > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
            raise BundleError(
                f"{self.place}: the bundle is too large: {largest.path} has {largest.size_bytes} "
                f"bytes (at most {MAX_FILE_BYTES}), all files {total} (at most {MAX_TOTAL_BYTES})."
            )

    def _check(self, entry: FileEntry, data: bytes) -> None:
        size = f"{len(data)} bytes" if len(data) <= entry.size_bytes else "more"
        if len(data) != entry.size_bytes:
            raise BundleError(
                f"{self.place}: {entry.path} has {size}, the manifest says {entry.size_bytes}; "
                "the bundle is damaged or was changed: get it again."
            )
        got = sha256(data)
        if got != entry.sha256:
            raise BundleError(
                f"{self.place}: {entry.path} has the SHA-256 {got[:16]}…, the manifest says "
                f"{entry.sha256[:16]}…; the bundle is damaged or was changed: get it again."
            )

    def _read_plain(self, name: str, limit: int) -> bytes:
        path = self.place / name
        try:
            if not path.resolve(strict=True).is_relative_to(self.place.resolve()):
                raise BundleError(
                    f"{self.place}: {name} is a link out of the bundle; put the file itself there."
                )
            # Not blocking, so that a pipe in place of a file cannot hang the open.
            fd = os.open(
                path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise BundleError(f"{self.place}: {name} is not a regular file.")
                return file.read(limit)
        except OSError as error:
            raise BundleError(
                f"{self.place}: {name} cannot be read ({error.strerror or error}); a bundle is a "
                f"directory with {MANIFEST} and the files it lists."
            ) from error

    def _open_zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise BundleError(
                f"{self.place} is neither a bundle directory nor a readable zip ({error})."
            ) from error

    def _find_prefix(self) -> str:
        """'' where the manifest lies at the top of the zip, 'folder/' where all is in a folder."""
        with self._open_zip() as archive:
            names = [info.filename for info in archive.infolist()]
        found = [name for name in names if name.split("/")[-1] == MANIFEST and name.count("/") < 2]
        if len(found) != 1:
            raise BundleError(
                f"{self.place}: expected one {MANIFEST} in the zip, at the top or in one folder; "
                f"found {len(found)}."
            )
        return found[0].removesuffix(MANIFEST)

    def _read_zipped(self, name: str, limit: int) -> bytes:
        with self._open_zip() as archive:
            found = [i for i in archive.infolist() if i.filename == self._prefix + name]
            if len(found) != 1:
                raise BundleError(
                    f"{self.place}: {name} is {len(found)} times in the zip, expected once."
                )
            info = found[0]
            if info.file_size > max(_RATIO_FREE_BYTES, _MAX_RATIO * max(1, info.compress_size)):
                raise BundleError(
                    f"{self.place}: {name} unpacks from {info.compress_size} to {info.file_size} "
                    "bytes, as no weights do; the zip is refused."
                )
            try:
                with archive.open(info) as file:
                    return file.read(limit)
            except (
                zipfile.BadZipFile,
                OSError,
                RuntimeError,
                NotImplementedError,
                EOFError,
            ) as error:
                raise BundleError(f"{self.place}: {name} cannot be unpacked ({error}).") from error
            except Exception as error:  # zlib.error and lzma.LZMAError have no common base
                raise BundleError(f"{self.place}: {name} cannot be unpacked ({error}).") from error
