"""Searching a gallery by bytes and cells: the answers of a plain product, filtered or not."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.index import cache as cache_module
from finecut.index import cells, codes, gallery, gallery_files
from finecut.index.cells import Cells, by_cell, cells_of, centres_of
from finecut.index.codes import coded
from finecut.index.gallery import Gallery
from finecut.index.recall import exact_scores, top_rows
from finecut.index.store import Index
from finecut.index.table_reader import TableReader
from finecut.index.writer import IndexWriter
from index.stored import clips_of, meta_of, row_of

DIM = 48


def made(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Unit vectors around some centres, all on one side as those of real models are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, n // 60), dim)) + 1.0
    vectors = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def asked(vectors: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Queries near some of the vectors, but all moved to one side, as sentences are of pictures."""
    rng = np.random.default_rng(seed)
    dim = vectors.shape[1]
    near = vectors[rng.integers(0, len(vectors), n)] + 0.4 * rng.normal(size=(n, dim)) / dim**0.5
    moved = near + 0.5 * np.eye(dim)[0]
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def plain(query, vectors, k, allowed=None):
    """Every product in float64, sorted."""
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    rows = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    best = rows[np.lexsort((rows, -scores[rows]))][:k]
    return best, scores[best]


def same(found, wanted):
    assert found[0].tolist() == wanted[0].tolist()
    np.testing.assert_array_equal(found[1], wanted[1])  # to the last bit


# -- exact ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 60),
    st.integers(0, 5),
    st.sampled_from([None, 0.0, 0.02, 0.5, 1.0]),
    st.sampled_from([1, 8, 37]),
)
def test_bytes_choose_what_a_plain_product_would(n, k, seed, share, dim):
    rng = np.random.default_rng(seed)
    vectors = made(n, seed, dim) * rng.choice([1.0, 3.0], (n, 1)).astype(np.float32)
    vectors[rng.random(n) < 0.1] = vectors[0]  # ties
    query = rng.normal(size=dim).astype(np.float32)
    allowed = None if share is None else rng.random(n) < share
    same(Gallery(vectors, coded(vectors)).top(query, k, allowed), plain(query, vectors, k, allowed))
    rows, scores = top_rows(query[None], vectors, k, allowed)
    same((rows[0], scores[0]), plain(query, vectors, k, allowed))


def test_neither_block_sizes_nor_other_queries_change_an_answer(monkeypatch):
    vectors, queries = made(3000), made(7, 1)
    whole = top_rows(queries, vectors, 40)
    from finecut.index import recall

    monkeypatch.setattr(recall, "BLOCK_ROWS", 130)
    monkeypatch.setattr(recall, "SCORED_ROWS", 7)
    for place, query in enumerate(queries):
        rows, scores = top_rows(query[None], vectors, 40)
        same((rows[0], scores[0]), (whole[0][place], whole[1][place]))
        same((rows[0], scores[0]), plain(query, vectors, 40))


@pytest.mark.parametrize("case", ["zeros", "equal", "one outlier", "tiny", "huge", "zero query"])
def test_awkward_galleries_are_searched_exactly(case):
    vectors, query = made(2000), made(1, 1)[0]
    if case == "zeros":
        vectors[:] = 0.0
    elif case == "equal":
        vectors[:] = vectors[0]
    elif case == "one outlier":
        vectors[77] *= 1e6
    elif case == "tiny":
        vectors *= 1e-30
    elif case == "huge":
        vectors *= 1e15
    else:
        query = np.zeros_like(query)
    same(Gallery(vectors, coded(vectors)).top(query, 25), plain(query, vectors, 25))


def test_no_product_by_bytes_is_off_by_more_than_its_margin():
    vectors = made(5000)
    kept = coded(vectors)
    for query in made(20, 2):
        products, margin = kept.products(query)
        truth = vectors.astype(np.float64) @ query.astype(np.float64)
        off = np.abs(products - truth)
        assert (off <= margin).all()
        assert margin.max() < 0.02  # and the bound is worth something
        few, own = kept.products(query, np.array([3, 4999]))
        np.testing.assert_allclose(few, products[[3, 4999]], rtol=1e-6)
        np.testing.assert_allclose(own, margin[[3, 4999]], rtol=1e-6)


# -- cells ----------------------------------------------------------------------------------------


def celled(vectors) -> Gallery:
    centres = centres_of(vectors)
    kept, own = coded(vectors), cells_of(vectors, centres)
    order, starts = by_cell(own, len(centres))
    n_packed = len(vectors) * 9 // 10  # the others came later
    packed_order, packed_starts = by_cell(own[:n_packed], len(centres))
    packed = kept.code[packed_order]
    return Gallery(vectors, kept, Cells(centres, order, starts, packed, packed_starts))


