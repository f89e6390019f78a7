"""Moments: hand cases, and what must hold for any candidates at all."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.search.moments import ClipHit, _quantile, find_moments


def hit(
    row: int, video: int, number: int, start_s: float, relevance: list[float], score: float
) -> ClipHit:
    """A clip with a frame a second."""
    count = len(relevance)
    times = start_s + np.arange(count, dtype=np.float64)
    shown = np.array(relevance, np.float32)
    return ClipHit(row, video, number, start_s, start_s + count, score, times, shown)


def test_nothing_found():
    assert find_moments([]) == []


def test_one_clip_is_one_moment():
    (span,) = find_moments([hit(0, 0, 0, 10.0, [0.5, 0.5, 0.5], 0.7)])
    assert (span.start_s, span.end_s, span.best_s, span.score) == (10.0, 13.0, 11.0, 0.7)


def test_good_neighbours_are_merged_and_poor_ones_not():
    hits = [
        hit(0, 0, 0, 0.0, [0.9, 0.9], 1.0),
        hit(1, 0, 1, 2.0, [0.9, 1.0], 0.98),
        hit(2, 0, 2, 4.0, [0.1, 0.1], 0.2),
        hit(3, 1, 0, 0.0, [0.0, 0.0], 0.1),
        hit(4, 1, 1, 2.0, [0.0, 0.0], 0.1),
    ]
    spans = find_moments(hits)
    assert [h.row for h in spans[0].hits] == [0, 1]
    assert (spans[0].start_s, spans[0].end_s) == (0.0, 4.0)
    assert spans[0].best_s in (0.0, 1.0)  # in the clip with the best score
    assert [h.row for h in spans[1].hits] == [2]


def test_the_ends_are_trimmed_to_what_matches_with_one_frame_to_spare():
    frames = [0.0, 0.0, 0.0, 0.9, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0]
    (span,) = find_moments([hit(0, 0, 0, 0.0, frames, 1.0)])
    assert (span.start_s, span.end_s, span.best_s) == (2.0, 7.0, 4.0)


def test_a_blink_does_not_end_a_moment_but_a_gap_does():
    blink = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    (span,) = find_moments([hit(0, 0, 0, 0.0, blink, 1.0)])
    assert (span.start_s, span.end_s) == (0.0, 4.0)


def test_frames_at_the_edges_keep_the_clips_own_bounds():
    shown = ClipHit(
        row=0,
        video=0,
        number=0,
        start_s=3.0,
        end_s=9.5,
        score=1.0,
        times=np.array([3.4, 5.0, 8.0]),
        relevance=np.array([1.0, 1.0, 1.0], np.float32),
    )
    (span,) = find_moments([shown])
    assert (span.start_s, span.end_s, span.best_s) == (3.0, 9.5, 5.0)


def test_a_video_may_hold_several_moments():
    hits = [hit(i, 0, i, 2.0 * i, [0.5, 0.5], s) for i, s in enumerate([1.0, 0.1, 0.9, 0.0, 0.0])]
    assert [span.hits[0].row for span in find_moments(hits)][:2] == [0, 2]


def test_equal_scores_keep_the_order_of_the_gallery():
    hits = [hit(row, row, 0, 0.0, [1.0], 0.5) for row in (3, 1, 2, 0)]
    assert [span.hits[0].row for span in find_moments(hits)] == [0, 1, 2, 3]


def test_k_is_a_limit():
    hits = [hit(row, row, 0, 0.0, [1.0], 0.5) for row in range(5)]
    assert len(find_moments(hits, 2)) == 2


scores = st.floats(-5, 5, width=32)
relevances = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)
clip = st.tuples(scores, relevances, st.booleans(), st.floats(0.25, 3))


@st.composite
def galleries(draw: st.DrawFn) -> list[ClipHit]:
    """Candidates of a few videos cut into clips without gaps; some clips are no candidates."""
    hits, row = [], 0
    for video in range(draw(st.integers(1, 3))):
        start_s = 0.0
        for number, (score, shown, candidate, step) in enumerate(
            draw(st.lists(clip, min_size=1, max_size=6))
        ):
            times = start_s + step * np.arange(len(shown))
            end_s = start_s + step * len(shown)
            if candidate:
                relevance = np.array(shown, np.float32)
                hits.append(ClipHit(row, video, number, start_s, end_s, score, times, relevance))
            start_s, row = end_s, row + 1
    return draw(st.permutations(hits))


@settings(max_examples=300, deadline=None)
@given(galleries())
def test_what_holds_for_any_moments(hits: list[ClipHit]):
    spans = find_moments(hits)
    rows = [h.row for span in spans for h in span.hits]
    assert len(rows) == len(set(rows)) and set(rows) <= {h.row for h in hits}
    assert [s.score for s in spans] == sorted((s.score for s in spans), reverse=True)
    assert bool(spans) == bool(hits)
    by_video: dict[int, list[tuple[float, float]]] = {}
    for span in spans:
        assert span.start_s < span.end_s
        assert span.start_s <= span.best_s < span.end_s
        assert span.score == max(h.score for h in span.hits)
        assert len({h.video for h in span.hits}) == 1
        assert min(h.start_s for h in span.hits) <= span.start_s
        assert span.end_s <= max(h.end_s for h in span.hits)
        best = [h for h in span.hits if h.start_s <= span.best_s < h.end_s]
        assert best == [span.hits[0]]  # the best frame lies in the best clip
        assert span.best_s in best[0].times
        by_video.setdefault(span.hits[0].video, []).append((span.start_s, span.end_s))
    for stretches in by_video.values():
        stretches.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(stretches))


@settings(max_examples=100, deadline=None)
@given(galleries(), st.randoms())
def test_the_order_of_candidates_does_not_matter(hits: list[ClipHit], random):
    mixed = list(hits)
    random.shuffle(mixed)
    plain = [(s.start_s, s.end_s, s.best_s, s.score, s.hits[0].row) for s in find_moments(hits)]
    assert plain == [
        (s.start_s, s.end_s, s.best_s, s.score, s.hits[0].row) for s in find_moments(mixed)
    ]


@settings(max_examples=100, deadline=None)
@given(galleries(), st.integers(1, 5))
def test_fewer_are_the_first_of_more(hits: list[ClipHit], k: int):
    few, all_of_them = find_moments(hits, k), find_moments(hits)
    assert [(s.start_s, s.end_s) for s in few] == [(s.start_s, s.end_s) for s in all_of_them[:k]]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60))
def test_the_quantile_is_numpys_to_the_last_bit(values: list[float]) -> None:
    shown = np.array(values, np.float32)
    for share in (0.1, 0.5, 0.77):
        assert _quantile(shown, share) == float(np.quantile(shown, share))
