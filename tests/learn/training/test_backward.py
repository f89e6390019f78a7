"""The gradient of a batch in pieces is that of the batch in one piece, for every method."""

from __future__ import annotations

import contextlib
import typing

import pytest
import torch
from torch import Tensor, nn

from finecut.errors import UsageError
from finecut.learn.encoders.bert import BertConfig
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.laff_loss import LaffLoss
from finecut.learn.methods.protocol import Batch, TokenLoss
from finecut.learn.methods.taco import TACo, TacoConfig
from finecut.learn.training.backward import backward, check_method, rows_of
from finecut.learn.training.precision import checkpoint_activations
from finecut.learn.training.ranks import Ranks

from ..tiny_models import TINY_MODELS
from .gradients_by_torchrun import built, colour_batch

ALONE = Ranks(0, 1, torch.device("cpu"))
NO_CAST = contextlib.nullcontext


def gradients(model: nn.Module, batch: Batch, micro_batch: int = 0) -> tuple[dict, float]:
    model.zero_grad()
    parts = backward(model, batch, ALONE, micro_batch=micro_batch, autocast=NO_CAST)
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return found, parts["loss"].item()


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys() and a
    for name, grad in a.items():
        scale = max(grad.abs().max().item(), 1.0)
        torch.testing.assert_close(b[name] / scale, grad / scale, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_gradient_caching_gives_the_gradient_of_the_whole_batch(name: str) -> None:
    model, batch = built(name), colour_batch(name)
    parts = model.loss(batch)
    parts["loss"].backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    for micro_batch in (0, 4, 1):
        cached, loss = gradients(model, batch, micro_batch)
        assert loss == pytest.approx(parts["loss"].item(), rel=1e-5)
        assert_same(plain, cached)


def feature_batch() -> Batch:
    """Six pairs of features, as LAFF and TACo take them without a CLIP."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.tensor([0, 1, 2, 2, 4, 5])
    video = {name: torch.randn(6, size, generator=draw)[ids] for name, size in VIDEO.items()}
    words = torch.randint(1, 12, (6, 5), generator=draw)
    text = {"t": torch.randn(6, TEXT["t"], generator=draw), "g": (words, words > 3)}
    return Batch({"features": video}, {"features": text}, ids)


VIDEO, TEXT = {"a": 6, "b": 5}, {"t": 6, "g": 7}


@pytest.mark.parametrize("settings", [
    *({"loss": loss} for loss in typing.get_args(LaffLoss)),
    {"loss_spaces": 1},
    {"loss_spaces": 2},
    {"centre_weight": 0.5, "loss": "info_nce"},
    {"shared_space": ("a", "t")},
    {"fusion": "mhsa"},
], ids=str)  # fmt: skip
def test_gradient_caching_with_every_loss_of_laff(settings: dict) -> None:
    torch.manual_seed(4)
    config = LaffConfig(
        VIDEO, TEXT, common_dim=16, heads=4, gru="g", gru_words=12, gru_embed_dim=3, **settings
    )
    model, batch = LAFF(config).eval(), feature_batch()
    whole, loss = gradients(model, batch)
    for micro_batch in (4, 1):
        cached, again = gradients(model, batch, micro_batch)
        assert again == pytest.approx(loss, rel=1e-5)
        assert_same(whole, cached)


def test_gradient_caching_with_taco_on_features() -> None:
    torch.manual_seed(4)
    bert = BertConfig(20, width=16, layers=1, heads=2, inner=32, max_words=8)
    model = TACo(TacoConfig(6, bert, 1, 1, max_words=6, max_frames=4, hard_negatives=2)).eval()
    model.piece_weights[5:] = 1.0
    draw = torch.Generator().manual_seed(2)
    words = torch.randint(1, 20, (6, 6), generator=draw)
    mask = torch.arange(4)[None] < torch.tensor([4, 2, 3, 1, 4, 4])[:, None]
    batch = Batch(
        {"features": torch.randn(6, 4, 6, generator=draw), "frame_mask": mask},
        {"input_ids": words, "word_mask": words > 2},
        torch.tensor([0, 1, 2, 2, 4, 5]),
    )
    whole, _ = gradients(model, batch)
    for micro_batch in (4, 1):
        assert_same(whole, gradients(model, batch, micro_batch)[0])


def test_pieces_alone_would_have_another_gradient() -> None:
    # What gradient accumulation does: the same pairs, fewer negatives.
    model, batch = built("clip4clip-meanP"), colour_batch("clip4clip-meanP")
    whole, _ = gradients(model, batch)
    model.zero_grad()
    for rows in (slice(0, 3), slice(3, 6)):
        (model.loss(rows_of(batch, rows, 6))["loss"] / 2).backward()
    name = "clip.visual.proj"
    assert (dict(model.named_parameters())[name].grad - whole[name]).abs().max() > 1e-3


def test_both_passes_of_a_piece_draw_the_same_dropout() -> None:
    # With other dropout the tokens of the second pass are not those the loss saw. A loss that is
    # the sum of all tokens makes the difference visible: its gradient is each token's own mask.
    class Dropped(TokenLoss):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(50))

        def training_tokens(self, batch):
            from finecut.learn.methods.protocol import TextTokens, VideoTokens

            drop = nn.functional.dropout
            self.masks = getattr(self, "masks", [])
            text = drop(batch.text["x"] * self.weight, 0.5)
            self.masks.append(text.detach().clone())
            return TextTokens(text), VideoTokens(batch.text["x"] * self.weight)

        def token_loss(self, text, video, video_ids=None):
            return {"loss": text.recall.sum()}

    model = Dropped().train()
    x = torch.ones(4, 50)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    backward(model, Batch({}, {"x": x}), ALONE, micro_batch=2, autocast=NO_CAST)
    first, second = model.masks[:2], model.masks[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])
    torch.testing.assert_close(model.weight.grad, torch.cat(first).sum(0))
    # and the next batch does not draw the same again
    assert not torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["clip4clip-seqTransf", "taco-clip"])
def test_activation_checkpointing_changes_no_gradient(name: str) -> None:
    model, batch = built(name), colour_batch(name)
    plain, _ = gradients(model, batch)
    checkpoint_activations(model)
    again, _ = gradients(model, batch)
    assert_same(plain, again)
    cached, _ = gradients(model, batch, micro_batch=3)
    assert_same(plain, cached)


def test_checkpointing_needs_blocks() -> None:
    with pytest.raises(UsageError, match="this model has none"):
        checkpoint_activations(nn.Linear(2, 2))


def test_a_method_without_token_loss_trains_in_one_piece_only() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            return {"loss": (self.weight * batch.text["x"]).sum()}

    model = Own()
    check_method(model, 0, 1)
    parts = backward(model, Batch({}, {"x": torch.ones(3)}), ALONE, autocast=NO_CAST)
    assert parts["loss"].item() == 3.0 and model.weight.grad.item() == 3.0
    for micro_batch, ranks in ((4, 1), (0, 2)):
        with pytest.raises(UsageError, match="Own has no token_loss"):
            check_method(model, micro_batch, ranks)


def test_batch_normalisation_needs_the_batch_in_one_piece() -> None:
    model = LAFF(LaffConfig({"a": 4}, {"t": 4}, common_dim=8, heads=2, batch_norm=True))
    check_method(model, 0, 1)
    with pytest.raises(UsageError, match="batch normalisation"):
        check_method(model, 4, 1)


def test_rows_of_nested_arguments() -> None:
    batch = Batch(
        {"frames": {"a": torch.arange(6).view(6, 1)}},
        {"features": {"gru": (torch.arange(6), torch.ones(6, 2))}, "scale": torch.tensor(2.0)},
        torch.arange(6),
    )
    piece = rows_of(batch, slice(2, 4), 6)
    assert piece.video["frames"]["a"].flatten().tolist() == [2, 3]
    assert piece.text["features"]["gru"][0].tolist() == [2, 3]
    assert piece.text["features"]["gru"][1].shape == (2, 2)
    assert piece.text["scale"].item() == 2.0
    assert piece.video_ids.tolist() == [2, 3]
