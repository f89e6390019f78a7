"""The two towers: what padding and length may not change, freezing, half precision."""

from __future__ import annotations

import pytest
import torch

from finecut.errors import ShapeError
from finecut.learn.encoders.clip import ClipConfig, pool_text
from finecut.learn.encoders.clip_load import build_clip
from finecut.learn.encoders.tiny import TINY, tiny_clip

CLIP = tiny_clip(3)
CLIP_3D = build_clip(CLIP.state_dict(), TINY.with_patches("3d"))


def ids(*lengths: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    out = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        out[row, :length] = torch.randint(1, 900, (length,), generator=generator)
        out[row, 0], out[row, length - 1] = TINY.vocab_size - 2, TINY.vocab_size - 1
    return out


def pixels(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(clips, frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_text_at_its_true_length_is_exact() -> None:
    padded = ids(4, 9, width=TINY.context_length)
    for row, length in enumerate((4, 9)):
        alone = CLIP.encode_text(padded[row : row + 1, :length])[0]
        torch.testing.assert_close(CLIP.encode_text(padded)[row], alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_text_is_the_word_at_the_end_token() -> None:
    texts = ids(3, 6, width=8)
    words = CLIP.encode_words(texts)
    assert torch.equal(pool_text(words, texts), torch.stack([words[0, 2], words[1, 5]]))


@torch.no_grad()
def test_frames_are_encoded_one_by_one_in_2d_and_with_neighbours_in_3d() -> None:
    video = pixels(1, 4)
    changed = video.clone()
    changed[0, 3] = 0.0
    for model, reaches in ((CLIP, {3}), (CLIP_3D, {3})):
        a, b = model.encode_frames(video)[0][0], model.encode_frames(changed)[0][0]
        moved = {f for f in range(4) if not torch.allclose(a[f], b[f], atol=1e-6)}
        assert moved == reaches  # an untrained 3D model equals the 2D one
    trained = build_clip(CLIP.state_dict(), TINY.with_patches("3d"))
    for tap in (0, 2):
        trained.visual.conv2.weight[:, :, tap] = 0.05 * pixels(64, 1)[:, 0, :, :16, :16]
    a, b = trained.encode_frames(video)[0][0], trained.encode_frames(changed)[0][0]
    assert {f for f in range(4) if not torch.allclose(a[f], b[f], atol=1e-6)} == {2, 3}


@torch.no_grad()
def test_an_untrained_3d_model_equals_the_2d_model() -> None:
    video = pixels(2, 3)
    for flat, deep in zip(CLIP.encode_frames(video), CLIP_3D.encode_frames(video), strict=True):
        torch.testing.assert_close(flat, deep, rtol=1e-5, atol=1e-5)


def test_all_tokens_come_out() -> None:
    frames, patches = CLIP.encode_frames(pixels(2, 3))
    assert frames.shape == (2, 3, 64)
    assert patches.shape == (2, 3, TINY.patch_count, 64)
    assert CLIP.encode_words(ids(5, width=5)).shape == (1, 5, 64)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\[B, F, 3, 32, 32\], got \(1, 2, 3, 16, 16\)"):
        CLIP.encode_frames(torch.zeros(1, 2, 3, 16, 16))
    with pytest.raises(ShapeError, match="33 words, expected at most 32"):
        CLIP.encode_words(torch.ones(1, 33, dtype=torch.long))
    with pytest.raises(ShapeError, match="width 64 cannot be divided into 7"):
        tiny_clip(0, ClipConfig(vision_width=64, patch_size=16, image_size=32, vision_heads=7))


@torch.no_grad()
def test_official_half_precision_stays_near_and_keeps_norms_in_float32() -> None:
    half = tiny_clip(3).to_official_fp16()
    assert half.visual.ln_pre.weight.dtype == torch.float32
    assert half.logit_scale.dtype == torch.float32
    assert half.token_embedding.weight.dtype == torch.float32
    video, texts = pixels(2, 2), ids(6, width=6)
    frames, patches = half.encode_frames(video)
    assert frames.dtype == patches.dtype == torch.float16
    for got, want in zip((frames, patches), CLIP.encode_frames(video), strict=True):
        cosine = torch.cosine_similarity(got.float(), want, dim=-1)
        assert cosine.min() > 0.9999 and not torch.equal(got.float(), want)
    cosine = torch.cosine_similarity(
        half.encode_text(texts).float(), CLIP.encode_text(texts), dim=-1
    )
    assert cosine.min() > 0.9999


def test_logit_scale_is_clamped_from_above_only() -> None:
    model = tiny_clip()
    for value, want in ((10.0, 4.605170), (-3.0, -3.0)):
        model.logit_scale.data.fill_(value)
        model.clamp_logit_scale()
        assert model.logit_scale.item() == pytest.approx(want, abs=1e-5)


def test_freezing_all_layers_leaves_the_projections_trainable() -> None:
    model = tiny_clip(0, TINY.with_patches("3d"))
    model.freeze(2)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        "text_projection", "logit_scale", "visual.proj", "visual.conv2.weight",
        "visual.ln_post.weight", "visual.ln_post.bias", "ln_final.weight", "ln_final.bias",
    }  # fmt: skip
