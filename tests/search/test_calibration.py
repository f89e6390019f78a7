"""Confidence: against plain loops, bounded, kept beside the index, and fitted right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finecut.bundle.load import Bundle
from finecut.bundle.manifest import Calibration
from finecut.errors import ShapeError
from finecut.index.store import Index
from finecut.search.calibrate import fit_calibration
from finecut.search.calibration import bank_background, confidence, gallery_background, measure
from finecut.search.engine import Searcher
from search.library import make_library

PLAIN = Calibration(slope=2.0, intercept=-1.0, threshold=0.5)


def kept_files(index: Index) -> list[Path]:
    return sorted(index.cache_folder.glob("background-*.npy"))


def test_measure_is_its_plain_loop():
    made = np.random.default_rng(0)
    bank = made.normal(size=(30, 8)).astype(np.float32)
    gallery = made.normal(size=(70, 8)).astype(np.float32)
    found = measure(bank, gallery)
    variances = []
    for row in range(70):
        scores = [float(gallery[row] @ query) for query in bank]
        assert np.isclose(found.mean[row], np.mean(scores), atol=1e-5)
        variances.append(np.var(scores))
    assert np.allclose(found.sd**2, (np.array(variances) + np.mean(variances)) / 2, atol=1e-5)


def test_a_clip_the_bank_does_not_see_makes_no_score_extreme():
    bank = np.eye(3, dtype=np.float32)
    gallery = np.concatenate([np.eye(3), np.zeros((1, 3))]).astype(np.float32)
    found = measure(bank, gallery)
    assert found.sd[3] > 0.5 * np.median(found.sd)
    assert np.isfinite(found.z(np.array([3]), np.array([0.1], np.float32))).all()


def test_the_background_of_no_clip():
    assert measure(np.ones((3, 4), np.float32), np.zeros((0, 4), np.float32)).mean.shape == (0,)


def test_confidence_is_a_rising_logistic():
    z = np.linspace(-1e6, 1e6, 101)
    sure = confidence(z, 10, PLAIN)
    assert ((sure >= 0) & (sure <= 1)).all() and (np.diff(sure) >= 0).all()
    assert np.isclose(confidence(np.array([0.5]), 10, PLAIN)[0], 0.5)


def test_a_larger_gallery_asks_for_more():
    strict = Calibration(slope=2.0, gallery_slope=0.9, intercept=-1.0, threshold=0.5)
    sure = [float(confidence(np.array([2.0]), size, strict)[0]) for size in (0, 1, 3, 1000)]
    assert sure[0] == sure[1] > sure[2] > sure[3]


def test_confidence_hardly_depends_on_the_rest_of_the_library(bundle: Bundle, tmp_path: Path):
    small = {"a.mp4": [["red"]], "b.mp4": [["blue"]]}
    large = {**small, **{f"{i}.mp4": [["gray", "black"]] for i in range(9)}}
    found = [
        Searcher.open(make_library(tmp_path / str(len(videos)), videos, bundle), bundle=bundle)
        .search("red", k=1)[0]
        .confidence
        for videos in (small, large)
    ]
    assert abs(found[0] - found[1]) < 0.05


def test_the_background_is_kept_and_used(bundle: Bundle, tmp_path: Path):
    index = Index.open(make_library(tmp_path, {"a.mp4": [["red"]]}, bundle))
    first = bank_background(bundle, index)
    (kept,) = kept_files(index)
    np.save(kept, np.array([[7.0], [9.0]], np.float32))
    again = bank_background(bundle, index)
    assert first is not None and again is not None and again.mean[0] == 7.0


@pytest.mark.parametrize(
    "data",
    [b"", b"no", np.zeros((2, 3), np.float32), np.zeros((2, 1)), np.full((2, 1), np.nan, "f4")],
)
def test_a_kept_background_that_is_broken_is_made_anew(bundle: Bundle, tmp_path: Path, data):
    index = Index.open(make_library(tmp_path, {"a.mp4": [["red"]]}, bundle))
    first = bank_background(bundle, index)
    (kept,) = kept_files(index)
    if isinstance(data, bytes):
        kept.write_bytes(data)
    else:
        np.save(kept, data)
    again = bank_background(bundle, index)
    assert first is not None and again is not None and (first.mean == again.mean).all()


def test_the_kept_background_follows_the_index(bundle: Bundle, tmp_path: Path):
    import shutil

    one = make_library(tmp_path / "a", {"a.mp4": [["red"]]}, bundle)
    bank_background(bundle, Index.open(one))
    before = kept_files(Index.open(one))
    other = make_library(tmp_path / "b", {"a.mp4": [["blue"]]}, bundle)
    for entry in other.iterdir():
        target = one / entry.name
        if entry.is_dir() and entry.name != "cache":
            shutil.rmtree(target)
            shutil.copytree(entry, target)
        elif entry.suffix == ".json":
            shutil.copy(entry, target)
    index = Index.open(one)
    bank_background(bundle, index)
    assert len(kept_files(index)) == 1 and kept_files(index) != before


def test_a_place_that_cannot_be_written_is_searched_all_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = Index.open(make_library(tmp_path, {"a.mp4": [["red"]]}, bundle))

    def refuse(*_args, **_options):
        raise PermissionError("read-only")

    monkeypatch.setattr("finecut.search.calibration.os.replace", refuse)
    assert bank_background(bundle, index) is not None
    assert kept_files(index) == []


def test_images_are_measured_against_the_index_itself(bundle: Bundle, tmp_path: Path):
    videos = {f"{color}.mp4": [[color]] for color in ("red", "blue", "green", "white")}
    index = Index.open(make_library(tmp_path, videos, bundle))
    found = gallery_background(bundle, index)
    assert found is not None and np.allclose(found.mean, 0.25, atol=0.05)
    single = Index.open(make_library(tmp_path / "one", {"a.mp4": [["red"]]}, bundle))
    assert gallery_background(bundle, single) is None


# -- fitting ------------------------------------------------------------------------------------


def world(seed: int, strength: float):
    """Clips and queries in 32 dimensions; a matching query leans towards its clip."""
    made = np.random.default_rng(seed)

    def unit(array: np.ndarray) -> np.ndarray:
        return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)

    gallery = unit(made.normal(size=(200, 32)))
    match = made.integers(0, 200, 150)
    matched = unit(strength * gallery[match] + unit(made.normal(size=(150, 32))))
    return (
        unit(made.normal(size=(300, 32))),
        gallery,
        matched,
        match,
        unit(made.normal(size=(150, 32))),
    )


def test_a_fit_tells_matches_from_others_at_any_size():
    bank, gallery, matched, match, unmatched = world(0, 1.5)
    fit = fit_calibration(bank, gallery, matched, match, unmatched)
    assert fit.kept > 0.95 and fit.refused > 0.95
    assert 0 <= fit.threshold <= 1 and fit.slope > 0 and fit.gallery_slope > 0
    calibration = Calibration(
        slope=fit.slope,
        gallery_slope=fit.gallery_slope,
        intercept=fit.intercept,
        threshold=fit.threshold,
    )
    background = measure(bank, gallery)
    for size in (5, 50, 200):
        z = ((unmatched @ gallery.T - background.mean) / background.sd)[:, :size].max(axis=1)
        assert (confidence(z, size, calibration) < fit.threshold).mean() > 0.85


def test_a_fit_of_nothing_but_chance_stays_finite():
    fit = fit_calibration(*world(1, 0.0))
    assert all(np.isfinite([fit.slope, fit.intercept, fit.threshold]))
    assert 0.3 < fit.kept < 0.7


def test_a_fit_is_the_same_for_the_same_seed():
    assert fit_calibration(*world(2, 1.0), seed=3) == fit_calibration(*world(2, 1.0), seed=3)


def test_a_fit_needs_both_kinds():
    bank, gallery, matched, match, unmatched = world(0, 1.0)
    with pytest.raises(ShapeError, match="queries without one"):
        fit_calibration(bank, gallery, matched, match, unmatched[:0])
    with pytest.raises(ShapeError, match="200 clips, 150 and 3"):
        fit_calibration(bank, gallery, matched, match[:3], unmatched)


def test_the_sentences_to_calibrate_with(bundle: Bundle):
    from finecut.bundle.tokens import clean_query
    from finecut.search.calibration_queries import ordinary_queries, unlikely_queries

    bank, unlikely = ordinary_queries(), unlikely_queries()
    assert len(bank) == len(set(bank)) == 480 and len(set(unlikely)) == len(unlikely) >= 50
    assert not set(bank) & set(unlikely)
    assert all(clean_query(sentence) == sentence for sentence in bank + unlikely)
    assert ordinary_queries(100, seed=1) != ordinary_queries(100)
