"""Large galleries: the vector index answers as exact search does, filtered or not, as it grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finecut.index import nearest, store
from finecut.index.recall import top_rows
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from index.stored import clips_of, meta_of, row_of

DIM, PER_VIDEO = 32, 40


def add(writer, first: int, count: int, centres, rng) -> None:
    """Commit videos of forty clips each, whose recall vectors lie around some centres."""
    for number in range(first, first + count):
        clips = clips_of(writer, f"{number:032d}", (1,) * PER_VIDEO, number)
        vectors = centres[rng.integers(0, len(centres), PER_VIDEO)]
        vectors = vectors + 0.7 * rng.normal(size=vectors.shape)
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        clips = [
            replace(clip, tokens=replace(clip.tokens, recall=vector))
            for clip, vector in zip(clips, vectors, strict=True)
        ]
        writer.commit(clips, [row_of(f"{number:032d}", writer.build, PER_VIDEO)])


@pytest.fixture
def small_thresholds(monkeypatch):
    """An index over some thousand clips, asked so thoroughly that its random cells cannot matter.

    Lance draws its cells and its rotation from no seed. With every cell looked into and a good
    third of the clips proposed, a clip is missed only if its rank is off by hundreds.
    """
    monkeypatch.setattr(nearest, "MIN_ROWS", 1000)
    monkeypatch.setattr(nearest, "PROBES_PART", 2.0)
    monkeypatch.setattr(nearest, "PROPOSED", 30)
    monkeypatch.setattr(store, "EXACT_ROWS", 800)


def overlap(index: Index, queries, k: int, allowed=None) -> float:
    """The share of the exact answer that is found; scores must be the exact ones."""
    shares = []
    for query in queries:
        rows, scores = index.recall(query, k, allowed)
        exact, best = top_rows(query[None], index.recall_matrix(), k, allowed)
        assert allowed is None or allowed[rows].all()
        assert len(rows) == len(set(rows.tolist())) == k and (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(scores, index.recall_matrix()[rows] @ query, rtol=1e-4)
        assert scores[0] <= best[0, 0] + 1e-4
        shares.append(len(set(rows.tolist()) & set(exact[0].tolist())) / k)
    return float(np.mean(shares))


def test_the_vector_index_answers_as_exact_search_does(tmp_path, small_thresholds):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, DIM))
    meta = replace(meta_of("video"), recall_dim=DIM)
    with IndexWriter(tmp_path / "i", meta) as writer:
        add(writer, 0, 24, centres, rng)
        assert writer.compact() and writer.head.indexed_rows == 0  # too few for an index
        add(writer, 24, 16, centres, rng)
        assert writer.compact() and writer.head.indexed_rows == 1600
    index = Index.open(tmp_path / "i")
    queries = (centres[:15] + 0.5 * rng.normal(size=(15, DIM))).astype(np.float32)
    assert overlap(index, queries, 20) >= 0.97
    half = rng.random(len(index.clips)) < 0.7
    assert overlap(index, queries, 20, half) >= 0.97
    few = rng.random(len(index.clips)) < 0.05
    assert overlap(index, queries, 20, few) == 1.0  # few enough to be searched exactly
    rows, _ = index.recall(queries, 5)
    assert rows.shape == (15, 5)

    for turn in range(3):  # growth and removals, with and without the rows being taken in
        with IndexWriter(tmp_path / "i") as writer:
            add(writer, 40 + 8 * turn, 8, centres, rng)
            writer.commit(removed=[f"{turn:032d}"])
            writer.compact()
        assert index.refresh()
        assert len(index.clips) == 1600 + (turn + 1) * 7 * PER_VIDEO
        assert overlap(index, queries, 20) >= 0.97
    assert 1600 < index._head.indexed_rows <= len(index.clips)


def test_unfinished_videos_are_not_answered(tmp_path, small_thresholds):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, DIM))
    meta = replace(meta_of("video"), recall_dim=DIM)
    with IndexWriter(tmp_path / "i", meta) as writer:
        add(writer, 0, 30, centres, rng)
        half_done = clips_of(writer, "f" * 32, (1,) * PER_VIDEO, 9)
        writer.commit(half_done)
        writer.compact()
        index = Index.open(tmp_path / "i")
        assert len(index.clips) == 30 * PER_VIDEO and index._head.indexed_rows == 31 * PER_VIDEO
        query = half_done[0].tokens.recall  # nothing is nearer to it than itself
        rows, _ = index.recall(query, 10)
        assert rows.max() < len(index.clips)
        queries = [clip.tokens.recall for clip in half_done[:12]]
        assert overlap(index, queries, 20) >= 0.97
