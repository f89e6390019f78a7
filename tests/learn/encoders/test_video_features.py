"""LAFF's video features on real (generated) videos."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from finecut.errors import MissingDependency, ShapeError, UsageError
from finecut.learn.data.bigfile import BigFile
from finecut.learn.encoders import video_features
from finecut.learn.encoders.tiny import tiny_clip
from finecut.learn.encoders.video_features import FrameExtractor, extract, video_feature
from video_corpus import steps, write_video

MEAN_COLOUR = FrameExtractor(
    "mean.colour", lambda pixels: pixels.mean(dim=(2, 3)), 32, (0.0,) * 3, (1.0,) * 3, batch=3
)


@pytest.fixture(scope="module")
def red_then_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of red, one of blue."""
    shots = ((3000, (200, 20, 20)), (math.inf, (20, 20, 200)))
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return write_video(path, steps(4.0), width=64, height=64, shots=shots, code=False)


def test_a_feature_is_the_mean_over_time(red_then_blue: Path) -> None:
    feature = video_feature(MEAN_COLOUR, red_then_blue)
    assert len(feature.frames) == len(feature.times)
    red, _, blue = feature.mean.tolist()
    bright, dark = feature.frames[0, 0].item(), feature.frames[-1, 0].item()
    assert bright > 3 * dark
    assert red == pytest.approx(0.75 * bright + 0.25 * dark, abs=0.06)
    assert red > blue


def test_batches_change_nothing(red_then_blue: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    expected = torch.from_numpy(frames / 255.0).mean(dim=(1, 2)).float()
    torch.testing.assert_close(MEAN_COLOUR(frames), expected, rtol=1e-5, atol=1e-6)


def test_clip_frames_are_those_of_clip() -> None:
    clip = tiny_clip(1)
    extractor = video_features.clip_extractor(clip)
    frames = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (extractor.mean, extractor.std))
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0 - mean) / std
    with torch.no_grad():
        expected, _ = clip.encode_frames(pixels[None])
    torch.testing.assert_close(extractor(frames), expected[0], rtol=1e-4, atol=1e-5)


def test_a_folder_becomes_feature_files(red_then_blue: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    done = extract(MEAN_COLOUR, [("v1", red_then_blue), ("bad", broken)], tmp_path / "FeatureData")
    assert done.done == ("v1",) and list(done.failed) == ["bad"]
    means = BigFile(tmp_path / "FeatureData" / "mean.colour")
    frames = BigFile(tmp_path / "FeatureData" / "frame" / "mean.colour")
    feature = video_feature(MEAN_COLOUR, red_then_blue)
    np.testing.assert_allclose(means["v1"], feature.mean, rtol=1e-6)
    assert list(frames) == [f"v1_{i}" for i in range(len(feature.frames))]
    with pytest.raises(UsageError, match="1 failed; nothing is written"):
        extract(MEAN_COLOUR, [("bad", broken)], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match="two videos are called 'v1'"):
        extract(MEAN_COLOUR, [("v1", red_then_blue), ("v1", red_then_blue)], tmp_path / "twice")


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be \[N, 32, 32, 3\], got \(1, 16, 16, 3\)"):
        MEAN_COLOUR(np.zeros((1, 16, 16, 3), dtype=np.uint8))


@pytest.mark.skipif(
    all(importlib.util.find_spec(name) is not None for name in ("timm", "torchvision")),
    reason="timm and torchvision are installed: nothing is missing",
)
def test_what_is_missing_for_timm_is_named() -> None:
    with pytest.raises(MissingDependency, match=r"the package (timm|torchvision), .*pip install"):
        video_features.timm_extractor("resnext101_32x8d")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("timm", "torchvision")),
    reason="timm or torchvision is not installed",
)
def test_any_timm_model_is_an_extractor() -> None:
    extractor = video_features.timm_extractor("test_resnet")
    frames = np.zeros((2, extractor.size, extractor.size, 3), dtype=np.uint8)
    features = extractor(frames)
    assert features.shape[0] == 2 and torch.isfinite(features).all()
    with pytest.raises(UsageError, match="no model 'resnet999'"):
        video_features.timm_extractor("resnet999")
