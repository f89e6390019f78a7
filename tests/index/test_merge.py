"""Merged patches: directions of what was alike, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.index.merge import merge_patches


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 4),
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
def test_every_token_points_to_the_mean_of_its_patches(frames, count, kept, dim, seed):
    patches = unit(np.random.default_rng(seed).normal(size=(frames, count, dim)))
    tokens, home = merge_patches(patches, kept)
    left = min(kept, count)
    assert tokens.shape == (frames, left, dim) and tokens.dtype == np.float32
    assert home.shape == (frames, count) and home.dtype == np.uint8
    for frame in range(frames):
        assert set(home[frame].tolist()) == set(range(left))  # none is empty
        for token in range(left):
            mean = patches[frame, home[frame] == token].mean(axis=0)
            length = np.linalg.norm(mean)
            if length > 1e-3:  # else any direction is as good
                np.testing.assert_allclose(tokens[frame, token], mean / length, atol=1e-3)


def test_frames_do_not_change_each_other():
    patches = unit(np.random.default_rng(0).normal(size=(5, 49, 16)))
    together = merge_patches(patches, 8)
    for frame in range(5):
        alone = merge_patches(patches[frame : frame + 1], 8)
        np.testing.assert_array_equal(alone[1][0], together[1][frame])
        np.testing.assert_allclose(alone[0][0], together[0][frame], atol=1e-6)


@pytest.mark.parametrize("place", [0, 1, 24, 48])
def test_an_odd_patch_among_alike_ones_keeps_its_own_token(place):
    """A small thing before one sky: averaging a grid would drown it."""
    rng = np.random.default_rng(place)
    sky, thing = unit(rng.normal(size=(2, 32)))
    patches = np.tile(sky, (1, 49, 1)) + 0.05 * rng.normal(size=(1, 49, 32)) / np.sqrt(32)
    patches[0, place] = thing
    tokens, home = merge_patches(unit(patches), 4)
    assert (home[0] == home[0, place]).sum() == 1
    np.testing.assert_allclose(tokens[0, home[0, place]], thing, atol=1e-5)


def test_with_as_many_as_there_are_nothing_changes():
    patches = unit(np.random.default_rng(1).normal(size=(2, 9, 4)))
    for kept in (9, 10, 255):
        tokens, home = merge_patches(patches, kept)
        np.testing.assert_allclose(tokens, patches, atol=1e-6)
        assert (home == np.arange(9)).all()
