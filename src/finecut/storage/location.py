"""Where an index or a video lies: a local folder or file, or an object of a store by its URL."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from finecut.errors import UsageError

SCHEMES = ("s3", "gs", "az")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
# A name may hold a question mark, but not what signed links and passwords look like.
_SECRET = re.compile(r"\?[\w.-]+=")
_MAX_KEY_BYTES = 1024  # of S3; the other stores allow no more


def is_url(text: str | os.PathLike[str]) -> bool:
    """Whether a text names a place by a URL and not by a path.

    >>> is_url("s3://films/a.mp4"), is_url("/films/a.mp4"), is_url("C:/films")
    (True, False, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


@dataclass(frozen=True, slots=True)
class Location:
    """A place: ``Location.parse("s3://films/2024")``, ``Location.parse("/films")``.

    >>> place = Location.parse("s3://films/2024") / "a.mp4"
    >>> str(place), place.name, str(place.parent)
    ('s3://films/2024/a.mp4', 'a.mp4', 's3://films/2024')
    """

    scheme: str  # "" of a local one
    bucket: str  # "" of a local one
    key: str  # below the bucket, without slashes at its ends; of a local one the path

    @classmethod
    def parse(cls, text: str | os.PathLike[str] | Location) -> Location:
        """The place a text or path means; a place itself is given back.

        Raises:
            UsageError: a URL of another kind, one without a bucket, or one that holds credentials
                (which is not repeated in the message).
        """
        if isinstance(text, Location):
            return text
        plain = os.fspath(text)
        match = _URL.match(plain) if isinstance(text, str) else None
        if match is None:
            return cls("", "", str(Path(plain)))
        scheme, rest = match[1].lower(), plain[match.end() :]
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise UsageError(
                f"{scheme}:// is no kind of place finecut knows: name a local path or {known}"
            )
        bucket, _, key = rest.partition("/")
        if "@" in bucket or _SECRET.search(rest):
            raise UsageError(
                f"A {scheme}:// URL must not hold credentials: it is written into indexes and "
                "messages. Give them by the environment (AWS_ACCESS_KEY_ID and so on) and name "
                f"the place as {scheme}://BUCKET/NAME."
            )
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(f"{plain!r:.100} names no bucket: write {scheme}://BUCKET/NAME.")
        return cls(scheme, bucket, _checked_key(key.strip("/"), plain))

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return not self.scheme

    @property
    def path(self) -> Path:
        """The path of a local place.

        Raises:
            UsageError: it is not local.
        """
        if self.scheme:
            raise UsageError(f"{self} is not on this machine; a local path is needed here.")
        return Path(self.key)

    @property
    def url(self) -> str:
        """As a URL: ``file:///…`` of a local place."""
        return str(self) if self.scheme else Path(os.path.abspath(self.key)).as_uri()

    @property
    def name(self) -> str:
        """The last part: of a bucket itself, the bucket's name."""
        if not self.scheme:
            return Path(self.key).name
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> Location:
        """The place this one lies in; of a bucket or a root, itself."""
        if not self.scheme:
            return Location("", "", str(Path(self.key).parent))
        return Location(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def __truediv__(self, name: str) -> Location:
        if not self.scheme:
            return Location("", "", str(Path(self.key) / name))
        key = f"{self.key}/{name.strip('/')}".strip("/")
        return Location(self.scheme, self.bucket, _checked_key(key, f"{self}/{name}"))

    def relative_to(self, folder: Location) -> str:
        """The names that lead from a folder to here, with slashes between; "" for itself.

        Raises:
            UsageError: it does not lie there.
        """
        if not self.scheme and not folder.scheme:
            try:
                below = Path(self.key).relative_to(folder.key).as_posix()
            except ValueError as error:
                raise UsageError(f"{self} does not lie in {folder}.") from error
            return "" if below == "." else below
        if self == folder:
            return ""
        start = f"{folder.key}/" if folder.key else ""
        same_store = (self.scheme, self.bucket) == (folder.scheme, folder.bucket)
        if not same_store or not self.key.startswith(start):
            raise UsageError(f"{self} does not lie in {folder}.")
        return self.key[len(start) :]

    def absolute(self) -> Location:
        """The same place whatever the working directory: ``~`` expanded, links not resolved."""
        if self.scheme:
            return self
        return Location("", "", os.path.abspath(os.path.expanduser(self.key)))

    def __str__(self) -> str:
        if not self.scheme:
            return self.key
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")


def _checked_key(key: str, whole: str) -> str:
    parts = key.split("/")
    if key and any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{whole!r:.200} must not hold empty parts, '.' or '..'.")
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES or "\0" in key:
        raise UsageError(f"{whole!r:.200} is no name an object store allows.")
    return key
