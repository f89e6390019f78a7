"""What may not change a LAFF score; folding; variants; the loader; feature selection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn.checkpoint import load_checkpoint, save_checkpoint
from finecut.learn.encoders.text_features import pad_numbers
from finecut.learn.methods import laff_selection
from finecut.learn.methods.laff import LAFF, LaffConfig, fold, mean_cosine
from finecut.learn.methods.laff_official import import_official
from finecut.learn.methods.laff_variants import ProjectionFreeMHSA
from finecut.learn.methods.protocol import Batch, Method, recall_sims

FUSIONS = ("attention", "mean", "concat", "mhsa", "mhsa_projection_free")
BASE = LaffConfig(
    video_features={"clip": 4, "x3d.l": 7},
    text_features={"gru": 6, "bow": 9, "clip": 4},
    no_transform=("clip",),
    common_dim=16,
    heads=4,
    gru="gru",
    gru_words=11,
    gru_embed_dim=5,
)


def build(config: LaffConfig, seed: int = 0) -> LAFF:
    torch.manual_seed(seed)
    model = LAFF(config)
    for module in model.modules():  # running statistics that are not the identity
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(count: int, seed: int = 0) -> dict:
    numbers = pad_numbers([[1, 4 + i % 7, *[5] * (i % 3), 2] for i in range(count)])
    return {"features": {"gru": numbers, "bow": draw(count, 9, seed=seed), "clip": draw(count, 4)}}


def video(count: int, seed: int = 1) -> dict:
    return {"features": {"clip": draw(count, 4, seed=seed), "x3d.l": draw(count, 7, seed=seed)}}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_recall_is_the_mean_cosine_of_the_heads(fusion: str) -> None:
    model = build(replace(BASE, fusion=fusion))  # type: ignore[arg-type]
    assert isinstance(model, Method)
    t, v = model.encode_text(**text(5)), model.encode_video(**video(3))
    folded = recall_sims(t, v)
    heads = mean_cosine(model.text_heads(**text(5))[0], model.video_heads(**video(3))[0])
    torch.testing.assert_close(folded, heads)
    torch.testing.assert_close(model.rerank(t, v).scores, heads)
    torch.testing.assert_close(t.recall.norm(dim=1), torch.ones(5))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(0, 999))
def test_folding_any_heads(q: int, g: int, heads: int, seed: int) -> None:
    a = torch.nn.functional.normalize(draw(q, heads, 3, seed=seed), dim=-1)
    b = torch.nn.functional.normalize(draw(g, heads, 3, seed=seed + 1), dim=-1)
    torch.testing.assert_close(fold(a) @ fold(b).T, mean_cosine(a, b))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_is_its_items(fusion: str) -> None:
    model = build(replace(BASE, fusion=fusion))  # type: ignore[arg-type]
    whole = model.encode_video(**video(4)).recall
    features = video(4)["features"]
    single = [
        model.encode_video({n: f[i : i + 1] for n, f in features.items()}).recall for i in range(4)
    ]
    torch.testing.assert_close(whole, torch.cat(single))


def test_the_loss_is_summed_over_heads_and_texts() -> None:
    model = build(BASE)
    batch = Batch(video=video(6), text=text(6))
    heads = torch.einsum(
        "qhd,ghd->hqg", model.text_heads(**batch.text)[0], model.video_heads(**batch.video)[0]
    )
    expected = sum(
        max(0.0, 0.2 + max(s[i, j].item() for j in range(6) if j != i) - s[i, i].item())
        for s in heads
        for i in range(6)
    )
    assert model.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)
    same = Batch(video=video(6), text=text(6), video_ids=torch.zeros(6, dtype=torch.long))
    assert model.loss(same)["loss"].item() == 0.0  # one video: nobody is a negative


LEVELS = replace(BASE, video_features={"x3d.l": 7}, frame_features={"clip": 4}, batch_norm=True)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    noise=st.booleans(),
)
def test_padded_frames_change_nothing(lengths: list[int], padding: int, noise: bool) -> None:
    model, size = build(LEVELS), len(lengths)
    frames = draw(size, max(lengths), 4)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    longer = torch.nn.functional.pad(frames, (0, 0, 0, padding), value=9.0 if noise else 0.0)
    wider = torch.nn.functional.pad(mask, (0, padding))
    features = {"x3d.l": draw(size, 7)}
    short = model.encode_video(features, {"clip": frames}, mask).recall
    long = model.encode_video(features, {"clip": longer}, wider).recall
    torch.testing.assert_close(short, long)
    _, weights = model.fuse_frames("clip", longer, wider)
    assert (weights[~wider] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(size))


def test_a_clip_without_frames_is_finite_and_learns_nothing_wrong() -> None:
    model = build(LEVELS).train()
    mask = torch.tensor([[True, True], [False, False]])
    fused, weights = model.fuse_frames("clip", draw(2, 2, 4), mask)
    assert (weights[1] == 0).all() and (fused[1] == 0).all()
    fused.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.frame_fusion.parameters())


def test_frames_stand_in_for_missing_video_features() -> None:
    model = build(BASE)
    frames = {"clip": draw(2, 3, 4), "x3d.l": draw(2, 3, 7)}
    mask = torch.tensor([[True, True, False], [True, True, True]])
    tokens = model.encode_video(frames=frames, frame_mask=mask)
    means = {name: torch.stack([f[0, :2].mean(0), f[1].mean(0)]) for name, f in frames.items()}
    torch.testing.assert_close(tokens.recall, model.encode_video(means).recall)
    first = model.encode_video({name: f[:, 0] for name, f in frames.items()}).recall
    torch.testing.assert_close(tokens.frame_embeds[:, 0], first)
    relevance = model.rerank(model.encode_text(**text(2)), tokens).frame_relevance
    assert relevance.shape == (2, 2, 3) and (relevance[:, 0, 2] == 0).all()


def test_a_frames_token_is_the_clip_of_that_frame_alone() -> None:
    model = build(replace(LEVELS, video_features={}))
    frames = {"clip": draw(2, 3, 4)}
    tokens = model.encode_video(frames=frames)
    assert tokens.frame_mask.all()
    for i in range(3):
        alone = model.encode_video(frames={"clip": frames["clip"][:, i : i + 1]}).recall
        torch.testing.assert_close(tokens.frame_embeds[:, i], alone)


def test_a_model_survives_its_checkpoint(tmp_path: Path) -> None:
    model = build(LEVELS)
    again = load_checkpoint(save_checkpoint(model, tmp_path / "laff"))
    assert again.config == model.config
    torch.testing.assert_close(
        again.encode_text(**text(3)).recall, model.encode_text(**text(3)).recall
    )


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_learns_to_match(fusion: str) -> None:
    """Captions and clips of 24 random meanings, seen through different random features."""
    meaning = draw(24, 6, seed=3)
    config = LaffConfig({"a": 10, "b": 12}, {"c": 9, "d": 8}, common_dim=64, heads=4, fusion=fusion)  # type: ignore[arg-type]
    views = {n: draw(6, d, seed=i) for i, (n, d) in enumerate(zip("abcd", (10, 12, 9, 8)))}  # noqa: B905
    features = {name: meaning @ view for name, view in views.items()}
    batch = Batch(
        video={"features": {n: features[n] for n in "ab"}},
        text={"features": {n: features[n] for n in "cd"}},
    )
    model = build(config).train()

    def right() -> float:
        model.eval()
        sims = recall_sims(model.encode_text(**batch.text), model.encode_video(**batch.video))
        model.train()
        return (sims.argmax(dim=1) == torch.arange(24)).float().mean().item()

    before = right()
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(batch)["loss"].backward()
        optimiser.step()
    assert before < 0.4 and right() > 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, "16 does not divide into 3 heads"),
        ({"heads": 0}, "heads 0 must be at least 1"),
        ({"common_dim": 0}, "common_dim 0 and heads"),
        ({"dropout": float("nan")}, "dropout must be in"),
        ({"video_input_dropout": 1.0}, "video_input_dropout must be in"),
        ({"temperature": float("inf")}, "expected above 0"),
        ({"no_transform": ("x3d.l",)}, "'x3d.l' without transform has 7 channels, .* = 4"),
        ({"no_transform": ("dino",)}, "no_transform names \\['dino'\\]"),
        ({"video_features": {}}, "no video feature"),
        ({"gru": "lstm"}, "gru 'lstm'"),
    ],
)
def test_configs_that_cannot_be_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(BASE, **changes)


def test_missing_features_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\['x3d.l'\] are missing"):
        build(BASE).encode_video({"clip": draw(2, 4)})


def test_projection_free_attention_needs_room() -> None:
    with pytest.raises(ValueError, match="heads squared"):
        ProjectionFreeMHSA(8, 8)


def test_other_state_dicts_are_not_taken_for_laff() -> None:
    with pytest.raises(UsageError):
        import_official({"clip.visual.proj": torch.zeros(2, 2)})


# ---- feature selection


def test_a_feature_report_finds_what_the_model_looks_at(tmp_path: Path) -> None:
    model = build(replace(BASE, no_transform=()))
    with torch.no_grad():  # heads score a feature by its mean channel; raise one feature's
        model.video_side.fuse.weight.fill_(3.0)
        model.video_side.transforms["x3d·l"].fc.bias.fill_(4.0)
    report = laff_selection.feature_report(model, [video(3), video(5)])
    assert report.samples == 8 and list(report.weights) == ["x3d.l", "clip"]
    assert sum(report.weights.values()) == pytest.approx(1.0)
    assert report.keep(1) == ("x3d.l",)
    shorter = laff_selection.shorter_config(model.config, report, 1)
    assert dict(shorter.video_features) == {"x3d.l": 7}
    assert shorter.text_features == model.config.text_features
    assert "x3d.l" in str(report) and "8 samples" in str(report)
    report.to_svg(tmp_path / "weights.svg")
    drawn = (tmp_path / "weights.svg").read_text("utf-8")
    assert drawn.count("<circle") == 8 and drawn.rstrip().endswith("</svg>")


def test_a_report_of_single_samples_is_their_mean() -> None:
    model = build(BASE)
    whole = laff_selection.feature_report(model, [text(4)], "text")
    expected = model.text_heads(**text(4))[1].double().mean(dim=0)
    torch.testing.assert_close(whole.per_head, expected)
    kept = laff_selection.shorter_config(BASE, whole, 2)
    assert ("gru" in kept.text_features) == (kept.gru == "gru")


def test_reports_without_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="no batch"):
        laff_selection.feature_report(build(BASE), [])
    with pytest.raises(UsageError, match="'mean' does not weigh"):
        laff_selection.feature_report(build(replace(BASE, fusion="mean")), [video(1)])
    with pytest.raises(UsageError, match="3 of 2 features"):
        laff_selection.feature_report(build(BASE), [video(1)]).keep(3)
