"""Zero-shot search: the late score equals plain formulas; padding and patches behave."""

from __future__ import annotations

import pytest
import torch

from finecut.learn.encoders.tiny import tiny_clip
from finecut.learn.methods.blocks import unit
from finecut.learn.methods.protocol import Batch, Method, TextTokens, VideoTokens
from finecut.learn.methods.zero_shot import LEVELS, ZeroShot

MODEL = ZeroShot(tiny_clip(2)).eval()


def draw(lengths: list[int], patches: bool = True) -> tuple[TextTokens, VideoTokens]:
    g = torch.Generator().manual_seed(0)
    clips, frames = len(lengths), max(lengths)
    mask = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    f = unit(torch.randn(clips, frames, 64, generator=g))
    p = unit(torch.randn(clips, frames, 4, 64, generator=g)) if patches else None
    t = unit(torch.randn(2, 64, generator=g))
    recall = unit((f * mask[..., None]).sum(1))
    return TextTokens(t, t), VideoTokens(recall, f, mask, p)


@torch.no_grad()
@pytest.mark.parametrize("patches", [False, True])
def test_score_equals_the_plain_formula(patches: bool) -> None:
    lengths = [3, 1, 5]
    text, video = draw(lengths, patches)
    scores = MODEL.rerank(text, video).scores
    for q in range(2):
        for g, length in enumerate(lengths):
            t, f = text.text_embeds[q], video.frame_embeds[g, :length]
            pooled = ((f @ t / 0.1).softmax(0)[:, None] * f).sum(0)
            want = LEVELS.video * (t @ video.recall[g])
            want += LEVELS.frame_gated * (t @ pooled / pooled.norm())
            if patches:
                b = video.patch_embeds[g, :length].flatten(0, 1) @ t
                want += LEVELS.patch_weak * (b * (b / 0.01).softmax(0)).sum()
            assert scores[q, g].item() == pytest.approx(want.item(), abs=1e-5)


@torch.no_grad()
def test_tokens_do_not_depend_on_padding() -> None:
    assert isinstance(MODEL, Method)
    pixels = torch.randn(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 0, 0, 2))
    a = MODEL.encode_video(pixels, torch.ones(1, 3).bool())
    b = MODEL.encode_video(padded, torch.arange(5)[None] < 3)
    torch.testing.assert_close(a.recall, b.recall)
    torch.testing.assert_close(a.patch_embeds, b.patch_embeds[:, :3])
    assert a.recall.norm(dim=-1).item() == pytest.approx(1.0, abs=1e-5)


def test_patches_can_be_left_out_and_it_can_be_trained() -> None:
    model = ZeroShot(tiny_clip(2), patches=False)
    video = {"pixels": torch.randn(2, 2, 3, 32, 32), "frame_mask": torch.ones(2, 2).bool()}
    assert model.encode_video(**video).patch_embeds is None
    text = {"input_ids": torch.tensor([[1022, 5, 1023], [1022, 6, 1023]])}
    model.loss(Batch(video, text))["loss"].backward()
    assert model.backbone.visual.proj.grad.abs().sum() > 0
