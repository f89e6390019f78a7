"""From an understood query to moments, in one version of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.search.candidates import Candidates, find_candidates
from finecut.search.composed import StepSearch
from finecut.search.evidence import evidence_of
from finecut.search.fusion import Weights, fused_scores, reasons_of
from finecut.search.heard import SURE, Heard, Told, Where
from finecut.search.moments import Span, each_moment
from finecut.search.ordered import Chain, find_chains
from finecut.search.places import Place, with_texts
from finecut.types import Moment, Reason, Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.index.store import Index
    from finecut.search.calibration import Confidence
    from finecut.search.depth import Depths
    from finecut.search.query import Asked
    from finecut.search.understood import Sought

# When the candidates give too few moments, four times as many are asked for, twice at most: a
# drive that is not mounted must not make a search read the whole index.
_GROW, _ROUNDS = 4, 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every kind of search is told besides its query."""

    k: int
    recall_k: int
    rerank: bool
    evidence: bool


@dataclass(frozen=True, slots=True)
class Library:
    """One version of an index with what is needed to search it."""

    bundle: Bundle
    index: Index
    confidence: Confidence
    weights: Weights
    channels: tuple[str, ...]  # of text that the index holds
    same: dict[str, str]  # id of a video that has copies -> what its group goes by
    depths: Depths


class Present:
    """Paths of videos that are there now, each looked for once per search; a copy counts once."""

    def __init__(self, library: Library, *, duplicates: bool) -> None:
        self._videos = library.index.videos
        self._same = {} if duplicates else library.same
        self._known: dict[int, str | None] = {}
        self._shown: dict[str, int] = {}  # group -> the video of it that is answered
        self.hidden: set[int] = set()

    def path(self, video: int) -> str | None:
        if video not in self._known:
            self._known[video] = self._videos[video].present_path()
        return self._known[video]

    def admits(self, video: int) -> bool:
        """Whether moments of the video may be answered."""
        if not self.path(video):
            return False
        group = self._same.get(self._videos[video].video_id) if self._same else None
        if group is None or self._shown.setdefault(group, video) == video:
            return True
        self.hidden.add(video)
        return False

    def first(self, spans: Iterable[Span], k: int) -> list[Span]:
        """The first k moments of files that are there."""
        kept: list[Span] = []
        for span in spans:
            if len(kept) == k:
                break
            if self.admits(span.hits[0].video):
                kept.append(span)
        return kept


def answer_picture(
    library: Library,
    asked: Asked,
    wanted: Wanted,
    allowed: NDArray[np.bool_] | None,
    gallery: int,
    there: Present,
) -> list[Moment]:
    """Moments for one sentence, image or moment, by pictures alone."""
    bundle, index = library.bundle, library.index

    early = True
    settled = wanted.k if library.depths.one_clip_each else 2 * wanted.k  # clips; they may merge

    def find(count: int) -> Candidates:
        return find_candidates(
            bundle,
            index,
            asked.tokens,
            count,
            allowed=allowed,
            reranked=wanted.rerank,
            k=settled,
            depth=library.depths.of(asked.kind, wanted.k, count) if early else None,
        )

    found, spans = _enough(find, wanted, gallery, there)
    if any(span.hits[0].score < found.settled for span in spans):
        early = False  # files are gone, or moments took many clips: look at all
        found, spans = _enough(find, wanted, gallery, there)
    sure = library.confidence.of(asked, found, spans, gallery)
    why = _evidence(index, asked, spans, wanted)
    return [
        _moment(library, there, found, span, sure[i], why[i], (Reason("picture", sure[i]),))
        for i, span in enumerate(spans)
    ]


def _enough(
    find: Callable[[int], Candidates], wanted: Wanted, gallery: int, there: Present
) -> tuple[Candidates, list[Span]]:
    """Candidates, and k moments of them where there are so many."""
    count, rounds = max(wanted.recall_k, wanted.k), 0
    while True:
        found = find(count)
        spans = there.first(each_moment(found.hits), wanted.k)
        # Merged clips and vanished files can leave too few: look further down.
        if len(spans) >= wanted.k or count >= gallery or rounds >= _ROUNDS:
            return found, spans
        count, rounds = count * _GROW, rounds + 1


