"""The small parts: names of contents, quantisation, exact recall, place, lock, marks of a path."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finecut.errors import IndexLocked, ShapeError
from finecut.index import recall
from finecut.index.content import BLOCK_BYTES, BLOCKS, WHOLE_BYTES, content_id, path_id
from finecut.index.lock import FileLock
from finecut.index.place import default_index
from finecut.index.quantise import dequantise, quantise
from finecut.index.recall import top_rows
from finecut.index.scan import looks_like_video

FINITE = st.floats(-1e6, 1e6, width=32)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=FINITE)
)
def test_a_stored_token_is_within_half_a_step(tokens):
    values, scale = quantise(tokens)
    assert values.dtype == np.int8 and values.min() >= -127 and scale.dtype == np.float32
    error = np.abs(dequantise(values, scale) - tokens)
    assert (error <= scale[..., None] * 0.501 + 1e-30).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_tokens_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ShapeError, match="NaN"):
        quantise(np.array([[0.0, bad]], np.float32))


def plain_top(queries, gallery, k, allowed):
    """One query, one row at a time."""
    rows = [row for row in range(len(gallery)) if allowed is None or allowed[row]]
    answer = []
    for query in queries:
        scored = [(-float(np.float32(query @ gallery[row])), row) for row in rows]
        answer.append([row for _, row in sorted(scored)[:k]])
    return np.array(answer, np.int64).reshape(len(queries), -1)


@settings(max_examples=60, deadline=None)
@given(
    # Whole numbers, so that products are exact however they are blocked, and ties are common.
    gallery=hnp.arrays(
        np.float32, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(-2, 2)
    ),
    queries=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 3), st.just(3)), elements=st.integers(-2, 2)
    ),
    k=st.integers(1, 50),
    seed=st.one_of(st.none(), st.integers(0, 9)),
    block=st.sampled_from([1, 3, 7, 1000]),
)
def test_blocked_recall_is_plain_recall(gallery, queries, k, seed, block):
    allowed = None if seed is None else np.random.default_rng(seed).random(len(gallery)) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "BLOCK_ROWS", block)
        rows, scores = top_rows(queries, gallery, k, allowed)
    np.testing.assert_array_equal(rows, plain_top(queries, gallery, k, allowed))
    expected = np.take_along_axis(queries @ gallery.T, rows, axis=1) if rows.size else scores
    np.testing.assert_allclose(scores, expected)


def test_a_content_is_known_by_its_bytes(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for size in (0, 1, 1000, WHOLE_BYTES):
        small.write_bytes(b"x" * size)
        before = content_id(small)
        assert len(before) == 32 and before == content_id(small)
        if size:
            small.write_bytes(b"x" * (size - 1) + b"y")
            assert content_id(small) != before
    data = bytearray(os.urandom(WHOLE_BYTES * 3))
    large.write_bytes(data)
    before = content_id(large)
    step = (len(data) - BLOCK_BYTES) // (BLOCKS - 1)
    for place in (0, step + 5, len(data) - 1):
        data[place] ^= 1
        large.write_bytes(data)
        assert content_id(large) != before
        data[place] ^= 1
    large.write_bytes(data + b"\0")
    assert content_id(large) != before
    assert path_id("/a") != path_id("/b") and len(path_id("/caf\udce9")) == 32


def test_the_place_of_an_index_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FINECUT_INDEX", str(tmp_path / "here"))
    assert default_index().path == tmp_path / "here"
    monkeypatch.delenv("FINECUT_INDEX")
    assert default_index().name == "index" and "finecut" in str(default_index())


def test_a_lock_says_who_holds_it_and_is_free_after(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with lock:
        assert not FileLock(tmp_path / "lock").try_acquire()
        with pytest.raises(IndexLocked, match=f"process {os.getpid()} on"):
            FileLock(tmp_path / "lock").__enter__()
    with FileLock(tmp_path / "lock"):
        pass
    (tmp_path / "lock").write_bytes(b"\xff no note")
    assert FileLock(tmp_path / "lock").holder() == "another process"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.MP4", b"", True),
        ("a.gif", b"", True),
        ("a.txt", b"", False),
        ("mp4", b"", False),
        ("a.ts", b"import x from 'y';\n" * 40, False),
        ("a.ts", (b"G" + b"\0" * 187) * 3, True),
        ("a.ts", b"junk" + (b"G" + b"\0" * 187) * 3, True),
        ("a.ts", b"", True),
    ],
)
def test_videos_are_told_by_their_names_and_streams_by_their_packets(
    tmp_path, name, content, expected
):
    (tmp_path / name).write_bytes(content)
    assert looks_like_video(str(tmp_path / name)) is expected