def test_every_clip_is_in_the_cell_of_its_nearest_centre():
    vectors = made(3000)
    own = celled(vectors).cells
    assert sorted(own.order.tolist()) == list(range(3000))
    distances = np.linalg.norm(vectors[:, None] - own.centres[None], axis=2)
    for cell, (first, last) in enumerate(zip(own.starts[:-1], own.starts[1:], strict=True)):
        rows = own.order[first:last]
        assert (np.diff(rows) > 0).all()
        np.testing.assert_allclose(distances[rows, cell], distances[rows].min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(own.centres, celled(vectors).cells.centres)  # seeded


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(1, 4000), st.sampled_from([None, 0.003, 0.1, 0.6, 1.0]))
def test_cells_are_looked_into_until_enough_allowed_clips_were_seen(seed, least, share):
    query = made(1, seed + 9)[0]
    rng = np.random.default_rng(seed)
    allowed = None if share is None else rng.random(2000) < share
    count = 2000 if allowed is None else int(allowed.sum())
    rows = celled_2000().rows(query, least, allowed)
    assert len(rows) >= min(least, count) and len(set(rows.tolist())) == len(rows)
    assert allowed is None or allowed[rows].all()
    assert (np.diff(rows) > 0).all()
    if least >= count:
        assert len(rows) == count
    if allowed is None:
        blocks, packed, rest = celled_2000().blocks(query, least)
        assert sorted([*packed.tolist(), *rest.tolist()]) == rows.tolist()
        code = coded(made(2000)).code
        np.testing.assert_array_equal(np.concatenate([code[:0], *blocks]), code[packed])


@cache
def celled_2000() -> Cells:
    found = celled(made(2000)).cells
    assert found is not None
    return found


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02, 0.001])
def test_a_filter_costs_no_recall(monkeypatch, share):
    """Of 20,000 clips 2,500 are looked at, whatever the filter."""
    monkeypatch.setattr(gallery, "LOOKED_ROWS", 2500)
    searched = celled_20000()
    vectors = searched.recall
    allowed = np.random.default_rng(5).random(20_000) < share
    found = []
    for query in asked(vectors, 40, 6):
        rows, scores = searched.top(query, 50, allowed)
        exact = plain(query, vectors, 50, allowed)
        assert allowed[rows].all() and len(rows) == len(exact[0])
        np.testing.assert_array_equal(scores, exact_scores(query, vectors, rows))
        assert (np.diff(scores) <= 0).all()
        found.append(len(set(rows.tolist()) & set(exact[0].tolist())) / max(1, len(exact[0])))
        if allowed.sum() <= 2500:
            same((rows, scores), exact)
    assert np.mean(found) >= 0.95


@cache
def celled_20000() -> Gallery:
    return celled(made(20_000))


# -- in an index ----------------------------------------------------------------------------------

PER_VIDEO = 40


def add(writer: IndexWriter, first: int, count: int) -> None:
    """Commit videos of forty clips each."""
    for number in range(first, first + count):
        clips = clips_of(writer, f"{number:032d}", (1,) * PER_VIDEO, number)
        vectors = made(PER_VIDEO, number)
        clips = [
            replace(clip, tokens=replace(clip.tokens, recall=vector))
            for clip, vector in zip(clips, vectors, strict=True)
        ]
        writer.commit(clips, [row_of(f"{number:032d}", writer.build, PER_VIDEO)])


@pytest.fixture
def small_thresholds(monkeypatch):
    """Codes from 200 clips, cells from 400; 150 clips are looked at."""
    monkeypatch.setattr(gallery_files, "CODED_ROWS", 200)
    for module in (gallery_files, gallery):
        monkeypatch.setattr(module, "EXACT_ROWS", 400)
        monkeypatch.setattr(module, "LOOKED_ROWS", 150)
    monkeypatch.setattr(cache_module, "EXACT_ROWS", 400)


META = replace(meta_of("video"), recall_dim=DIM)
PATIENT = cells.TRAINED_ROWS * 10**6  # as many texts as the end of a run has time for


def check(index: Index, share: float = 1.0) -> float:
    """Recall of 20 against a plain product, over queries with and without a filter."""
    rng, found = np.random.default_rng(3), []
    matrix = np.array(index.recall_matrix())
    for query in asked(matrix, 12, 4):
        for allowed in (None, rng.random(len(matrix)) < share):
            rows, scores = index.recall(query, 20, allowed)
            exact = plain(query, matrix, 20, allowed)
            np.testing.assert_array_equal(scores, exact_scores(query, matrix, rows))
            assert allowed is None or allowed[rows].all()
            found.append(len(set(rows.tolist()) & set(exact[0].tolist())) / len(exact[0]))
    return float(np.mean(found))


