"""The errors finecut raises. Each message says what was wrong, what was got, what was expected
and what to do; the command line prints it and exits, the server maps it to a problem document."""

from __future__ import annotations


class FinecutError(Exception):
    """Base of every error that is meant for the user.

    ``exit_code`` is what the command line exits with: 1 is a failure, 2 is wrong use or an
    index or bundle that does not fit. ``http_status`` is what the server answers with.
    """

    exit_code = 1
    http_status = 500


class UsageError(FinecutError):
    """An argument, filter or query that cannot be meant."""

    exit_code = 2
    http_status = 422


class QueryError(UsageError):
    """A query that cannot be read; ``at`` is the character (from 0) where it goes wrong."""

    http_status = 400

    def __init__(self, message: str, query: str, at: int) -> None:
        super().__init__(message)
        self.query = query
        self.at = max(0, min(at, len(query)))


class ShapeError(FinecutError):
    """Arrays whose shapes, dtypes or ranges do not fit together."""

    exit_code = 2
    http_status = 422


class BundleError(FinecutError):
    """A bundle that is missing, broken, hostile or of an unknown schema."""

    exit_code = 2


class IndexNotFound(FinecutError):
    """No index at the given place."""

    exit_code = 2
    http_status = 503


class IndexMismatch(FinecutError):
    """The index was built with another bundle, schema or setting than the one in hand."""

    exit_code = 2
    http_status = 409


class IndexLocked(FinecutError):
    """Another process is writing to the index."""

    http_status = 409


class IndexCorrupt(FinecutError):
    """The index cannot be read as written."""


class VideoError(FinecutError):
    """A video that cannot be read; ``reason`` is a short word for lists, the message is whole."""

    http_status = 422

    def __init__(self, message: str, *, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class LimitError(VideoError):
    """A video or image beyond a guard (pixels, duration, memory)."""

    def __init__(self, message: str, *, reason: str = "over limit") -> None:
        super().__init__(message, reason=reason)


class NotFound(FinecutError):
    """A video, moment or job that is not in the index."""

    http_status = 404


class MissingDependency(FinecutError):
    """An optional package is needed; the message holds the command that installs it."""


class StorageError(FinecutError, OSError):
    """An object store, or a file, that cannot be read or written; holds no secret."""

    http_status = 503


class ObjectNotFound(StorageError, FileNotFoundError):
    """No object, or file, of this name."""

    http_status = 404


class StorageDenied(StorageError):
    """The credentials at hand, or none, do not allow this."""


class StorageConflict(StorageError):
    """Somebody else made or changed an object since it was looked at."""

    http_status = 409
