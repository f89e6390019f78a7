"""The kernel against plain loops over dequantised tokens; padding changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from color_bundle import DIM, make_color_bundle
from finecut.bundle.load import Bundle
from finecut.errors import IndexMismatch
from finecut.index.quantise import dequantise, quantise
from finecut.index.rows import PatchTokens, StoredTokens
from finecut.search.rerank import (
    frame_gram,
    lacking,
    patch_sims,
    rerank,
    rerank_inputs,
    token_sims,
    word_sims,
)
from finecut.types import TextTokens


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def stored(lengths: list[int], seed: int, *, patches: int = 4, extra: int = 0) -> StoredTokens:
    """Random tokens of clips of these lengths, padded ``extra`` frames beyond the longest."""
    made = np.random.default_rng(seed)
    k, most = len(lengths), max(lengths)
    mask = np.arange(most) < np.array(lengths)[:, None]
    frames, frame_scale = quantise(unit(made.normal(size=(k, most, DIM))))
    patch, patch_scale = quantise(unit(made.normal(size=(k, most, patches, DIM))))
    values, value_scale = quantise(unit(made.normal(size=(k, most, DIM))))

    def pad(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, 0), (0, extra)] + [(0, 0)] * (array.ndim - 2))

    return StoredTokens(
        rows=np.arange(k),
        frame_mask=pad(mask),
        times=pad(np.tile(np.arange(most, dtype=np.float64), (k, 1))),
        frames=pad(frames),
        frame_scale=pad(frame_scale),
        patches=PatchTokens.of_frames(pad(patch), pad(mask)),
        patch_scale=pad(patch_scale),
        frame_values=pad(values),
        value_scale=pad(value_scale),
    )


def query(seed: int, words: int | None = 3) -> TextTokens:
    made = np.random.default_rng(seed)
    return TextTokens(
        recall=unit(made.normal(size=DIM)),
        text=unit(made.normal(size=DIM)),
        words=None if words is None else unit(made.normal(size=(words, DIM))),
    )


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=7)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(lengths, seeds, st.integers(0, 3))
def test_every_kernel_is_its_plain_loop(sizes: list[int], seed: int, extra: int):
    tokens, asked = stored(sizes, seed, extra=extra), query(seed + 1)
    frames = dequantise(tokens.frames, tokens.frame_scale)
    patches = dequantise(tokens.patches.padded(tokens.frame_mask), tokens.patch_scale)
    sims = token_sims(tokens.frames, tokens.frame_scale, tokens.frame_mask, asked.text)
    by_patch = patch_sims(tokens, asked.text)
    words = word_sims(tokens.frames, tokens.frame_scale, tokens.frame_mask, asked.words)
    gram = frame_gram(tokens.frames, tokens.frame_scale, tokens.frame_mask)
    assert sims.dtype == by_patch.dtype == words.dtype == gram.dtype == np.float32
    for k in range(len(sizes)):
        for f in range(tokens.frame_mask.shape[1]):
            real = bool(tokens.frame_mask[k, f])
            assert np.isclose(sims[k, f], real * frames[k, f] @ asked.text, atol=1e-5)
            for p in range(4):
                assert np.isclose(
                    by_patch[k, f, p], real * patches[k, f, p] @ asked.text, atol=1e-5
                )
            for w in range(3):
                assert np.isclose(words[k, w, f], real * frames[k, f] @ asked.words[w], atol=1e-5)
            for g in range(tokens.frame_mask.shape[1]):
                both = real and bool(tokens.frame_mask[k, g])
                assert np.isclose(gram[k, f, g], both * frames[k, f] @ frames[k, g], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(lengths, seeds, st.integers(1, 5))
def test_padding_changes_no_score(bundle: Bundle, sizes: list[int], seed: int, extra: int):
    asked = query(seed + 1)
    recall = np.random.default_rng(seed).normal(size=len(sizes)).astype(np.float32)
    tight, loose = stored(sizes, seed), stored(sizes, seed, extra=extra)
    score, relevance = rerank(bundle, asked, recall, tight)
    score_loose, relevance_loose = rerank(bundle, asked, recall, loose)
    assert np.allclose(score, score_loose, atol=1e-6)
    assert np.allclose(relevance, relevance_loose[:, : max(sizes)], atol=1e-6)


def test_quantised_sims_are_close_to_the_real_ones():
    made = np.random.default_rng(0)
    tokens, text = unit(made.normal(size=(50, 12, 256))), unit(made.normal(size=256))
    values, scale = quantise(tokens)
    sims = token_sims(values, scale, np.ones((50, 12), bool), text)
    assert np.abs(sims - tokens @ text).max() < 0.01


ALL = ["recall_score", "frame_sims", "frame_mask", "frame_value_sims", "frame_gram", "patch_sims"]


def test_each_input_is_made_from_the_right_tokens(tmp_path: Path):
    """Every late input at once, through a graph that takes them all."""
    inputs = [*ALL, "word_frame_sims", "word_mask"]
    bundle = Bundle.load(late_bundle(tmp_path / "b", inputs))
    tokens, asked = stored([2, 5], 3), query(4)
    recall = np.array([0.3, 0.1], np.float32)
    made = rerank_inputs(bundle.manifest, asked, recall, tokens)
    assert set(made) == set(inputs)
    mask = tokens.frame_mask
    assert (made["recall_score"] == recall).all() and (made["frame_mask"] == mask).all()
    assert np.allclose(
        made["frame_value_sims"],
        token_sims(tokens.frame_values, tokens.value_scale, mask, asked.text),
    )
    assert np.allclose(
        made["frame_gram"], frame_gram(tokens.frame_values, tokens.value_scale, mask)
    )
    assert made["word_frame_sims"].shape == (2, 3, 5) and made["word_mask"].tolist() == [True] * 3
    score, relevance = rerank(bundle, asked, recall, tokens)
    assert score.shape == (2,) and relevance.shape == (2, 5)


def late_bundle(place: Path, inputs: list[str]) -> Path:
    """The colour bundle with frame values and a re-ranker that takes these inputs."""
    from color_bundle import late_graph
    from finecut.bundle.write import write_bundle

    source = Bundle.load(make_color_bundle(place.with_name("source"), frame_values=True))
    fields = source.manifest.model_dump(exclude={"schema_version", "fingerprint", "files"})
    fields["rerank"] = {"kind": "late", "inputs": inputs}
    files: dict = {name: source.files.read(name) for name in source.files.entries}
    files["rerank.onnx"] = late_graph(inputs)
    write_bundle(place, fields, files)
    return place


def test_a_cross_reranker_reads_the_tokens(tmp_path: Path):
    bundle = Bundle.load(make_color_bundle(tmp_path / "b", rerank="cross"))
    tokens, asked = stored([2, 5, 1], 3, extra=2), query(4)
    score, _ = rerank(bundle, asked, np.zeros(3, np.float32), tokens)
    sims = dequantise(tokens.frames, tokens.frame_scale) @ asked.text
    assert np.allclose(score, np.where(tokens.frame_mask, sims, -np.inf).max(axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", ["late", "cross"])
def test_an_image_stands_for_its_words(tmp_path: Path, kind):
    bundle = Bundle.load(make_color_bundle(tmp_path / "b", rerank=kind))
    score, _ = rerank(bundle, query(4, words=None), np.zeros(2, np.float32), stored([2, 1], 3))
    assert score.shape == (2,)


def test_levels_that_are_not_stored_are_named(bundle: Bundle):
    full = stored([2], 0)
    bare = StoredTokens(rows=full.rows, frame_mask=full.frame_mask, times=full.times)
    assert lacking(bundle.manifest, full) == []
    assert lacking(bundle.manifest, bare) == ["frame", "patch"]
    with pytest.raises(IndexMismatch, match="needs the level frame and patch"):
        rerank(bundle, query(1), np.zeros(1, np.float32), bare)


def test_a_large_set_in_blocks_is_the_same():
    tokens, asked = stored([8] * 300, 5, patches=16), query(6)
    sims = patch_sims(tokens, asked.text)
    patches = tokens.patches.padded(tokens.frame_mask)
    oracle = dequantise(patches, tokens.patch_scale) @ asked.text
    assert np.allclose(sims, oracle, atol=1e-5)
