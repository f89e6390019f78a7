"""Evaluation of every method: chunks, batches and two stages change nothing in the figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finecut import metrics
from finecut.errors import ShapeError
from finecut.learn import normalise
from finecut.learn.evaluation import ranking
from finecut.learn.evaluation.evaluate import evaluate_matrix, evaluate_model
from finecut.learn.evaluation.rerank import merged_rows, recall_loss
from finecut.learn.evaluation.tokens import encode_split
from finecut.learn.methods.protocol import recall_sims
from learn.evaluation.small_split import ColourClips
from learn.tiny_models import TINY_MODELS, colour_clip


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return TINY_MODELS[name].build(colour_clip()).eval()


@pytest.mark.parametrize("name", sorted(TINY_MODELS))
def test_two_stages_with_every_candidate_are_exhaustive_scoring(name: str) -> None:
    model, data = built(name), ColourClips(TINY_MODELS[name].text)
    report = evaluate_model(model, data, recall_k=len(data.video_ids), batch_size=5)
    text, video = encode_split(model, data, batch_size=7)
    with torch.no_grad():
        everything = model.rerank(text, video).scores.numpy()
    fine = report.blocks["reranked"]
    # the same up to float rounding, which another batch size may move: compare the figures
    expected = metrics.t2v(everything, data.video_of_text, ks=(1, 5, 10, 50))
    got = fine.to_json()
    assert got["recall_k"] == len(data.video_ids)
    assert got["recall_loss"] == 0.0
    assert got["t2v"]["MnR"] == pytest.approx(expected["MnR"], abs=1.0)
    assert evaluate_model(model, data, recall_k=None).to_json()["reranked"]["t2v"] == got["t2v"]
    coarse = metrics.t2v(recall_sims(text, video).numpy(), data.video_of_text)
    assert report.to_json()["t2v"]["MnR"] == pytest.approx(coarse["MnR"], abs=1.0)
