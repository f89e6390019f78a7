"""Recall and re-rank over a whole test set equals scoring everything where it must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn.methods.protocol import Rerank, TextTokens, VideoTokens, recall_sims
from finecut.learn.two_stage import (
    merge_stages,
    recall_candidates,
    rerank_candidates,
    two_stage,
)


class BestFrame:
    """A fine score that differs from recall: the best frame; counts the pairs it is asked for."""

    def __init__(self) -> None:
        self.pairs = 0

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        self.pairs += len(text) * len(video)
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        return Rerank(sims.amax(-1))


def draw(texts: int, clips: int, seed: int = 0) -> tuple[TextTokens, VideoTokens]:
    g = torch.Generator().manual_seed(seed)
    t, f = torch.randn(texts, 8, generator=g), torch.randn(clips, 3, 8, generator=g)
    return TextTokens(t, t), VideoTokens(f.mean(1), f, torch.ones(clips, 3).bool())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 9), st.integers(0, 50))
def test_candidates_are_scored_as_everything_would_be(
    texts: int, clips: int, k: int, seed: int
) -> None:
    method = BestFrame()
    text, video = draw(texts, clips, seed)
    coarse, candidates, fine = two_stage(method, text, video, recall_k=k)
    assert torch.equal(coarse, recall_sims(text, video))
    assert candidates.shape == fine.shape == (texts, min(k, clips))
    assert method.pairs == candidates.numel()  # and nothing else was scored
    everything = BestFrame().rerank(text, video).scores
    torch.testing.assert_close(fine, everything.gather(1, candidates))
    for row in range(texts):
        best = coarse[row].sort(descending=True).values[: min(k, clips)]
        assert torch.equal(coarse[row, candidates[row]], best)


def test_the_merged_matrix_ranks_candidates_first() -> None:
    text, video = draw(3, 6)
    coarse, candidates, fine = two_stage(BestFrame(), text, video, recall_k=2)
    merged = merge_stages(coarse, candidates, fine)
    for row in range(3):
        order = merged[row].argsort(descending=True).tolist()
        inside = [candidates[row, i].item() for i in fine[row].argsort(descending=True)]
        outside = [g for g in coarse[row].argsort(descending=True).tolist() if g not in inside]
        assert order == inside + outside


def test_a_merge_that_would_misrank_is_refused() -> None:
    with pytest.raises(ShapeError, match="divide both by the logit scale"):
        merge_stages(torch.tensor([[500.0, 1.0]]), torch.tensor([[1]]), torch.tensor([[2.0]]))


def test_what_cannot_be_is_refused() -> None:
    text, video = draw(2, 2)
    with pytest.raises(UsageError, match="at least 1, got 0"):
        recall_candidates(torch.zeros(1, 2), 0)
    with pytest.raises(ShapeError, match=r"Q = 2, got \(1, 2\)"):
        rerank_candidates(BestFrame(), text, video, torch.zeros(1, 2, dtype=torch.long))


def test_the_measured_saving_is_what_the_page_says() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "methods" / "eercf.md").read_text("utf-8")
    measured = json.loads((root / "results" / "bench-eercf-stage2.json").read_text("utf-8"))[
        "figures"
    ]
    few, every = measured["candidates_only"], measured["exhaustive"]
    for side in (few, every):
        said = f"{side['median_s']:.1f} s and {side['peak_added_mib']:.0f} MiB"
        assert said in page, said
    assert f"{measured['times_faster']:.0f} times longer" in page
    assert f"medians of {few['repeats']} " in page
    assert measured["largest_difference"] < 1e-4
