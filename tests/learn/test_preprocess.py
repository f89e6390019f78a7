"""Frames as the published recipes take them; the goldens hold the values, these the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finecut.errors import ShapeError, UsageError
from finecut.learn.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    decoded_frame_indices,
    keep_frames,
    normalise,
    pad_frames,
    preprocess_image,
)


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 400), most=st.integers(1, 64))
def test_kept_frames_rise_and_stay_inside(count: int, most: int) -> None:
    for position in ("head", "tail", "uniform"):
        kept = keep_frames(count, most, position)
        assert len(kept) == min(count, most)
        assert kept == sorted(set(kept)) and kept[0] >= 0 and kept[-1] < count
    if most > 1:
        assert keep_frames(count, most)[0] == 0 and keep_frames(count, most)[-1] == count - 1


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 500), fps=st.floats(1, 60), rate=st.integers(1, 3))
def test_decoded_frames_are_of_the_video(count: int, fps: float, rate: int) -> None:
    if rate > int(fps):
        with pytest.raises(UsageError, match="framerate must be 1 to"):
            decoded_frame_indices(count, fps, rate)
        return
    indices = decoded_frame_indices(count, fps, rate)
    assert indices[0] == 0 and indices == sorted(set(indices)) and indices[-1] < count


def test_a_video_slower_than_a_frame_a_second_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at least 1, got 0\.5"):
        decoded_frame_indices(10, 0.5)


def test_a_plain_colour_is_normalised_by_hand() -> None:
    image = np.full((20, 30, 3), (255, 0, 51), np.uint8)
    got = preprocess_image(image, 8)
    want = [(v / 255 - m) / s for v, m, s in zip((255, 0, 51), CLIP_MEAN, CLIP_STD, strict=True)]
    assert got.shape == (3, 8, 8)
    for channel, value in zip(got, want, strict=True):
        torch.testing.assert_close(channel, torch.full((8, 8), value), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 200), (200, 9), (3, 5), (8, 9)])
def test_every_shape_of_picture_comes_out_square(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert preprocess_image(image, 8).shape == (3, 8, 8)
    grey = Image.fromarray(image[..., 0])
    assert preprocess_image(grey, 8).shape == (3, 8, 8)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"got float64 \(4, 4, 3\)"):
        preprocess_image(np.zeros((4, 4, 3)))
    with pytest.raises(ShapeError, match=r"uint8 \(4, 4\)"):
        preprocess_image(np.zeros((4, 4), np.uint8))


def test_padding_is_zero_after_normalisation() -> None:
    frames = normalise(torch.zeros(2, 4, 4, 3, dtype=torch.uint8))
    padded, mask = pad_frames(frames, 3)
    assert mask.tolist() == [True, True, False]
    assert not padded[2].any() and padded[:2].abs().min() > 0
    with pytest.raises(ShapeError, match="2 frames do not fit into max_frames 1"):
        pad_frames(frames, 1)