def answer_fused(
    library: Library,
    sought: Sought,
    heard: Heard,
    wanted: Wanted,
    allowed: NDArray[np.bool_] | None,
    gallery: int,
    there: Present,
) -> list[Moment] | None:
    """Moments for one sentence, by pictures and words together; None where no word answers."""
    term = sought.single
    assert term is not None and term.asked is not None
    asked = term.asked
    texts = heard.words(term.words)
    if not texts:
        return None
    count = max(wanted.recall_k, wanted.k)
    found, places = find_places(library, asked, texts, count, allowed, reranked=wanted.rerank)
    scores = fused_scores(places, library.weights)
    order = sorted(range(len(places)), key=lambda i: (-scores[i], i))
    kept = list(islice((i for i in order if there.admits(places[i].video)), wanted.k))
    spans = [places[i].span for i in kept]
    seen = library.confidence.of(asked, found, spans, gallery, capped=False)
    sure = [
        1.0 - (1.0 - own) * (1.0 - _heard_chance(places[i], library.weights))
        for i, own in zip(kept, seen, strict=True)
    ]
    sure = np.minimum.accumulate(sure).tolist() if sure else []
    why = _evidence(library.index, asked, spans, wanted)
    return [
        _moment(
            library,
            there,
            found,
            span,
            sure[place],
            why[place],
            reasons_of(places[i], seen[place], library.weights),
            score=scores[i],
        )
        for place, (i, span) in enumerate(zip(kept, spans, strict=True))
    ]


def find_places(
    library: Library,
    asked: Asked,
    texts: Sequence[Told],
    count: int,
    allowed: NDArray[np.bool_] | None,
    *,
    reranked: bool = True,
) -> tuple[Candidates, list[Place]]:
    """Moments seen among ``count`` candidates, and those in which the texts are heard."""
    found = find_candidates(
        library.bundle,
        library.index,
        asked.tokens,
        count,
        allowed=allowed,
        reranked=reranked,
        also=_clips_of(library.index, texts, asked, allowed) if texts else None,
    )
    return found, with_texts(list(each_moment(found.hits)), found.hits, texts)


def _heard_chance(place: Place, weights: Weights) -> float:
    return max(
        (SURE * item.share**2 * min(1.0, weights.of(item.channel)) for item in place.texts),
        default=0.0,
    )


