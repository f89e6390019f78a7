"""EERCF: fast forms equal plain loops, folding is exact, masks hide what they should."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.losses import pearson_article, pearson_released
from finecut.learn.methods.blocks import unit
from finecut.learn.methods.eercf import (
    ARTICLE_LOSS,
    EERCF,
    RELEASED_RERANK,
    EercfConfig,
    LevelWeights,
)
from finecut.learn.methods.protocol import Batch, TextTokens, VideoTokens, recall_sims


def build(**changes: object) -> EERCF:
    torch.manual_seed(0)
    model = EERCF(EercfConfig(TINY, 1, 5, **changes), tiny_clip(1)).eval()
    with torch.no_grad():  # away from the identities they begin with
        model.global_mat_weight += 0.2 * torch.randn(64, 64)
        model.frame_logit_weight += 0.3 * torch.randn(5, 5)
    return model


RELEASED, MASKED = build(), build(mask_padding=True)


def draw(texts: int, clips: int, frames: int, lengths: list[int], seed: int = 0):
    g = torch.Generator().manual_seed(seed)

    def tokens(*shape: int) -> torch.Tensor:
        return unit(torch.randn(*shape, 64, generator=g))

    mask = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    t = tokens(texts)
    text = TextTokens(t @ RELEASED.global_mat_weight.detach(), t)
    video = VideoTokens(
        tokens(clips), tokens(clips, frames), mask, tokens(clips, frames, 4), tokens(clips, frames)
    )
    return text, video


def softmax(values: list[float], temperature: float) -> list[float]:
    return (torch.tensor(values) / temperature).softmax(0).tolist()


def plain(model: EERCF, text: TextTokens, video: VideoTokens, q: int, g: int) -> dict[str, float]:
    """The five formulas of the spec, one pair, real frames only when the model masks."""
    t = text.text_embeds[q]
    real = [
        f
        for f in range(video.frame_mask.shape[1])
        if video.frame_mask[g, f] or not model.config.mask_padding
    ]
    a = [float(t @ video.frame_embeds[g, f]) for f in real]
    wf = model.frame_logit_weight.detach()
    weak = softmax(a, 0.01)
    moved = [sum(weak[i] * float(wf[f, other]) for i, f in enumerate(real)) for other in real]
    gate = softmax(a, 0.1)
    pooled = sum(w * video.frame_values[g, f] for w, f in zip(gate, real, strict=True))
    patches = [video.patch_embeds[g, f, p] for f in real for p in range(4)]
    b = [float(t @ p) for p in patches]
    w = softmax(b, 0.01)
    gated = sum(x * p for x, p in zip(w, patches, strict=True))
    return {
        "video": float(t @ model.global_mat_weight.detach() @ video.recall[g]),
        "frame_weak": sum(x * y for x, y in zip(a, moved, strict=True)),
        "frame_gated": float(t @ pooled / pooled.norm()),
        "patch_weak": sum(x * y for x, y in zip(b, w, strict=True)),
        "patch_gated": float(t @ gated / gated.norm()),
    }


@torch.no_grad()
@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    texts=st.integers(1, 3),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_levels_equal_the_plain_formulas(
    lengths: list[int], texts: int, masked: bool, seed: int
) -> None:
    model = MASKED if masked else RELEASED
    text, video = draw(texts, len(lengths), max(lengths), lengths, seed)
    levels = model.levels(text, video)._asdict()
    for q in range(texts):
        for g in range(len(lengths)):
            for name, want in plain(model, text, video, q, g).items():
                assert float(levels[name][q, g]) == pytest.approx(want, abs=2e-5), name


@torch.no_grad()
def test_recall_with_the_folded_query_is_the_video_level() -> None:
    text, video = draw(4, 3, 5, [5, 2, 3])
    unfolded = text.text_embeds @ RELEASED.global_mat_weight @ video.recall.T
    torch.testing.assert_close(recall_sims(text, video), unfolded)
    lengths = text.recall.norm(dim=-1)
    assert (lengths - 1).abs().max() > 0.01  # so recall is an inner product, not a cosine


@torch.no_grad()
def test_a_mask_makes_padding_invisible_and_the_released_code_has_none() -> None:
    text, video = draw(3, 2, 5, [3, 2])
    cut = VideoTokens(
        video.recall, video.frame_embeds[:, :3], video.frame_mask[:, :3],
        video.patch_embeds[:, :3], video.frame_values[:, :3],
    )  # fmt: skip
    for whole, short in zip(MASKED.levels(text, video), MASKED.levels(text, cut), strict=True):
        torch.testing.assert_close(whole, short, rtol=1e-4, atol=1e-5)
    whole, short = RELEASED.levels(text, video), RELEASED.levels(text, cut)
    assert not torch.allclose(whole.frame_gated, short.frame_gated, atol=1e-4)


def test_training_gates_each_clip_by_its_own_text_without_gradient_through_the_gate() -> None:
    text, video = draw(3, 3, 5, [5, 5, 5])
    keys = video.frame_embeds.clone().requires_grad_()
    t = text.text_embeds.clone().requires_grad_()
    video = VideoTokens(video.recall, keys, video.frame_mask, video.patch_embeds,
                        video.frame_values)  # fmt: skip
    text = TextTokens(text.recall, t)
    levels, frames, _ = RELEASED.training_levels(text, video)
    own = RELEASED.levels(text, video)
    torch.testing.assert_close(
        levels.frame_gated.diagonal(), own.frame_gated.diagonal(), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(levels.frame_gated, own.frame_gated, atol=1e-3)
    levels.frame_gated.sum().backward()
    assert keys.grad is None or not keys.grad.any()  # the gate's keys learn nothing
    torch.testing.assert_close(t.grad, frames.sum(0).expand(3, -1), rtol=1e-4, atol=1e-5)


def batch(size: int = 3) -> Batch:
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 900, (size, 6), generator=g)
    ids[:, 0], ids[:, -1] = 1022, 1023
    pixels = torch.randn(size, 5, 3, 32, 32, generator=g)
    return Batch({"pixels": pixels, "frame_mask": torch.ones(size, 5).bool()}, {"input_ids": ids})


def test_both_variants_train_and_differ_in_the_named_ways() -> None:
    released, article = build(), build(variant="article")
    assert released.config.rerank_weights == RELEASED_RERANK
    assert article.config.rerank_weights.frame_weak == 0
    assert article.config.loss_weights == ARTICLE_LOSS
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    assert torch.equal(released.channel_loss(a, b), pearson_released(a, b))
    assert torch.equal(article.channel_loss(a, b), pearson_article(a, b))
    for model in (released, article):
        parts = model.loss(batch())
        parts["loss"].backward()
        want = parts["inter"] + 0.001 * parts["intra"]
        assert parts["loss"].item() == pytest.approx(want.item())
    # The article's fine scores do not use Wf; the released ones do.
    assert released.frame_logit_weight.grad.any()
    assert article.frame_logit_weight.grad is None


def test_rerank_follows_the_configured_levels() -> None:
    text, video = draw(2, 2, 5, [5, 4])
    only = build(rerank=LevelWeights(video=2.0))
    scale = only.clip.logit_scale.exp()
    torch.testing.assert_close(
        only.rerank(text, video).scores, 2 * scale * recall_sims(text, video)
    )


def test_what_cannot_be_is_refused() -> None:
    text, video = draw(2, 1, 5, [5])
    with pytest.raises(ShapeError, match="2 texts and 1 clips"):
        RELEASED.training_levels(text, video)
    text, video = draw(1, 1, 6, [6])
    with pytest.raises(ShapeError, match="6 frames, but Wf was trained for 5"):
        RELEASED.levels(text, video)
    with pytest.raises(UsageError, match="got 'paper'"):
        EercfConfig(variant="paper")
    with pytest.raises(UsageError, match="2D patches only"):
        EercfConfig(TINY.with_patches("3d"))
