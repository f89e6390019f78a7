"""Search an index: recall many clips by one inner product, re-rank few, land on moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.bundle.load import Bundle
from finecut.errors import IndexMismatch, UsageError
from finecut.index.alias import follow
from finecut.index.meta import read_head, read_meta
from finecut.index.store import Index
from finecut.search.answering import (
    Present,
    Wanted,
    answer_fused,
    answer_ordered,
    answer_picture,
    answer_step,
)
from finecut.search.filters import Filters
from finecut.search.fusion import Weights, read_weights
from finecut.search.heard import Heard
from finecut.search.languages import in_known_language
from finecut.search.opening import bundle_of
from finecut.search.query import Asked, QueryEncoder, stored_moment
from finecut.search.snapshot import Snapshot
from finecut.search.understood import PICTURE, Sought, understand, without_texts
from finecut.storage.location import Location
from finecut.text.query_language import parse
from finecut.types import Moment, Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.search.depth import Depth
    from finecut.search.labelled import LabelledQuery, VideoNames
    from finecut.search.tune import Case

MAX_K = 1000
MAX_RECALL_K = 100_000
_BATCH = 256  # queries of a batch that are encoded together


class Searcher:
    """Searches one index with the bundle that built it. Safe to use from many threads."""

    def __init__(self, index: Index, bundle: Bundle) -> None:
        _check_fingerprint(index, bundle)
        self.bundle = bundle
        self._encoder = QueryEncoder(bundle)
        self._snapshot = Snapshot(index, bundle)
        self._refreshing = threading.Lock()

    @classmethod
    def open(
        cls,
        index: str | Path | Location | Index,
        *,
        bundle: Bundle | str | Path | None = None,
        threads: int | None = None,
    ) -> Searcher:
        """A searcher over the index; the graphs it needs load while the index opens.

        Args:
            index: the index's folder or URL, an alias of it, or an open index.
            bundle: a bundle or what it is found by; None: what the index was built with.
            threads: for one run of a graph; None for all cores.

        Raises:
            IndexNotFound: no index there.
            IndexCorrupt: it cannot be read.
            IndexMismatch: the bundle is another one than the index was built with.
            BundleError: the bundle is missing or broken.
        """
        index = index if isinstance(index, Index) else follow(index)
        meta = index.meta if isinstance(index, Index) else read_meta(index)
        if not isinstance(bundle, Bundle):
            bundle = bundle_of(meta, bundle, threads)
        if isinstance(index, Index) or meta.fingerprint != bundle.fingerprint:
            return cls(index if isinstance(index, Index) else Index.open(index), bundle)
        bundle.begin_warm_up()
        searcher = cls(Index.open(index), bundle)
        bundle.warm_up()
        return searcher

    def __repr__(self) -> str:
        index = self.index
        return f"Searcher({str(index.directory)!r}, {len(index.clips)} clips, {self.bundle.name})"

    @property
    def index(self) -> Index:
        """The version of the index that is searched now."""
        return self._snapshot.index

    def refresh(self) -> bool:
        """Move on to the index's latest commit; whether anything changed.

        Searches that are under way finish on the version they began with.

        Raises:
            IndexMismatch: the index was built anew with another bundle.
        """
        with self._refreshing:
            current = self._snapshot.index
            if current.pinned:
                return False
            meta = read_meta(current.directory)
            if read_head(current.directory).version(meta) == current.version:
                return False
            opened = Index.open(current.directory)
            _check_fingerprint(opened, self.bundle)
            self._snapshot = Snapshot(opened, self.bundle)
            return True

    # -- asking ---------------------------------------------------------------------------------

    def search(
        self,
        query: str | bytes | NDArray[np.uint8] | Any,
        k: int = 10,
        recall_k: int = 50,
        filters: Filters | None = None,
        rerank: bool = True,
        evidence: bool = True,
        *,
        image: bytes | NDArray[np.uint8] | Any = None,
        duplicates: bool = False,
    ) -> Results:
        """The k best moments for a sentence, a query or an image, best first.

        Args:
            query: a sentence, or a query as docs/query-language.md has it; or an image: encoded
                bytes, a PIL image, or uint8 [height, width, 3] RGB.
            k: moments wanted, 1 to 1000.
            recall_k: clips that stage 1 hands to the re-ranker, 1 to 100,000.
            filters: which videos may be answered, besides what the query says of it.
            rerank: False leaves stage 1's order.
            evidence: whether moments carry frame and patch relevance.
            image: an image that the sentence says more about.
            duplicates: True answers every copy of a video, not the best alone.

        Returns: at most k moments of files that are there now. ``good_match`` is False where none
            is likely to be what was asked for; the best guesses are listed all the same.
        Raises:
            UsageError: an empty query or a number out of range.
            QueryError: syntax that cannot be meant, with the character where it goes wrong.
        """
        begun = time.perf_counter()
        wanted = _wanted(k, recall_k, rerank, evidence)
        snapshot = self._snapshot
        if isinstance(query, str):
            shown = None if image is None else self._encoder.encode(image)
            return self._answer_query(
                snapshot, query, shown, wanted, filters, duplicates=duplicates, begun=begun
            )
        if image is not None:
            raise UsageError("Give a sentence beside an image, or one image alone.")
        asked = self._encoder.encode(query)
        return self._answer_asked(snapshot, asked, wanted, filters, duplicates, begun)

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        recall_k: int = 50,
        filters: Filters | None = None,
        rerank: bool = True,
        evidence: bool = False,
        *,
        duplicates: bool = False,
    ) -> list[Results]:
        """`search` for each query, all on one version of the index, encoded together."""
        wanted = _wanted(k, recall_k, rerank, evidence)
        snapshot = self._snapshot
        if not all(isinstance(query, str) for query in queries):
            raise UsageError("Queries in a batch are sentences (str).")
        answers = []
        for start in range(0, len(queries), _BATCH):
            block = queries[start : start + _BATCH]
            sentences = [parse(query).plain for query in block]
            self._encoder.encode_texts([one for one in sentences if one is not None])
            for query in block:
                begun = time.perf_counter()
                answers.append(
                    self._answer_query(
                        snapshot, query, None, wanted, filters, duplicates=duplicates, begun=begun
                    )
                )
        return answers

    def more_like(
        self,
        video_id: str | None = None,
        time_s: float | None = None,
        *,
        clip_id: int | None = None,
        k: int = 10,
        recall_k: int = 50,
        filters: Filters | None = None,
        rerank: bool = True,
        evidence: bool = True,
        duplicates: bool = False,
    ) -> Results:
        """Moments like one that is in the index; the clip it lies in is left out.

        Args:
            video_id: the video, with ``time_s`` in seconds; or None with ``clip_id``.
            time_s: None: the middle of the clip (of the video's first clip).
            clip_id: an entry of a moment's ``clip_ids``.
            k: as in `search`, and so the rest.
            recall_k: as in `search`.
            filters: as in `search`.
            rerank: as in `search`.
            evidence: as in `search`.
            duplicates: as in `search`.

        Raises:
            NotFound: no such video or clip.
            UsageError: not exactly one of video and clip, or a number out of range.
        """
        begun = time.perf_counter()
        wanted = _wanted(k, recall_k, rerank, evidence)
        snapshot = self._snapshot
        asked = stored_moment(self.bundle, snapshot.index, video_id, time_s, clip_id)
        return self._answer_asked(snapshot, asked, wanted, filters, duplicates, begun)

    def encode_texts(self, queries: Sequence[str]) -> list[Asked]:
        """Sentences as this searcher asks them, remembered for the next time."""
        return self._encoder.encode_texts(queries)

    def measure_depth(self) -> Depth | None:
        """Find out how few candidates a sentence needs re-ranked in this version of the index.

        Worth a second or so for a program that goes on to answer many queries; the answer is kept
        beside the index, for whoever opens it next. First answers stay what they are.

        Returns: None where all candidates are looked at, because that costs little or because
            nothing less was shown to answer the same.
        """
        return self._snapshot.depths.measure()

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of text that the index holds."""
        return self._snapshot.channels

    @property
    def weights(self) -> Weights:
        """How much each channel counts in this index."""
        return read_weights(self.index.directory)

    def cases(
        self, labelled: Sequence[LabelledQuery], names: VideoNames, recall_k: int
    ) -> list[Case]:
        """Everything found for labelled sentences, to be ranked by any weights."""
        from finecut.search.tune import find_cases

        return find_cases(
            self._snapshot.library(self.bundle), self._encoder, labelled, names, recall_k
        )

    # -- answering ------------------------------------------------------------------------------

    def _answer_asked(
        self,
        snapshot: Snapshot,
        asked: Asked,
        wanted: Wanted,
        filters: Filters | None,
        duplicates: bool,
        begun: float,
    ) -> Results:
        """By pictures alone."""
        allowed, gallery = _allowed(snapshot, filters, asked.without)
        library = snapshot.library(self.bundle)
        there = Present(library, duplicates=duplicates)
        moments = answer_picture(library, asked, wanted, allowed, gallery, there)
        return self._results(snapshot, moments, asked.label, gallery, begun)

    def _answer_query(
        self,
        snapshot: Snapshot,
        query: str,
        image: Asked | None,
        wanted: Wanted,
        filters: Filters | None,
        *,
        duplicates: bool,
        begun: float,
    ) -> Results:
        tree, notes = without_texts(parse(query), snapshot.channels)
        sought = understand(tree, self._encoder, filters, image)
        label = query if image is None else f"image and {query}"
        understood = query if tree.plain is not None else str(tree)
        allowed, gallery = _allowed(snapshot, sought.filters, None)
        if image is None:
            manifest = self.bundle.manifest
            readable, note = in_known_language(
                sought, self.bundle.name, manifest.text.languages, snapshot.channels
            )
            notes += [note] if note else []
            if readable is None:
                return self._results(snapshot, [], label, gallery, begun, understood, notes)
            sought = readable
        library = snapshot.library(self.bundle)
        there = Present(library, duplicates=duplicates)
        heard = _heard(snapshot, sought, allowed)
        given = (library, sought, heard, wanted, allowed, gallery, there)
        pictures = sought.channels is None or PICTURE in sought.channels
        term = sought.single
        moments: list[Moment] | None
        if len(sought.steps) > 1:
            moments = answer_ordered(*given)
        elif term is None or not pictures:
            moments = answer_step(*given)
        else:
            moments = answer_fused(*given) if heard.channels and image is None else None
            if moments is None:
                assert term.asked is not None
                moments = answer_picture(library, term.asked, wanted, allowed, gallery, there)
        return self._results(snapshot, moments, label, gallery, begun, understood, notes)

    def _results(
        self,
        snapshot: Snapshot,
        moments: list[Moment],
        label: str,
        gallery: int,
        begun: float,
        understood: str = "",
        notes: Sequence[str] = (),
    ) -> Results:
        return Results(
            moments,
            query=label,
            elapsed_ms=(time.perf_counter() - begun) * 1e3,
            good_match=snapshot.confidence.good([moment.confidence for moment in moments]),
            gallery=gallery,
            understood=understood,
            notes=notes,
        )


def _allowed(
    snapshot: Snapshot, filters: Filters | None, without: int | None
) -> tuple[NDArray[np.bool_] | None, int]:
    """[G] bool of the clips that may be answered (None: all), and how many they are."""
    allowed = None if filters is None else snapshot.mask(filters)
    size = len(snapshot.index.clips)
    if without is not None:
        allowed = np.ones(size, bool) if allowed is None else allowed.copy()
        allowed[without] = False
    return allowed, size if allowed is None else int(allowed.sum())


def _heard(snapshot: Snapshot, sought: Sought, allowed: NDArray[np.bool_] | None) -> Heard:
    """Looks up texts of the channels the query asks for, in videos that may be answered."""
    channels = snapshot.channels
    if sought.channels is not None:
        channels = tuple(name for name in channels if name in sought.channels)
    videos = None
    if allowed is not None:
        videos = np.zeros(len(snapshot.index.videos), bool)
        videos[snapshot.index.clips.video[allowed]] = True
    return Heard(snapshot.index, channels, videos)


def _wanted(k: int, recall_k: int, rerank: bool, evidence: bool) -> Wanted:
    for name, value, most in (("k", k, MAX_K), ("recall_k", recall_k, MAX_RECALL_K)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not 1 <= value <= most:
            raise UsageError(f"{name} must be a whole number, 1 to {most}, got {value!r}.")
    return Wanted(k, recall_k, rerank, evidence)


def _check_fingerprint(index: Index, bundle: Bundle) -> None:
    meta = index.meta
    if meta.fingerprint != bundle.fingerprint:
        raise IndexMismatch(
            f"The index at {index.directory} was built with the bundle {meta.bundle_name} "
            f"({meta.fingerprint[:12]}), this bundle is {bundle.name} "
            f"({bundle.fingerprint[:12]}). Search with the first one, or build the index anew: "
            f"finecut index FOLDER --index {index.directory} --bundle {bundle.ref} --force"
        )
