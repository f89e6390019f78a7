"""Fewer candidates looked at, the same first k; nothing left out where that is not shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from color_bundle import COLORS, make_color_bundle
from finecut.bundle.load import Bundle
from finecut.bundle.write import write_bundle
from finecut.index.meta import IndexMeta
from finecut.index.store import Index
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.search import depth as depth_module
from finecut.search.candidates import find_candidates
from finecut.search.depth import Depth, Depths, fit_depth, settle
from finecut.search.engine import Searcher
from finecut.types import DecodedClip, VideoTokens
from index.stored import row_of


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_errors_within_the_margin_never_change_the_first_k(count, k, noise, seed):
    rng = np.random.default_rng(seed)
    predicted = rng.normal(size=count)
    errors = noise * rng.uniform(-1, 1, count)
    true = (predicted + 3.0 + errors).astype(np.float32)
    asked: list[int] = []

    def look(places):
        asked.extend(places.tolist())
        return true[places]

    # An error is at most `noise`, and the shift is wrong by at most `noise`.
    scores, looked = settle(predicted, 2 * noise + 1e-5, k, look)
    assert len(asked) == len(set(asked)) == looked.sum() and looked[asked].all()
    first = np.argsort(-scores, kind="stable")[:k]
    assert first.tolist() == np.argsort(-true, kind="stable")[:k].tolist()
    assert (scores[looked] == true[looked]).all() and looked[first].all()


def test_a_wide_margin_looks_at_everything_and_none_at_k():
    predicted = np.linspace(1, 0, 50)
    everything = settle(predicted, 10.0, 10, lambda at: predicted[at].astype(np.float32))[1]
    assert everything.all()
    few = settle(predicted, 0.0, 10, lambda at: predicted[at].astype(np.float32))[1]
    assert few.sum() <= 11


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """Colours with a bank of some size: pairs of them."""
    place = tmp_path_factory.mktemp("bundle")
    source = Bundle.load(make_color_bundle(place / "source"))
    fields = source.manifest.model_dump(exclude={"schema_version", "fingerprint", "files"})
    files: dict = {name: source.files.read(name) for name in source.files.entries}
    sentences = [f"{a} and {b}" for a in COLORS for b in COLORS if a != b]
    files["query_bank.json"] = json.dumps(sentences).encode()
    write_bundle(place / "b", fields, files)
    return Bundle.load(place / "b")


def make_index(place: Path, bundle: Bundle, *, noise: float, clips: int = 120, alike=False) -> Path:
    """Clips of random colours, or nearly all of one; patches are their frame's and some noise."""
    rng = np.random.default_rng(1)
    dim = bundle.manifest.video.embed_dim
    meta = IndexMeta.of_bundle(bundle.manifest, bundle.ref, "patch", 0.0)

    def unit(array):
        return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)

    with IndexWriter(place, meta) as writer:
        stored, rows = [], []
        for number, clip_id in enumerate(writer.take_clip_ids(clips)):
            frames = unit(1 + 0.01 * rng.random((3, dim)) if alike else rng.random((3, dim)) ** 3)
            shape = (3, bundle.manifest.video.n_patches, dim)
            patches = unit(frames[:, None] + noise * rng.normal(size=shape) / np.sqrt(dim))
            tokens = VideoTokens(unit(frames.mean(0)), frames, patches)
            clip = DecodedClip(
                0, 0.0, 3.0, np.zeros((3, 1, 1, 3), np.uint8), np.arange(3.0), b"x", 8, 8
            )
            video = place.with_name(f"{number}.mp4")
            video.touch()
            stored.append(EncodedClip(clip_id, f"{number:032x}", writer.build, clip, tokens))
            rows.append(row_of(f"{number:032x}", writer.build, 1, paths=[str(video)]))
        writer.commit(stored, rows)
    return place


@pytest.fixture(scope="module")
def smooth(tmp_path_factory, bundle) -> Path:
    return make_index(tmp_path_factory.mktemp("smooth") / "i", bundle, noise=0.05)


