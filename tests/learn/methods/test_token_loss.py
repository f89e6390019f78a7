"""Every method's loss reads tokens only: batches in pieces, frames from a cache, twins left out."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from finecut.errors import ShapeError
from finecut.learn.encoders.tiny import tiny_clip
from finecut.learn.losses import dual_softmax_parts
from finecut.learn.methods.protocol import Batch, TextTokens, TokenLoss, VideoTokens

from ..tiny_models import TINY_MODELS, clips

PIXELS, MASK = clips(torch.Generator().manual_seed(7))
WITH_PATCHES = ("eercf", "laff-clip")


def build(name: str) -> TokenLoss:
    torch.manual_seed(5)
    model = TINY_MODELS[name].build(tiny_clip(0)).eval()
    assert isinstance(model, TokenLoss)
    return model


def joined(kind: type, parts: list) -> TextTokens | VideoTokens:
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(kind)}
    return kind(**{n: torch.cat(ts) for n, ts in columns.items() if ts[0] is not None})


@pytest.mark.parametrize("name", TINY_MODELS)
@torch.no_grad()
def test_a_batch_in_pieces_has_the_loss_of_the_whole(name: str) -> None:
    model, text = build(name), TINY_MODELS[name].text()
    ids = torch.tensor([0, 1, 2, 2, 3, 4])
    whole = model.loss(Batch({"pixels": PIXELS, "frame_mask": MASK}, text, ids))
    pieces = []
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        video = {"pixels": PIXELS[rows], "frame_mask": MASK[rows]}
        pieces.append(model.training_tokens(Batch(video, {n: t[rows] for n, t in text.items()})))
    texts = joined(TextTokens, [piece[0] for piece in pieces])
    videos = joined(VideoTokens, [piece[1] for piece in pieces])
    again = model.token_loss(texts, videos, ids)
    assert again.keys() == whole.keys()
    for part, value in whole.items():
        torch.testing.assert_close(again[part], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TINY_MODELS)
@torch.no_grad()
def test_frames_of_a_cache_stand_for_pixels(name: str) -> None:
    model = build(name)
    frames, patches = model.clip.encode_frames(PIXELS)
    cached = {"frames_raw": frames}
    if name in WITH_PATCHES:
        cached["patches_raw"] = patches
    got = model.encode_video(**cached, frame_mask=MASK)
    want = model.encode_video(pixels=PIXELS, frame_mask=MASK)
    for field in fields(VideoTokens):
        a, b = getattr(got, field.name), getattr(want, field.name)
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)
    full = torch.ones_like(MASK)
    assert torch.equal(
        model.encode_video(**cached).recall, model.encode_video(**cached, frame_mask=full).recall
    )
    with pytest.raises(ShapeError, match="Give a clip's pixels"):
        model.encode_video(pixels=PIXELS, frame_mask=MASK, **cached)
    with pytest.raises(ShapeError, match="Give a clip's pixels"):
        model.encode_video(frame_mask=MASK)


def test_dual_softmax_leaves_twins_out() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 4, generator=generator) * 5
    apart = dual_softmax_parts(logits, 2.0, torch.arange(4))
    plain = dual_softmax_parts(logits, 2.0)
    torch.testing.assert_close(apart, plain)
    # Texts 2 and 3 are of one video: row 2 and column 2 are as if pair 3 did not exist.
    twins = dual_softmax_parts(logits, 2.0, torch.tensor([0, 1, 2, 2]))
    without = dual_softmax_parts(logits[:3, :3], 2.0)
    # Other columns keep their priors over all four texts, so only the prior of column 2 is alike.
    revised_own = logits[2, 2] * (logits[:3, 2] / 2.0).softmax(0)[2] * 3
    others = logits[2, :2] * (logits[:, :2] / 2.0).softmax(0)[2] * 4
    want = torch.logsumexp(torch.cat([others, revised_own[None]]), 0) - revised_own
    torch.testing.assert_close(twins[0][2], want)
    assert not torch.allclose(twins[0][2], without[0][2])


@pytest.mark.parametrize("name", TINY_MODELS)
@torch.no_grad()
def test_a_method_says_whether_it_reranks(name: str) -> None:
    model, text = build(name), TINY_MODELS[name].text()
    texts = model.encode_text(**text)
    videos = model.encode_video(pixels=PIXELS, frame_mask=MASK)
    fine, coarse = model.rerank(texts, videos).scores, texts.recall @ videos.recall.T
    assert model.reranks == (not torch.allclose(fine, coarse, atol=1e-4))