def test_an_index_grows_through_codes_to_cells(tmp_path, small_thresholds):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 4)
        index = Index.open(tmp_path / "i")
        assert index._snapshot.gallery is None and check(index) == 1.0
        add(writer, 4, 5)
        assert index.refresh()
        assert index._snapshot.gallery.cells is None and check(index, 0.5) == 1.0
        add(writer, 9, 6)
        assert index.refresh()  # in a hurry: no cells, every clip is looked at
        assert index._snapshot.gallery.cells is None and check(index, 0.5) == 1.0
        patient = Index.open(tmp_path / "i", most_texts=PATIENT)
        assert patient._snapshot.gallery.cells is not None
        assert check(patient, 0.5) >= 0.95
        assert Index.open(tmp_path / "i")._snapshot.gallery.cells is not None


def test_twenty_rounds_of_growth_and_removal_keep_recall(tmp_path, small_thresholds):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 15)
        index = Index.open(tmp_path / "i", most_texts=PATIENT)
        kept = []
        for turn in range(20):
            add(writer, 15 + 2 * turn, 2)
            writer.commit(removed=[f"{turn:032d}"])
            if turn % 4 == 3:
                index = Index.open(tmp_path / "i", most_texts=PATIENT)
            else:
                assert index.refresh()
            assert len(index.clips) == (15 + turn + 1) * PER_VIDEO
            kept.append(check(index, 0.4))
        assert min(kept) >= 0.9 and np.mean(kept[-5:]) >= 0.95


def test_new_clips_are_put_into_the_cells_there_are_until_there_are_twice_as_many(
    tmp_path, small_thresholds
):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 15)
        first = Index.open(tmp_path / "i", most_texts=PATIENT)._snapshot.gallery.cells
        add(writer, 15, 10)
        grown = Index.open(tmp_path / "i", most_texts=PATIENT)._snapshot.gallery.cells
        np.testing.assert_array_equal(grown.centres, first.centres)
        assert len(grown.order) == 25 * PER_VIDEO
        add(writer, 25, 6)
        anew = Index.open(tmp_path / "i", most_texts=PATIENT)._snapshot.gallery.cells
        assert len(anew.centres) > len(first.centres)


HARMS = [
    *((name, harm) for name in ("code.bin", "code_scale.bin") for harm in ("gone", "short")),
    *((name, harm) for name in ("order", "starts", "mean") for harm in ("short", "garbage")),
    *(("pack-*.npy", harm) for harm in ("gone", "garbage")),
    ("pack-*.bin", "short"),
]


@pytest.mark.parametrize(("name", "harm"), HARMS)
def test_damaged_files_are_made_anew(tmp_path, small_thresholds, name, harm):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 15)
    before = Index.open(tmp_path / "i", most_texts=PATIENT)
    (path,) = before._cache.folder.glob(f"*/*{name}*")
    if harm == "gone":
        path.unlink()
    elif harm == "short":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.write_bytes(np.random.default_rng(0).bytes(len(path.read_bytes())))
    index = Index.open(tmp_path / "i", most_texts=PATIENT)
    assert index._snapshot.gallery.cells is not None
    assert check(index, 0.5) >= 0.95


@pytest.mark.parametrize("removal", [False, True])
@pytest.mark.parametrize("stage", ["encoded", "cells_of", "by_cell", "carry_gallery", "write_json"])
def test_a_writer_cut_off_leaves_the_cache_as_it_was(
    tmp_path, small_thresholds, monkeypatch, stage, removal
):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 15)
        Index.open(tmp_path / "i", most_texts=PATIENT)
        add(writer, 15, 3)
        if removal:
            writer.commit(removed=[f"{4:032d}"])
    cut = []

    def killed(*args, **kwargs):
        cut.append(stage)
        raise KeyboardInterrupt  # nothing after this point happens, as after kill -9

    with monkeypatch.context() as patch:
        for module in (cache_module, gallery_files):
            if hasattr(module, stage):
                patch.setattr(module, stage, killed)
        with suppress(KeyboardInterrupt):
            Index.open(tmp_path / "i")
    assert cut or (stage == "carry_gallery" and not removal)
    index = Index.open(tmp_path / "i")
    assert len(index.clips) == (17 if removal else 18) * PER_VIDEO
    assert index._snapshot.gallery.cells is not None
    assert check(index, 0.5) >= 0.95