def test_measured_depth_gives_the_same_first_ten_for_less(smooth, bundle):
    index = Index.open(smooth)
    depth = fit_depth(bundle, index)
    assert depth is not None
    looked = []
    for a in COLORS:
        query = bundle.encode_text([f"{a} screen"])[0]
        full = find_candidates(bundle, index, query, 50)
        some = find_candidates(bundle, index, query, 50, k=10, depth=depth)
        assert some.rows[:10].tolist() == full.rows[:10].tolist()
        np.testing.assert_allclose(some.rerank_scores[:10], full.rerank_scores[:10], atol=1e-5)
        places = {row: i for i, row in enumerate(full.rows.tolist())}
        assert set(places) == set(some.rows.tolist())
        for hit, row in zip(some.hits, some.rows.tolist(), strict=True):
            np.testing.assert_allclose(hit.relevance, full.hits[places[row]].relevance, atol=1e-5)
        own = full.rerank_scores[[places[row] for row in some.rows.tolist()]]
        looked.append(int(np.isclose(own, some.rerank_scores, atol=1e-6).sum()))
    assert np.mean(looked) < 40  # of 50


def test_where_patches_say_something_else_everything_is_looked_at(tmp_path, bundle):
    index = Index.open(make_index(tmp_path / "i", bundle, noise=3.0, alike=True))
    assert fit_depth(bundle, index) is None


def test_a_bundle_without_a_bank_or_a_small_index_has_no_depth(tmp_path, bundle):
    bare = Bundle.load(make_color_bundle(tmp_path / "b", calibration=False))
    index = Index.open(make_index(tmp_path / "i", bundle, noise=0.05, clips=15))
    assert fit_depth(bundle, index) is None
    assert fit_depth(bare, Index.open(make_index(tmp_path / "j", bare, noise=0.05))) is None


def test_the_measurement_is_kept_and_used_by_the_next_searcher(smooth, bundle, monkeypatch):
    plain = Searcher.open(smooth, bundle=bundle).search("red and blue", evidence=False)
    monkeypatch.setattr(depth_module, "WORTH_BYTES", 1)
    depths = Depths(bundle, Index.open(smooth))
    assert depths.of("text", 10) is None  # nothing is measured by asking
    searcher = Searcher.open(smooth, bundle=bundle)
    searcher.measure_depth()
    again = Depths(bundle, Index.open(smooth))
    found = again.of("text", 10)
    assert isinstance(found, Depth) and again.of("image", 10) is None
    assert again.of("text", 11) is None and again.of("text", 10, 51) is None
    monkeypatch.setattr(depth_module, "fit_depth", None)  # it is kept: not measured again
    assert again.measure() == found
    calls = []
    original = depth_module.settle
    monkeypatch.setattr(
        "finecut.search.candidates.settle",
        lambda *given: calls.append(1) or original(*given),
    )
    quick = Searcher.open(smooth, bundle=bundle).search("red and blue", evidence=False)
    assert calls
    assert [m.video_id for m in quick] == [m.video_id for m in plain]
    for one, other in zip(quick, plain, strict=True):
        assert (one.start_s, one.end_s, one.best_s) == (other.start_s, other.end_s, other.best_s)
        assert one.score == pytest.approx(other.score, abs=1e-5)


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"clips": 0, "depth": null}', '{"clips": 120, "depth": {"weights": [1]}}',
               '{"clips": 120, "depth": {"weights": [NaN, 1, 1], "margin": 1}}', "[1]"]
)  # fmt: skip
def test_a_damaged_file_is_as_none(smooth, bundle, monkeypatch, damage):
    monkeypatch.setattr(depth_module, "WORTH_BYTES", 1)
    depths = Depths(bundle, Index.open(smooth))
    depths._path.parent.mkdir(exist_ok=True)
    depths._path.write_text(damage)
    assert Depths(bundle, Index.open(smooth)).of("text", 10) is None
    assert depths.measure() is not None


def test_files_that_are_gone_are_made_up_for_from_below(tmp_path, bundle, monkeypatch):
    """The answer is the one without a depth when the first ones may not be shown."""
    place = make_index(tmp_path / "i", bundle, noise=0.05)
    before = Searcher.open(place, bundle=bundle).search("green and red", evidence=False)
    for moment in before[:8]:
        Path(moment.video).unlink()
    plain = Searcher.open(place, bundle=bundle).search("green and red", evidence=False)
    monkeypatch.setattr(depth_module, "WORTH_BYTES", 1)
    searcher = Searcher.open(place, bundle=bundle)
    assert searcher.measure_depth()
    quick = searcher.search("green and red", evidence=False)
    assert [m.video_id for m in quick] == [m.video_id for m in plain] and len(quick) == 10
