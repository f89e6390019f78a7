"""What may not change a CAMoE score; folding of streams; the three sentences; learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn import losses
from finecut.learn.checkpoint import load_checkpoint, save_checkpoint
from finecut.learn.encoders.tiny import TINY, tiny_clip, tiny_tokenizer
from finecut.learn.methods import camoe_text
from finecut.learn.methods.camoe import CAMoE, CamoeConfig, SqueezeExcitation
from finecut.learn.methods.protocol import Batch, Method, TextTokens, recall_sims
from finecut.text.tags import Tagged

TOKENS = tiny_tokenizer()
MODES = ("RKW", "AKWE", "MUW")
SMALL = CamoeConfig(TINY, expert_layers=1, se_reduction=2, max_frames=6, max_words=24)
CAPTIONS = [
    [Tagged("A", "DET"), Tagged("man", "NOUN"), Tagged("is", "AUX"), Tagged("singing", "VERB")],
    [Tagged("dogs", "NOUN"), Tagged("run", "VERB"), Tagged("in", "ADP"), Tagged("Paris", "PROPN")],
    [Tagged("very", "ADV"), Tagged("funny", "ADJ")],
]


def encode(word: str) -> list[int]:
    return TOKENS.encode(word, 77)[1:-1]


def build(**changes: object) -> CAMoE:
    torch.manual_seed(0)
    return CAMoE(replace(SMALL, **changes), tiny_clip(1)).eval()


def inputs(mode: str, captions=CAPTIONS) -> dict[str, torch.Tensor]:
    return camoe_text.stream_inputs(
        captions,
        encode,
        mode,  # type: ignore[arg-type]
        start_id=TOKENS.sot,
        end_id=TOKENS.eot,
        filler_id=SMALL.filler_id,
        max_words=SMALL.max_words,
    )


def clips(lengths: list[int], frames: int, fill: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    raw = torch.randn(len(lengths), 6, 64, generator=torch.Generator().manual_seed(4))
    mask = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    return torch.where(mask[..., None], raw[:, :frames], fill), mask


MODEL = build(fusion_expert="self_attention", entity_expert="se", action_expert="mean")


@torch.no_grad()
@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    padding=st.integers(0, 2),
    fill=st.sampled_from([0.0, 30.0]),
)
def test_padded_frames_change_nothing(lengths: list[int], padding: int, fill: float) -> None:
    text = MODEL.encode_text(**inputs("MUW"))
    short = MODEL.tokens_from_frames(*clips(lengths, max(lengths)))
    long = MODEL.tokens_from_frames(*clips(lengths, max(lengths) + padding, fill))
    a, b = MODEL.rerank(text, short), MODEL.rerank(text, long)
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-5)
    assert not b.frame_relevance[..., max(lengths) :].any()


@torch.no_grad()
@pytest.mark.parametrize("weights", [(1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0), (0.5, 0.2, 0.3)])
@pytest.mark.parametrize("mode", MODES)
def test_recall_is_the_weighted_mean_of_three_cosines(mode: str, weights: tuple) -> None:
    model = build(stream_weights=weights, sentence_mode=mode)
    assert isinstance(model, Method)
    frames, mask = clips([3, 5], 5)
    text_streams = model.text_streams(**inputs(mode))
    video_streams = torch.nn.functional.normalize(model.video_streams(frames, mask), dim=-1)
    expected = sum(w * text_streams[:, i] @ video_streams[:, i].T for i, w in enumerate(weights))
    text, video = model.encode_text(**inputs(mode)), model.tokens_from_frames(frames, mask)
    torch.testing.assert_close(recall_sims(text, video), expected)
    torch.testing.assert_close(model.rerank(text, video).scores, expected)


def test_a_clip_without_a_real_frame_scores_0() -> None:
    frames, mask = clips([2, 0], 3)
    video = MODEL.tokens_from_frames(frames, mask)
    scores = MODEL.rerank(MODEL.encode_text(**inputs("MUW")), video).scores
    assert torch.isfinite(scores).all() and (scores[:, 1] == 0).all()


@pytest.mark.parametrize("dual", [True, False])
def test_the_loss_is_the_sum_of_three_streams(dual: bool) -> None:
    model = build(dual_softmax=dual, stream_weights=(1.0, 0.0, 0.0))
    pixels = torch.randn(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 2, dtype=torch.bool)
    parts = model.loss(Batch({"pixels": pixels, "frame_mask": mask}, inputs("MUW")))
    text = model.text_streams(**inputs("MUW"))
    video = model.encode_video(pixels, mask).recall.unflatten(1, (3, -1))
    scale = model.clip.logit_scale.exp()
    loss = losses.dual_softmax_loss if dual else losses.info_nce
    expected = [loss(scale * text[:, i] @ video[:, i].T) for i in range(3)]
    names = ("sentence_loss", "entity_loss", "action_loss")
    torch.testing.assert_close([parts[name] for name in names], expected)
    torch.testing.assert_close(parts["loss"], torch.stack(expected).sum())


def test_the_three_sentences_as_ids() -> None:
    man, sing, dogs, run = encode("man"), encode("singing"), encode("dogs"), encode("run")
    rest = [encode(w) for w in ("a", "is", "in", "paris")]
    whole = [*rest[0], *man, *rest[1], *sing]
    filler = SMALL.filler_id

    def row(ids: list[int]) -> list[int]:
        full = [TOKENS.sot, *ids, TOKENS.eot]
        return full + [0] * (SMALL.max_words - len(full))

    muw, rkw, akwe = inputs("MUW"), inputs("RKW"), inputs("AKWE")
    for made in (muw, rkw, akwe):
        assert made["input_ids"][0].tolist() == row(whole)
    hidden = [filler] * (len(whole) - len(rest[0]) - len(man))
    assert muw["entity_ids"][0].tolist() == row([filler] * len(rest[0]) + man + hidden)
    assert rkw["entity_ids"][0].tolist() == row(man)
    assert rkw["action_ids"][0].tolist() == row(sing)
    assert rkw["entity_ids"][1].tolist() == row(dogs + rest[3])  # proper nouns are entities
    assert rkw["action_ids"][1].tolist() == row(run)
    flags = akwe["entity_flags"][0]
    assert akwe["input_ids"][0][flags].tolist() == man
    for made in (muw, rkw):  # no key word: the whole caption
        assert made["entity_ids"][2].tolist() == made["input_ids"][2].tolist()
    assert not akwe["entity_flags"][2].any()


def test_a_sentence_is_cut_as_the_tokeniser_cuts_it() -> None:
    ids, _ = TOKENS(["a man is singing"], SMALL.max_words)
    assert inputs("MUW")["input_ids"][0].tolist() == ids[0].tolist()


def test_long_captions_keep_their_end() -> None:
    long = [[Tagged("man", "NOUN"), Tagged("is", "AUX")] * 20]
    for mode in MODES:
        made = inputs(mode, long)
        for name in made:
            assert made[name].shape == (1, SMALL.max_words)
        assert made["input_ids"][0, -1] == TOKENS.eot


def test_marks_matter_once_learned() -> None:
    model = build(sentence_mode="AKWE")
    made = inputs("AKWE")
    before = model.text_streams(**made)
    torch.testing.assert_close(before[:, 1], before[:, 0])  # marks start at zero
    with torch.no_grad():
        model.key_word.normal_()
    after = model.text_streams(**made)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert (after[:2, 1] - before[:2, 1]).abs().amax() > 1e-3
    torch.testing.assert_close(after[2, 1], before[2, 1])  # no key word, no mark


@pytest.mark.parametrize("mode", ["MUW", "AKWE"])
def test_without_a_tagger_the_table_finds_the_same_words(mode: str) -> None:
    model = build(sentence_mode=mode)
    if mode == "AKWE":
        with torch.no_grad():
            model.key_word.normal_()
    captions = [  # words of one piece each, so that no noun shares a piece with a verb
        [Tagged("the", "DET"), Tagged("man", "NOUN"), Tagged("see", "VERB"), Tagged("day", "NOUN")],
        [Tagged("the", "DET"), Tagged("day", "NOUN")],
    ]
    assert all(len(encode(w.word)) == 1 for words in captions for w in words)
    assert camoe_text.learn_key_pieces(model, captions, encode) == (2, 1)
    made = inputs(mode, captions)
    torch.testing.assert_close(model.text_streams(made["input_ids"]), model.text_streams(**made))


def test_an_untaught_table_leaves_the_sentence_whole() -> None:
    streams = build().text_streams(inputs("MUW")["input_ids"])
    torch.testing.assert_close(streams[:, 1], streams[:, 0])


def test_experts_start_as_clip() -> None:
    model = build()
    ours = model.fusion_expert.transformer.resblocks[0].state_dict()
    for name, tensor in model.clip.transformer.resblocks[0].state_dict().items():
        torch.testing.assert_close(ours[name], tensor)


def test_a_model_survives_its_checkpoint(tmp_path: Path) -> None:
    model = build()
    camoe_text.learn_key_pieces(model, CAPTIONS, encode)
    again = load_checkpoint(save_checkpoint(model, tmp_path / "camoe"))
    assert again.config == model.config
    ids = inputs("MUW")["input_ids"]
    torch.testing.assert_close(again.encode_text(ids).recall, model.encode_text(ids).recall)


@pytest.mark.slow
@pytest.mark.parametrize("dual", [True, False])
def test_it_learns_to_match(dual: bool) -> None:
    """Eight plain colours, each with its word; the towers are tiny and start at random."""
    words = ["red", "green", "blue", "white", "black", "cat", "dog", "car"]
    captions = [[Tagged(word, "NOUN"), Tagged("runs", "VERB")] for word in words]
    torch.manual_seed(0)
    model = build(dual_softmax=dual).train()
    generator = torch.Generator().manual_seed(5)
    colours = torch.randn(8, 1, 3, 1, 1, generator=generator)
    pixels = (
        colours.expand(-1, 2, -1, 32, 32) + torch.randn(8, 2, 3, 32, 32, generator=generator) * 0.1
    )
    mask = torch.ones(8, 2, dtype=torch.bool)
    batch = Batch({"pixels": pixels, "frame_mask": mask}, inputs("MUW", captions))

    @torch.no_grad()
    def right() -> float:
        sims = recall_sims(model.encode_text(**batch.text), model.encode_video(**batch.video))
        return (sims.argmax(dim=1) == torch.arange(8)).float().mean().item()

    before = right()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(100):
        optimiser.zero_grad()
        model.loss(batch)["loss"].backward()
        optimiser.step()
    assert before < 0.5 and right() > 0.9


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: replace(SMALL, stream_weights=(1.0,)), UsageError, "expected three"),
        (lambda: build(action_expert="max"), UsageError, "expert 'max'"),
        (lambda: inputs("MASK"), UsageError, "sentence mode 'MASK'"),
        (
            lambda: SqueezeExcitation(2, 1)(torch.zeros(1, 3, 4), torch.ones(1, 3).bool()),
            ShapeError,
            "3 frames for 2 slots",
        ),
    ],
)
def test_what_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_text_tokens_hold_the_whole_sentence() -> None:
    tokens = MODEL.encode_text(**inputs("MUW"))
    assert isinstance(tokens, TextTokens)
    torch.testing.assert_close(tokens.text_embeds.norm(dim=1), torch.ones(3))
