"""Going back to a past state of an index, for good."""

from __future__ import annotations

from pathlib import Path

from finecut.errors import FinecutError
from finecut.index.history import Commit, find
from finecut.index.store import Index
from finecut.index.tables import plain_message
from finecut.index.writer import IndexWriter
from finecut.storage.location import Location


def restore(index_dir: str | Path | Location, as_of: str | int) -> tuple[Commit, str]:
    """Make a past state the newest one: a new commit, so that it can be undone in the same way.

    Files that were indexed since are indexed again by the next run; those that were taken out come
    back, found or not.

    Args:
        index_dir: of the index, or an alias of it.
        as_of: which state, as `finecut.index.history.find` reads it.

    Returns: the state that was gone back to, and the index's version now.
    Raises:
        NotFound, UsageError: ``as_of`` names no state that is kept.
        IndexLocked: another process writes to the index.
        IndexNotFound: there is no index.
    """
    with IndexWriter(index_dir) as writer:
        past = find(writer.directory, as_of)  # inside the lock: nobody tidies it away now
        try:
            if past.until is not None:  # else it is the newest state already
                writer.restore(past.head)
        except OSError as error:
            raise FinecutError(
                f"The index at {writer.directory} could not be written: {plain_message(error)}. "
                "Free some space or mend the permissions and run the same command again."
            ) from error
        version = Index.open(writer.directory).version  # brings the cache up to date
    return past, version