def _clips_of(
    index: Index, texts: Sequence[Told], asked: Asked, allowed: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Clips during which texts are heard; of a text about a whole video its most fitting clip."""
    rows = np.arange(len(index.clips)) if allowed is None else np.flatnonzero(allowed)
    where = Where.clips(index, rows)
    found = [np.zeros(0, np.int64)]
    for item in texts:
        own = rows[where.during(item)]
        if item.whole and len(own) > 1:
            scores = index.recall_matrix()[own] @ asked.tokens.recall
            own = own[[int(scores.argmax())]]
        found.append(own)
    return np.unique(np.concatenate(found))


def answer_step(
    library: Library,
    sought: Sought,
    heard: Heard,
    wanted: Wanted,
    allowed: NDArray[np.bool_] | None,
    gallery: int,
    there: Present,
) -> list[Moment]:
    """Moments for one step: terms with AND, quotes, NOT, or words alone."""
    search = step_searches(library, sought, heard, wanted)[0]
    texts = heard.texts(search.step)
    heard_only = any(term.phrases for term in search.step.terms) or not search.pictures

    def find(count: int) -> Candidates:
        return search.candidates(count, allowed)

    if heard_only:
        found = find(max(wanted.recall_k, wanted.k, 4 * len(texts)))
        places = with_texts([], found.hits, texts)
        places.sort(key=lambda p: (-p.span.score, -max((t.score for t in p.texts), default=0.0)))
        spans = there.first((place.span for place in places), wanted.k)
        texts_of = {id(place.span): place.texts for place in places}
        kept = [Place(span, texts_of[id(span)]) for span in spans]
    else:
        found, spans = _enough(find, wanted, gallery, there)
        by_span = with_texts(spans, [], texts) if texts else [Place(span) for span in spans]
        kept = by_span[: wanted.k]
    first = next((term.asked for term in search.step.terms if term.asked is not None), None)
    own = [
        search.sure(p.span.hits[0].row, _one(p.video, p.span.start_s, p.span.end_s), gallery)
        for p in kept
    ]
    sure = np.minimum.accumulate(own) if own else []
    why = _evidence(library.index, first, [place.span for place in kept], wanted)
    return [
        _moment(
            library,
            there,
            found,
            place.span,
            float(sure[i]),
            why[i],
            reasons_of(place, search.seen(place.span.hits[0].row, gallery), library.weights),
        )
        for i, place in enumerate(kept)
    ]


def _one(video: int, start_s: float, end_s: float) -> Where:
    return Where(np.array([video]), np.array([start_s]), np.array([end_s]))


def answer_ordered(
    library: Library,
    sought: Sought,
    heard: Heard,
    wanted: Wanted,
    allowed: NDArray[np.bool_] | None,
    gallery: int,
    there: Present,
) -> list[Moment]:
    """Moments for steps in order: one per video, from the first step's begin to the last's end."""
    searches = step_searches(library, sought, heard, wanted)
    chains = find_chains(searches, sought.within, wanted.k, wanted.recall_k, allowed)
    kept = list(islice((chain for chain in chains if there.admits(chain.video)), wanted.k))
    made = [_ordered_moment(library, searches, chain, gallery, there) for chain in kept]
    sure = np.minimum.accumulate([moment.confidence for moment in made]) if made else []
    return [replace(m, confidence=float(c)) for m, c in zip(made, sure, strict=True)]


def _ordered_moment(
    library: Library, searches: Sequence[StepSearch], chain: Chain, gallery: int, there: Present
) -> Moment:
    index = library.index
    steps = []
    reasons: list[Reason] = []
    for search, found in zip(searches, chain.steps, strict=True):
        where = _one(chain.video, found.start_s, found.end_s)
        # A clip may show both steps in the other order: its frames have a word in it too.
        chance = float(np.exp(found.chance))
        own = min(search.sure(found.row, where, gallery), chance)
        seen = search.seen(found.row, gallery)
        texts = [item for item in search.heard.texts(search.step) if where.during(item)[0]]
        step = Stretch(search.step.label, found.start_s, found.end_s, found.best_s, own)
        if texts and any(term.phrases for term in search.step.terms):
            step = _narrowed(step, texts[0])
        steps.append(step)
        place = Place(Span((), step.start_s, step.end_s, step.best_s), texts)
        reasons += reasons_of(place, None if seen is None else min(seen, chance), library.weights)
    first = searches[0].step.terms[0].asked
    row = chain.steps[0].row
    recall = 0.0
    if first is not None:
        recall = float(index.recall_matrix()[row] @ first.tokens.recall)
    return Moment(
        video=there.path(chain.video) or "",
        video_id=index.videos[chain.video].video_id,
        start_s=steps[0].start_s,
        end_s=steps[-1].end_s,
        best_s=steps[0].best_s,
        score=float(np.exp(chain.chance)),
        recall_score=recall,
        rerank_score=None,
        confidence=min(step.confidence for step in steps),
        clip_ids=tuple(dict.fromkeys(int(index.clips.clip_id[s.row]) for s in chain.steps)),
        reasons=tuple(reasons),
        steps=tuple(steps),
    )


def _narrowed(step: Stretch, item: Told) -> Stretch:
    """A step that is heard, at the times of the text."""
    start_s = max(step.start_s, item.start_s)
    end_s = max(start_s, min(step.end_s, item.end_s))
    return replace(step, start_s=start_s, end_s=end_s, best_s=min(max(step.best_s, start_s), end_s))


def step_searches(
    library: Library, sought: Sought, heard: Heard, wanted: Wanted
) -> list[StepSearch]:
    """One search per step."""
    pictures = sought.channels is None or "picture" in sought.channels
    return [
        StepSearch(
            library.bundle,
            library.index,
            library.confidence,
            step,
            heard,
            pictures=pictures,
            reranked=wanted.rerank,
        )
        for step in sought.steps
    ]


def _evidence(index: Index, asked: Asked | None, spans: Sequence[Span], wanted: Wanted) -> Any:
    if not wanted.evidence or asked is None:
        return [None] * len(spans)
    return evidence_of(index, asked.tokens, spans)


def _moment(
    library: Library,
    there: Present,
    found: Candidates,
    span: Span,
    confidence: float,
    why: Any,
    reasons: tuple[Reason, ...],
    score: float | None = None,
) -> Moment:
    best = span.hits[0]
    index = library.index
    place = int(np.flatnonzero(found.rows == best.row)[0])
    rerank_scores = found.rerank_scores
    return Moment(
        video=there.path(best.video) or "",
        video_id=index.videos[best.video].video_id,
        start_s=span.start_s,
        end_s=span.end_s,
        best_s=span.best_s,
        score=best.score if score is None else score,
        recall_score=float(found.recall_scores[place]),
        rerank_score=None if rerank_scores is None else float(rerank_scores[place]),
        confidence=confidence,
        clip_ids=tuple(int(index.clips.clip_id[hit.row]) for hit in span.hits),
        evidence=why,
        reasons=reasons,
    )