def test_a_reader_is_not_disturbed_by_what_a_writer_does(tmp_path, small_thresholds):
    with IndexWriter(tmp_path / "i", META) as writer:
        add(writer, 0, 15)
        reader = Index.open(tmp_path / "i", most_texts=PATIENT)
        queries = asked(np.array(reader.recall_matrix()), 30, 8)
        before = [reader.recall(query, 20) for query in queries]
        stop = threading.Event()
        wrong: list[int] = []

        def read() -> None:
            while not stop.is_set():
                for place, query in enumerate(queries):
                    rows, scores = reader.recall(query, 20)
                    if not (
                        np.array_equal(rows, before[place][0])
                        and np.array_equal(scores, before[place][1])
                    ):
                        wrong.append(place)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(4):
            add(writer, 15 + turn, 1)
            writer.commit(removed=[f"{turn:032d}"])
            Index.open(tmp_path / "i", most_texts=PATIENT)  # the cache moves on
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert reader.refresh() and check(reader, 0.5) >= 0.95


def test_a_cell_that_outgrows_the_others_makes_the_cells_be_found_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_files, "CODED_ROWS", 100)
    monkeypatch.setattr(gallery_files, "EXACT_ROWS", 300)
    monkeypatch.setattr(gallery_files, "LOOKED_ROWS", 50)
    first = made(1000)
    about = gallery_files.save_gallery(tmp_path, 1, first, None, patient=True)
    same_place = np.concatenate([first, np.repeat(first[:1], 900, axis=0)])
    grown = gallery_files.save_gallery(tmp_path, 2, same_place, about, patient=True)
    assert grown["lopsided"] and grown["cells"] == about["cells"]
    more = np.concatenate([same_place, first[:1]])
    anew = gallery_files.save_gallery(tmp_path, 3, more, grown, patient=True)
    assert anew["cells"] != about["cells"] and anew["trained"] == 1901
    assert not anew["lopsided"]  # it is what these clips are like: no further search mends it
    json.dumps(anew)


def test_codes_of_a_grown_gallery_are_those_of_one_made_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_files, "CODED_ROWS", 100)
    vectors = made(900)
    (tmp_path / "a").mkdir()
    about = None
    for number, size in enumerate((50, 300, 301, 900)):
        about = gallery_files.save_gallery(
            tmp_path / "a", number, vectors[:size], about, patient=False
        )
    grown = gallery_files.load_gallery(tmp_path / "a", 3, vectors, about).codes
    once = list(codes.encoded(vectors, grown.mean))
    np.testing.assert_array_equal(grown.code, np.concatenate([part[0] for part in once]))
    np.testing.assert_array_equal(grown.error, np.concatenate([part[2] for part in once]))
    assert grown.longest == pytest.approx(max(part[3] for part in once))


def test_what_a_removal_leaves_is_copied_not_read_again(tmp_path, small_thresholds, monkeypatch):
    """Vectors, tokens, codes and cells of the clips that stay come from the cache."""
    meta = replace(meta_of("patch"), recall_dim=DIM)
    with IndexWriter(tmp_path / "i", meta) as writer:
        for number in range(8):
            lengths = [1 + (number + turn) % 4 for turn in range(80)]
            clips = clips_of(writer, f"{number:032d}", lengths, number)
            writer.commit(clips, [row_of(f"{number:032d}", writer.build, 80)])
        before = Index.open(tmp_path / "i", most_texts=PATIENT)
        centres = before._snapshot.gallery.cells.centres
        writer.commit(removed=[f"{2:032d}", f"{5:032d}"])
        clips = clips_of(writer, f"{9:032d}", [2, 4], 9)
        writer.commit(clips, [row_of(f"{9:032d}", writer.build, 2)])
    read: list[int] = []
    whole = TableReader.recall

    def counted(self, first, last):
        read.extend(range(first, last))
        return whole(self, first, last)

    monkeypatch.setattr(TableReader, "recall", counted)
    index = Index.open(tmp_path / "i")
    assert read == [480, 481]
    kept = Path(index._cache.folder)
    shutil.rmtree(kept)
    fresh = Index.open(tmp_path / "i", most_texts=PATIENT)  # from the tables alone
    np.testing.assert_array_equal(index.recall_matrix(), fresh.recall_matrix())
    np.testing.assert_array_equal(index.clips.clip_id, fresh.clips.clip_id)
    for rows in ([0, 79, 160, 481], [240, 480]):
        ours, theirs = index.tokens(rows), fresh.tokens(rows)
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.times, theirs.times)
        np.testing.assert_array_equal(ours.frame_scale, theirs.frame_scale)
        for one, other in zip(ours.patches.parts, theirs.patches.parts, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(index._snapshot.gallery.cells.centres, centres)
    assert check(index, 0.5) >= 0.95
