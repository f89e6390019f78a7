"""TACo begins with a BERT of one's own, and says what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finecut.errors import BundleError, UsageError
from finecut.learn.recipe import Recipe, Start
from finecut.learn.training.start import StartingPoint

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=96,
        max_position_embeddings=40,
    )
    path = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).eval().save_pretrained(path)
    return path


def recipe(folder: Path, method: str = "taco", **model: object) -> Recipe:
    table = {"feature_dim": 8, **model} if method == "taco" else model
    return Recipe("r", method, model=table, start=Start(f"bert:{folder}"))


def test_the_text_encoder_is_the_bert(folder: Path) -> None:
    start = StartingPoint(recipe(folder))
    assert start.config().text.layers == 2
    model, notes = start.build({})
    ids = torch.tensor([[2, 7, 9, 3]])
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        want = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        got = model.eval().text(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert "text encoder is from bert:" in notes[0]


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="clip4clip has no BERT"):
        StartingPoint(recipe(folder, "clip4clip"))
    with pytest.raises(UsageError, match=r"\[model.text\] asks for other sizes"):
        StartingPoint(recipe(folder, text={"layers": 3})).build({})
    with pytest.raises(BundleError, match="No checkpoint at"):
        StartingPoint(recipe(folder / "nowhere"))
