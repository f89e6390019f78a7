"""Sentences for each method, and what is learnt from the training captions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finecut.errors import UsageError
from finecut.learn.encoders.tiny import TINY, tiny_tokenizer
from finecut.learn.inputs import camoe, taco
from finecut.learn.inputs.camoe import CamoeTextInputs
from finecut.learn.inputs.taco import SPECIAL, TacoTextInputs, learn_vocabulary, read_vocabulary
from finecut.learn.inputs.text import text_inputs_for
from finecut.learn.methods.camoe import CAMoE, CamoeConfig
from finecut.learn.methods.clip4clip import Clip4ClipConfig
from finecut.learn.methods.taco import TACo, TacoConfig

CAPTIONS = ("a dog catches a frisbee", "a dog sleeps", "two women sing a song", "the dog runs")
BERT = {"vocab_size": 120, "width": 16, "layers": 1, "heads": 2, "inner": 32}


def taco_config() -> TacoConfig:
    from finecut.learn.encoders.bert import BertConfig

    return TacoConfig(feature_dim=8, text=BertConfig(**BERT), max_words=10)


def camoe_config() -> CamoeConfig:
    return CamoeConfig(clip=TINY, expert_layers=1, max_words=16)


def test_clip_ids_are_the_tokenizers():
    text = text_inputs_for("clip4clip", Clip4ClipConfig(clip=TINY, max_words=9))
    ids = text(["a dog", "a man is playing a guitar on a stage today"])["input_ids"]
    assert torch.equal(ids[0], tiny_tokenizer()(["a dog"], 9)[0][0])
    assert ids.shape == (2, 9) and ids[1, -1] == TINY.vocab_size - 1


# ---------------------------------------------------------------------- CAMoE


def test_nouns_and_verbs_stay_and_all_else_is_masked():
    inputs = CamoeTextInputs.learn(camoe_config(), CAPTIONS)
    made = inputs(["a dog eats"])
    assert set(made) == {"input_ids", "entity_ids", "action_ids"}
    pieces = {word: inputs._pieces(word) for word in ("a", "dog", "eats")}
    filler = camoe_config().filler_id
    start, end = tiny_tokenizer().sot, tiny_tokenizer().eot

    def row(*kept: str) -> list[int]:
        ids = [p if word in kept else filler for word in pieces for p in pieces[word]]
        return [start, *ids, end]

    length = len(row())
    assert made["input_ids"][0, :length].tolist() == row("a", "dog", "eats")
    assert made["entity_ids"][0, :length].tolist() == row("dog")
    assert made["action_ids"][0, :length].tolist() == row("eats")


def test_camoe_fills_the_models_table_and_needs_only_the_tagger_later(tmp_path: Path):
    learnt = CamoeTextInputs.learn(camoe_config(), CAPTIONS)
    model = CAMoE(camoe_config())
    learnt.prepare_model(model)
    (dog,) = {tuple(learnt._pieces("dog"))}
    assert model.key_pieces[0, dog[0]] and not model.key_pieces[1, dog[0]]
    learnt.save(tmp_path)
    loaded = CamoeTextInputs.load(camoe_config(), tmp_path)
    for name, value in learnt(["the dog runs"]).items():
        assert torch.equal(loaded(["the dog runs"])[name], value)
    table = model.key_pieces.clone()
    loaded.prepare_model(model)  # nothing to learn from: the checkpoint's table stays
    assert torch.equal(model.key_pieces, table)


def test_another_tagger_leaves_it_to_the_models_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / camoe.STATE).write_text(json.dumps({"tagger": "spacy of another year"}))
    loaded = CamoeTextInputs.load(camoe_config(), tmp_path)
    assert set(loaded(["a dog"])) == {"input_ids"}
    assert "training tagged its captions by spacy of another year" in caplog.text


@pytest.mark.parametrize("body", ["[]", "{}", '{"tagger": 3}'])
def test_a_damaged_state_is_refused(tmp_path: Path, body: str):
    (tmp_path / camoe.STATE).write_text(body)
    with pytest.raises(UsageError, match="does not say which tagger"):
        CamoeTextInputs.load(camoe_config(), tmp_path)
    with pytest.raises(UsageError, match=r"taco\.json is missing"):
        TacoTextInputs.load(taco_config(), tmp_path)


@pytest.mark.parametrize("method", ["camoe", "taco-clip"])
def test_nothing_to_learn_from_is_an_error(method: str):
    with pytest.raises(UsageError, match="give the run's text_state folder, or open the training"):
        text_inputs_for(method, camoe_config() if method == "camoe" else taco_config())


# ---------------------------------------------------------------------- TACo


def test_word_weights_are_idf_of_nouns_and_verbs():
    inputs = TacoTextInputs.learn(taco_config(), CAPTIONS)
    made = inputs(["a dog sleeps", "of the"])
    assert made["input_ids"].shape == (2, 10) == made["word_weights"].shape
    tokens = [inputs.tokenizer.id_to_token(i) for i in made["input_ids"][0][made["word_mask"][0]]]
    assert tokens == ["[CLS]", "a", "dog", "sleeps", "[SEP]"]
    weights = made["word_weights"][0]
    idf = inputs.idf
    assert idf.idf("dog") < idf.idf("sleeps")
    total = idf.idf("dog") + idf.idf("sleeps")
    expected = torch.tensor([0, 0, idf.idf("dog") / total, idf.idf("sleeps") / total, 0])
    assert torch.allclose(weights[:5], expected) and (weights[5:] == 0).all()
    assert (made["word_weights"][1] == 0).all()


def test_taco_is_whole_again_from_its_state(tmp_path: Path):
    learnt = TacoTextInputs.learn(taco_config(), CAPTIONS)
    learnt.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [taco.IDF, taco.STATE, taco.TOKENIZER]
    loaded = TacoTextInputs.load(taco_config(), tmp_path)
    for name, value in learnt(["a cat catches a dog"]).items():
        assert torch.equal(loaded(["a cat catches a dog"])[name], value)
    model = TACo(taco_config())
    learnt.prepare_model(model)
    frisbee, a = (learnt.tokenizer.token_to_id(word) for word in ("frisbee", "a"))
    assert model.piece_weights[frisbee] > 0 and model.piece_weights[a] == 0
    (tmp_path / taco.STATE).write_text(json.dumps({"tagger": "another"}))
    unweighted = TacoTextInputs.load(taco_config(), tmp_path)
    assert set(unweighted(["a dog"])) == {"input_ids", "word_mask"}


def test_the_vocabulary_is_the_same_in_another_process():
    """The trainers of the tokenizers library differ from run to run; this must not."""
    code = (
        "from finecut.learn.inputs.taco import learn_vocabulary\n"
        f"print(learn_vocabulary({CAPTIONS!r}, 60).to_str(), end='')"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1] == learn_vocabulary(CAPTIONS, 60).to_str()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.integers(200, 400))
def test_a_vocabulary_knows_its_own_sentences(sentences: list[str], size: int):
    learnt = learn_vocabulary(sentences, size)
    assert learnt.get_vocab_size() <= size
    for text in sentences:
        coded = learnt.encode(text)
        assert coded.tokens[0] == "[CLS]" and coded.tokens[-1] == "[SEP]"
        assert max(coded.ids) < size
        assert "[UNK]" not in coded.tokens or "[UNK]" in text or len(text) > 25


def test_a_vocabulary_too_small_for_the_letters_is_refused():
    with pytest.raises(UsageError, match="vocabulary of 10 pieces has no room for 3 letters"):
        learn_vocabulary(["abc"], 10)


def test_berts_own_files_are_read(tmp_path: Path):
    names = [*SPECIAL, "a", "dog", "run", "##s"]
    plain = tmp_path / "vocab.txt"
    plain.write_text("\n".join(names) + "\n", encoding="utf-8")
    read = read_vocabulary(plain)
    assert read.encode("A dog runs").tokens == ["[CLS]", "a", "dog", "run", "##s", "[SEP]"]
    read.save(str(tmp_path / "tokenizer.json"))
    again = read_vocabulary(tmp_path / "tokenizer.json")
    assert isinstance(again, Tokenizer) and again.encode("dog").ids == read.encode("dog").ids
    inputs = text_inputs_for("taco", taco_config(), training_sentences=CAPTIONS, vocabulary=plain)
    assert inputs(["dog"])["input_ids"][0, :3].tolist() == [2, 6, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [("[PAD]\n[UNK]\n[CLS]\n", r"\[SEP\] is missing"), ("a\nb\n", r"\[PAD\] is missing"),
     ("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n", "a piece is there twice")],
)  # fmt: skip
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "vocab.txt").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_vocabulary(tmp_path / "vocab.txt")


def test_files_that_cannot_be_vocabularies(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_vocabulary(tmp_path / "none.txt")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match=r"is not a tokenizer\.json"):
        read_vocabulary(tmp_path / "tokenizer.json")
    with pytest.raises(UsageError, match="The vocabulary has 9 pieces, the model's"):
        names = "\n".join([*SPECIAL, "a", "dog", "run", "##s"])
        (tmp_path / "vocab.txt").write_text(names)
        small = TacoConfig(feature_dim=8, text=type(taco_config().text)(**BERT | {"vocab_size": 8}))
        TacoTextInputs.learn(small, CAPTIONS, tmp_path / "vocab.txt")
    with pytest.raises(UsageError, match="is for taco and taco-clip; eercf has its own"):
        text_inputs_for("eercf", None, vocabulary=tmp_path / "vocab.txt")
