"""LAFF's losses in heads and groups of heads, the shared space, and clips that are encoded once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from finecut.errors import UsageError
from finecut.learn import losses
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.laff_loss import distance_to_centre, spaces_of
from finecut.learn.methods.protocol import Batch, recall_sims

BASE = LaffConfig({"a": 6, "b": 5}, {"t": 5, "u": 3}, common_dim=16, heads=4, dropout=0.0)
IDS = torch.tensor([3, 8, 8, 5, 3, 9])
_ROWS = torch.tensor([0, 1, 1, 2, 0, 3])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(**changes: object) -> LAFF:
    torch.manual_seed(0)
    return LAFF(replace(BASE, **changes)).eval()  # type: ignore[arg-type]


def batch(ids: torch.Tensor | None = IDS) -> Batch:
    video = {"a": draw(4, 6, seed=1)[_ROWS], "b": draw(4, 5, seed=2)[_ROWS]}
    text = {"t": draw(6, 5, seed=3), "u": draw(6, 3, seed=4)}
    return Batch({"features": video}, {"features": text}, ids)


def sims_by_head(model: LAFF) -> torch.Tensor:
    pairs = batch()
    text, video = model.text_heads(**pairs.text)[0], model.video_heads(**pairs.video)[0]
    return torch.einsum("qhd,ghd->hqg", text, video)


def test_heads_in_groups_have_the_mean_cosine_of_the_group() -> None:
    model = build()
    text, video = model.text_heads(**batch().text)[0], model.video_heads(**batch().video)[0]
    grouped = torch.einsum("qsd,gsd->sqg", spaces_of(text, 2), spaces_of(video, 2))
    expected = sims_by_head(model).unflatten(0, (2, 2)).mean(1)
    torch.testing.assert_close(grouped, expected)


@pytest.mark.parametrize("spaces", [1, 2, 4])
def test_info_nce_is_summed_over_spaces(spaces: int) -> None:
    model = build(loss="info_nce", loss_spaces=spaces, temperature=0.1)
    grouped = sims_by_head(model).unflatten(0, (spaces, -1)).mean(1)
    expected = sum(losses.info_nce(10 * sims, IDS) for sims in grouped)
    assert model.loss(batch())["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_single_triplet_loss_is_on_the_mean_similarity() -> None:
    model = build(loss_spaces=1)
    expected = losses.hardest_negative_triplet(sims_by_head(model).mean(0), 0.2, IDS)
    assert model.loss(batch())["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_the_dual_softmax_loss(temperature: float) -> None:
    model = build(loss="dual_softmax", loss_spaces=1, prior_temperature=temperature)
    expected = losses.dual_softmax_loss(20 * sims_by_head(model).mean(0), temperature)
    assert model.loss(batch())["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("fusion", ["concat", "mhsa"])
def test_a_fusion_with_one_space_has_one_loss(fusion: str) -> None:
    model = build(fusion=fusion)
    assert sims_by_head(model).shape[0] == 1
    expected = losses.hardest_negative_triplet(sims_by_head(model)[0], 0.2, IDS)
    assert model.loss(batch())["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_parts_add_up_and_the_centre_is_that_of_the_clips_sentences() -> None:
    model = build(loss="info_nce", loss_spaces=2, centre_weight=3.0)
    parts = model.loss(batch())
    assert set(parts) == {"info_nce_loss", "centre_loss", "loss"}
    assert parts["loss"].item() == pytest.approx(
        parts["info_nce_loss"].item() + parts["centre_loss"].item()
    )
    text, video = model.text_heads(**batch().text)[0], model.video_heads(**batch().video)[0]
    text, video = spaces_of(text, 2), spaces_of(video, 2)
    away = distance_to_centre(text, video, IDS)
    plain = [
        sum(
            1.0 - torch.cosine_similarity(text[IDS[i] == IDS, s].sum(0), video[i, s], dim=0).item()
            for i in range(6)
        )
        / 6
        for s in range(2)
    ]
    assert away.tolist() == pytest.approx(plain, abs=1e-5)


def test_a_clip_of_several_sentences_is_encoded_once_and_scores_the_same() -> None:
    model = build()
    seen: list[int] = []
    model.video_side.register_forward_hook(lambda _, given, __: seen.append(len(given[0]["a"])))
    _, once = model.training_tokens(batch())
    _, each = model.training_tokens(batch(None))
    assert seen == [4, 6]
    torch.testing.assert_close(once.recall, each.recall)


def test_the_shared_space_counts_beside_the_heads() -> None:
    model = build(shared_space=("b", "t"), shared_weight=0.5)
    pairs = batch()
    found = recall_sims(model.encode_text(**pairs.text), model.encode_video(**pairs.video))
    b, t = pairs.video["features"]["b"], pairs.text["features"]["t"]
    shared = torch.cosine_similarity(t[:, None], b[None], dim=-1)
    torch.testing.assert_close(found, (sims_by_head(model).mean(0) + 0.5 * shared) / 1.5)
    lengths = model.encode_video(**pairs.video).recall.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))
    assert model.loss(pairs)["loss"].item() == build().loss(pairs)["loss"].item()  # no weights


def test_the_shared_space_of_frames() -> None:
    model = build(shared_space=("b", "t"))
    frames = {"a": draw(2, 3, 6), "b": draw(2, 3, 5)}
    tokens = model.encode_video(frames=frames)
    first = model.encode_video({name: values[:, 0] for name, values in frames.items()})
    torch.testing.assert_close(tokens.frame_embeds[:, 0], first.recall)


def test_the_learned_scale_is_kept_within_bounds() -> None:
    model = build(loss="info_nce", loss_spaces=2)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.clamp_logit_scale()
    torch.testing.assert_close(model.logit_scale.exp(), torch.full((2,), 100.0))
    assert not hasattr(build(), "logit_scale")  # released checkpoints have none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_spaces": 3}, "4 heads do not divide"),
        ({"fusion": "concat", "loss_spaces": 2}, "1 heads do not divide"),
        ({"temperature": 0.0}, "temperature"),
        ({"prior_temperature": 0.0}, "prior_temperature"),
        ({"centre_weight": -1.0}, "centre_weight"),
        ({"shared_space": ("a", "t")}, "of one size"),
        ({"shared_space": ("b",)}, "of one size"),
        ({"shared_space": ("b", "t"), "shared_weight": 0.0}, "above 0"),
    ],
)
def test_settings_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(**changes)
