"""Search an index: recall many clips by one inner product, re-rank few, land on moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.bundle.load import Bundle
from finecut.errors import BundleError, IndexMismatch, UsageError
from finecut.index.meta import read_head, read_meta
from finecut.index.store import Index
from finecut.search.calibration import Confidence
from finecut.search.candidates import Candidates, find_candidates
from finecut.search.evidence import evidence_of
from finecut.search.filters import Filters
from finecut.search.moments import Span, each_moment
from finecut.search.query import Asked, QueryEncoder, stored_moment
from finecut.types import Moment, Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_K = 1000
MAX_RECALL_K = 100_000
# When the candidates give too few moments, four times as many are asked for, twice at most: a
# drive that is not mounted must not make a search read the whole index.
_GROW, _ROUNDS = 4, 2
_MASKS = 16  # filters remembered for one version of the index


class _Snapshot:
    """One version of the index with what is derived from it; a refresh makes a new one."""

    def __init__(self, index: Index, bundle: Bundle) -> None:
        self.index = index
        self.confidence = Confidence(bundle, index)
        self._masks: dict[Filters, NDArray[np.bool_] | None] = {}

    def mask(self, filters: Filters) -> NDArray[np.bool_] | None:
        """[G] bool of the clips the filters allow; None where that is all of them."""
        if filters.empty:
            return None
        if filters not in self._masks:
            made = filters.mask(self.index.videos, self.index.clips)
            kept = list(self._masks.items())[-_MASKS + 1 :]
            self._masks = {**dict(kept), filters: None if made.all() else made}
        return self._masks[filters]


class Searcher:
    """Searches one index with the bundle that built it. Safe to use from many threads."""

    def __init__(self, index: Index, bundle: Bundle) -> None:
        _check_fingerprint(index, bundle)
        self.bundle = bundle
        self._encoder = QueryEncoder(bundle)
        self._snapshot = _Snapshot(index, bundle)
        self._refreshing = threading.Lock()

    @classmethod
    def open(
        cls,
        index: str | Path | Index,
        *,
        bundle: Bundle | str | Path | None = None,
        threads: int | None = None,
    ) -> Searcher:
        """A searcher over the index; the graphs it needs load while the index opens.

        Args:
            index: the index's folder, or an open index.
            bundle: a bundle or what it is found by; None: what the index was built with.
            threads: for one run of a graph; None for all cores.

        Raises:
            IndexNotFound: no index there.
            IndexCorrupt: it cannot be read.
            IndexMismatch: the bundle is another one than the index was built with.
            BundleError: the bundle is missing or broken.
        """
        meta = index.meta if isinstance(index, Index) else read_meta(Path(index))
        if not isinstance(bundle, Bundle):
            bundle = _load_bundle(bundle, meta.bundle_ref, meta.bundle_name, threads)
        if isinstance(index, Index) or meta.fingerprint != bundle.fingerprint:
            return cls(index if isinstance(index, Index) else Index.open(index), bundle)
        with ThreadPoolExecutor(1, "finecut-warm-up") as pool:
            warm = pool.submit(bundle.warm_up)
            opened = Index.open(index)
            warm.result()
        return cls(opened, bundle)

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
            meta = read_meta(current.directory)
            if read_head(current.directory).version(meta) == current.version:
                return False
            opened = Index.open(current.directory)
            _check_fingerprint(opened, self.bundle)
            self._snapshot = _Snapshot(opened, self.bundle)
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
    ) -> Results:
        """The k best moments for a sentence or an image, best first.

        Args:
            query: a sentence; or an image: encoded bytes, a PIL image, or uint8
                [height, width, 3] RGB.
            k: moments wanted, 1 to 1000.
            recall_k: clips that stage 1 hands to the re-ranker, 1 to 100,000.
            filters: which videos may be answered.
            rerank: False leaves stage 1's order.
            evidence: whether moments carry frame and patch relevance.

        Returns: at most k moments of files that are there now. ``good_match`` is False where none
            is likely to be what was asked for; the best guesses are listed all the same.
        Raises:
            UsageError: an empty query or a number out of range.
        """
        begun = time.perf_counter()
        _check_numbers(k, recall_k)
        snapshot = self._snapshot
        asked = self._encoder.encode(query)
        return self._answer(snapshot, asked, k, recall_k, filters, rerank, evidence, begun)

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        recall_k: int = 50,
        filters: Filters | None = None,
        rerank: bool = True,
        evidence: bool = False,
    ) -> list[Results]:
        """`search` for each sentence, all on one version of the index, encoded together."""
        _check_numbers(k, recall_k)
        snapshot = self._snapshot
        answers = []
        for asked in self._encoder.encode_texts(queries):
            begun = time.perf_counter()
            answers.append(
                self._answer(snapshot, asked, k, recall_k, filters, rerank, evidence, begun)
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

        Raises:
            NotFound: no such video or clip.
            UsageError: not exactly one of video and clip, or a number out of range.
        """
        begun = time.perf_counter()
        _check_numbers(k, recall_k)
        snapshot = self._snapshot
        asked = stored_moment(self.bundle, snapshot.index, video_id, time_s, clip_id)
        return self._answer(snapshot, asked, k, recall_k, filters, rerank, evidence, begun)

    def encode_texts(self, queries: Sequence[str]) -> list[Asked]:
        """Sentences as this searcher asks them, remembered for the next time."""
        return self._encoder.encode_texts(queries)

    # -- answering ------------------------------------------------------------------------------

    def _answer(
        self,
        snapshot: _Snapshot,
        asked: Asked,
        k: int,
        recall_k: int,
        filters: Filters | None,
        rerank: bool,
        evidence: bool,
        begun: float,
    ) -> Results:
        index = snapshot.index
        allowed = _allowed(snapshot, filters, asked)
        gallery = len(index.clips) if allowed is None else int(allowed.sum())
        there = _Present(index)
        wanted, rounds = max(recall_k, k), 0
        while True:
            found = find_candidates(
                self.bundle, index, asked.tokens, wanted, allowed=allowed, reranked=rerank
            )
            spans = there.first(each_moment(found.hits), k)
            # Merged clips and vanished files can leave too few: look further down.
            if len(spans) >= k or wanted >= gallery or rounds >= _ROUNDS:
                break
            wanted, rounds = wanted * _GROW, rounds + 1
        sure = snapshot.confidence.of(asked, found, spans, gallery)
        why = evidence_of(index, asked.tokens, spans) if evidence else [None] * len(spans)
        moments = [
            self._moment(index, there, found, span, sure[i], why[i]) for i, span in enumerate(spans)
        ]
        return Results(
            moments,
            query=asked.label,
            elapsed_ms=(time.perf_counter() - begun) * 1e3,
            good_match=snapshot.confidence.good(sure),
            gallery=gallery,
        )

    def _moment(
        self,
        index: Index,
        there: _Present,
        found: Candidates,
        span: Span,
        confidence: float,
        why: Any,
    ) -> Moment:
        best = span.hits[0]
        place = int(np.flatnonzero(found.rows == best.row)[0])
        rerank_scores = found.rerank_scores
        return Moment(
            video=there.path(best.video) or "",
            video_id=index.videos[best.video].video_id,
            start_s=span.start_s,
            end_s=span.end_s,
            best_s=span.best_s,
            score=best.score,
            recall_score=float(found.recall_scores[place]),
            rerank_score=None if rerank_scores is None else float(rerank_scores[place]),
            confidence=confidence,
            clip_ids=tuple(int(index.clips.clip_id[hit.row]) for hit in span.hits),
            evidence=why,
        )


