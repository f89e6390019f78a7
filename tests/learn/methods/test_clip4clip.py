"""What may not change a CLIP4Clip score, whatever the head."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.methods.protocol import Batch, Method, recall_sims

HEADS = ("meanP", "seqLSTM", "seqTransf", "tightTransf")


def build(head: str, **changes: object) -> CLIP4Clip:
    torch.manual_seed(0)
    config = Clip4ClipConfig(head, TINY, head_layers=1, max_frames=6, **changes)
    return CLIP4Clip(config, tiny_clip(1)).eval()


MODELS = {head: build(head) for head in HEADS}


def tokens(model: CLIP4Clip, lengths: list[int], frames: int, seed: int = 0):
    raw = torch.randn(len(lengths), 6, 64, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    raw = torch.nn.functional.pad(raw, (0, 0, 0, max(frames - 6, 0)))[:, :frames]
    return model.tokens_from_frames(raw, mask)


def texts(model: CLIP4Clip, count: int):
    ids = torch.arange(1, 1 + count)[:, None].repeat(1, 4)
    ids[:, 0], ids[:, -1] = 1022, 1023
    return model.encode_text(ids)


@pytest.mark.parametrize("head", HEADS)
def test_is_a_method(head: str) -> None:
    assert isinstance(MODELS[head], Method)


@torch.no_grad()
@settings(max_examples=12, deadline=None)
@given(
    head=st.sampled_from(HEADS),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    noise=st.booleans(),
)
def test_padding_changes_nothing(head: str, lengths: list[int], padding: int, noise: bool) -> None:
    model = MODELS[head]
    text = texts(model, 2)
    short = tokens(model, lengths, max(lengths))
    long = tokens(model, lengths, max(lengths) + padding)
    a, b = model.rerank(text, short), model.rerank(text, long)
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-5)
    assert not b.frame_relevance[..., max(lengths) :].any()
    torch.testing.assert_close(b.frame_relevance.sum(-1), torch.ones(2, len(lengths)))
    if noise:  # what stands in a padded frame does not matter either
        mask = torch.arange(6)[None] < torch.tensor(lengths)[:, None]
        raw = torch.randn(len(lengths), 6, 64, generator=torch.Generator().manual_seed(0))
        garbage = torch.where(mask[..., None], raw, 7.0)
        c = model.rerank(text, model.tokens_from_frames(garbage, mask))
        torch.testing.assert_close(a.scores, c.scores, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS)
def test_batches_change_nothing(head: str) -> None:
    model = MODELS[head]
    video, text = tokens(model, [6, 2, 4], 6), texts(model, 3)
    whole = model.rerank(text, video).scores
    for q in range(3):
        for g in range(3):
            one = model.rerank(text.select(slice(q, q + 1)), video.select(slice(g, g + 1)))
            torch.testing.assert_close(one.scores[0, 0], whole[q, g], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS)
def test_recall_is_the_score_of_loose_heads_and_meanp_of_the_tight_one(head: str) -> None:
    model = MODELS[head]
    video, text = tokens(model, [6, 2, 4], 6), texts(model, 3)
    recall = recall_sims(text, video)
    if head == "tightTransf":
        loose = MODELS["meanP"]
        assert torch.equal(recall, recall_sims(texts(loose, 3), tokens(loose, [6, 2, 4], 6)))
        assert not torch.allclose(recall, model.rerank(text, video).scores)
    else:
        assert torch.equal(recall, model.rerank(text, video).scores)


@pytest.mark.parametrize("head", HEADS)
def test_a_clip_without_frames_scores_finitely_and_has_no_gradient_trouble(head: str) -> None:
    model = build(head)
    batch = Batch(
        video={
            "pixels": torch.zeros(2, 3, 3, 32, 32),
            "frame_mask": torch.tensor([[True, True, False], [False, False, False]]),
        },
        text={"input_ids": torch.tensor([[1022, 4, 1023], [1022, 9, 1023]])},
    )
    loss = model.loss(batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_captions_of_one_video_are_no_negatives_of_each_other() -> None:
    model = MODELS["meanP"]
    video = {"pixels": torch.randn(3, 2, 3, 32, 32), "frame_mask": torch.ones(3, 2).bool()}
    text = {"input_ids": torch.tensor([[1022, 4, 1023], [1022, 9, 1023], [1022, 7, 1023]])}
    plain = model.loss(Batch(video, text))["loss"]
    aware = model.loss(Batch(video, text, video_ids=torch.tensor([5, 5, 6])))["loss"]
    assert aware < plain


def test_dropout_is_for_training_only() -> None:
    model = build("tightTransf", cross_dropout=0.5)
    video, text = tokens(model, [4, 4], 4), texts(model, 2)
    assert torch.equal(model.logits(text, video), model.logits(text, video))
    model.train()
    torch.manual_seed(1)
    assert not torch.equal(model.logits(text, video), model.logits(text, video))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'maxP'"):
        Clip4ClipConfig("maxP")
    with pytest.raises(UsageError, match=r"at most 76 .* tightTransf, got 77"):
        Clip4ClipConfig("tightTransf", max_frames=77)
    assert Clip4ClipConfig("meanP", max_frames=500)
    with pytest.raises(ShapeError, match="40 frames, expected at most 32"):
        tokens(MODELS["seqTransf"], [1], 40)