class _Present:
    """Paths of videos that are there now, each looked for once per search."""

    def __init__(self, index: Index) -> None:
        self._videos = index.videos
        self._known: dict[int, str | None] = {}

    def path(self, video: int) -> str | None:
        if video not in self._known:
            self._known[video] = self._videos[video].present_path()
        return self._known[video]

    def first(self, spans: Iterable[Span], k: int) -> list[Span]:
        """The first k moments of files that are there."""
        kept: list[Span] = []
        for span in spans:
            if len(kept) == k:
                break
            if self.path(span.hits[0].video):
                kept.append(span)
        return kept


def _allowed(
    snapshot: _Snapshot, filters: Filters | None, asked: Asked
) -> NDArray[np.bool_] | None:
    allowed = None if filters is None else snapshot.mask(filters)
    if asked.without is None:
        return allowed
    size = len(snapshot.index.clips)
    allowed = np.ones(size, bool) if allowed is None else allowed.copy()
    allowed[asked.without] = False
    return allowed


def _check_numbers(k: int, recall_k: int) -> None:
    for name, value, most in (("k", k, MAX_K), ("recall_k", recall_k, MAX_RECALL_K)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not 1 <= value <= most:
            raise UsageError(f"{name} must be a whole number, 1 to {most}, got {value!r}.")


def _check_fingerprint(index: Index, bundle: Bundle) -> None:
    meta = index.meta
    if meta.fingerprint != bundle.fingerprint:
        raise IndexMismatch(
            f"The index at {index.directory} was built with the bundle {meta.bundle_name} "
            f"({meta.fingerprint[:12]}), this bundle is {bundle.name} "
            f"({bundle.fingerprint[:12]}). Search with the first one, or build the index anew: "
            f"finecut index FOLDER --index {index.directory} --bundle {bundle.ref} --force"
        )


def _load_bundle(asked: str | Path | None, ref: str, name: str, threads: int | None) -> Bundle:
    if asked is not None:
        return Bundle.load(asked, threads=threads)
    try:
        return Bundle.load(ref, threads=threads)
    except BundleError as error:
        raise BundleError(
            f"The index was built with the bundle {name}, found by {ref!r}, which does not load: "
            f"{error} Where the bundle is elsewhere now, pass --bundle."
        ) from error
