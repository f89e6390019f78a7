"""What may not change a TACo score; the cascade; weights of words; learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer

from finecut.errors import ShapeError, UsageError
from finecut.learn import losses
from finecut.learn.checkpoint import load_checkpoint, save_checkpoint
from finecut.learn.encoders.bert import BertConfig
from finecut.learn.methods import taco, taco_text
from finecut.learn.methods.protocol import Batch, Method, TextTokens, VideoTokens, recall_sims
from finecut.learn.methods.taco import TACo, TacoConfig
from finecut.text.idf import IdfTable
from finecut.text.tags import Tagged

BERT = BertConfig(vocab_size=40, width=16, layers=1, heads=2, inner=32, max_words=12, dropout=0.0)
SMALL = TacoConfig(
    feature_dim=6, text=BERT, video_layers=1, fusion_layers=1, max_words=8, max_frames=5,
    hard_negatives=2,
)  # fmt: skip


def build(config: TacoConfig = SMALL, seed: int = 0) -> TACo:
    torch.manual_seed(seed)
    model = TACo(config)
    for parameter in model.parameters():  # far from BERT's tiny initialisation, so scores differ
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


MODELS = {False: build(), True: build(replace(SMALL, normalise=True))}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def videos(lengths: list[int], frames: int, fill: float = 0.0) -> dict[str, torch.Tensor]:
    mask = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    features = torch.full((len(lengths), frames, 6), fill)
    real = draw(len(lengths), 5, 6)[:, :frames]
    features[:, : real.shape[1]] = real
    return {"features": torch.where(mask[..., None], features, fill), "frame_mask": mask}


def texts(lengths: list[int], words: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, 40, (len(lengths), 8), generator=generator)[:, :words]
    mask = torch.arange(words)[None] < torch.tensor(lengths)[:, None]
    weights = torch.rand(len(lengths), 8, generator=generator)[:, :words] * mask
    weights[:, 0] = 0.0
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return {"input_ids": ids * mask, "word_mask": mask, "word_weights": weights}


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(
    frames=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    words=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    more=st.integers(0, 1),
    fill=st.sampled_from([0.0, 50.0]),
    normalise=st.booleans(),
)
def test_padding_changes_nothing(
    frames: list[int], words: list[int], more: int, fill: float, normalise: bool
) -> None:
    model = MODELS[normalise]
    short = model.encode_video(**videos(frames, max(frames)))
    long = model.encode_video(**videos(frames, max(frames) + more, fill))
    text = model.encode_text(**texts(words, max(words)))
    wide = model.encode_text(**texts(words, max(words) + more))
    a, b = model.rerank(text, short), model.rerank(wide, long)
    torch.testing.assert_close(recall_sims(text, short), recall_sims(wide, long))
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-4)
    assert not b.frame_relevance[..., max(frames) :].any()


@torch.no_grad()
@pytest.mark.parametrize("normalise", [False, True])
def test_the_score_is_sentence_plus_half_token_plus_fused(normalise: bool) -> None:
    model = MODELS[normalise]
    text, video = model.encode_text(**texts([3, 6], 6)), model.encode_video(**videos([2, 5, 1], 5))
    scores = model.rerank(text, video).scores
    for q in range(2):
        for g in range(3):
            frames = video.frame_embeds[g][video.frame_mask[g]]
            mean = frames.mean(0)
            if normalise:
                mean = mean / mean.norm()
            sentence = text.word_embeds[q, 0] @ mean
            best = (text.word_embeds[q] @ frames.T).amax(1)
            token = (text.word_weights[q] * best).sum()
            fused = model.fused_scores(text, video, torch.tensor([q]), torch.tensor([g]))[0]
            expected = sentence + 0.5 * token + fused
            torch.testing.assert_close(scores[q, g], expected, rtol=1e-4, atol=1e-4)
    assert isinstance(model, Method)


def test_fusing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[False]
    text, video = model.encode_text(**texts([3, 6], 6)), model.encode_video(**videos([2, 5, 1], 5))
    whole = model.rerank(text, video).scores
    monkeypatch.setattr(taco, "FUSION_CHUNK", 4)
    torch.testing.assert_close(model.rerank(text, video).scores, whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_cascade_takes_the_hardest_of_other_videos(
    size: int, count: int, seed: int, twins: bool
) -> None:
    align = torch.randint(-2, 3, (size, size), generator=torch.Generator().manual_seed(seed))
    ids = torch.arange(size) // 2 if twins else None
    barred = taco.same_video(size, ids, "cpu")
    chosen = taco.hardest(align.float(), count, barred)
    for i in range(size):
        allowed = [j for j in range(size) if not barred[i, j]]
        expected = sorted(allowed, key=lambda j: (-align[i, j].item(), j))[:count]
        assert chosen[i].nonzero()[:, 0].tolist() == sorted(expected)


def test_few_pairs_are_fused_and_only_those() -> None:
    model, size = build(replace(SMALL, hard_negatives=1)), 6
    counted = []
    fuse = model.fuse
    model.fuse = lambda *a: counted.append(len(a[0])) or fuse(*a)  # type: ignore[method-assign]
    model.loss(Batch(video=videos([3] * size, 5), text=texts([5] * size, 6)))
    assert size < sum(counted) <= 2 * size * 2 < size * size + size


def test_the_loss_is_its_parts() -> None:
    model = build()
    batch = Batch(video=videos([2, 5, 1, 4], 5), text=texts([3, 6, 4, 2], 6))
    parts = model.loss(batch)
    text, video = model.encode_text(**batch.text), model.encode_video(**batch.video)
    every = ~torch.eye(4, dtype=torch.bool)
    whole = replace(SMALL, hard_negatives=3)
    fused = model.fused_scores(
        text, video, *(t.flatten() for t in torch.meshgrid(*[torch.arange(4)] * 2, indexing="ij"))
    ).view(4, 4)
    sentence = losses.text_to_video_nce(recall_sims(text, video), reduction="sum")
    torch.testing.assert_close(parts["sentence_loss"], sentence)
    model.config = whole
    complete = model.loss(batch)
    expected = losses.sampled_contrastive(fused, every) + losses.sampled_contrastive(fused.T, every)
    torch.testing.assert_close(complete["fused_loss"], expected)
    assert parts["fused_loss"] <= complete["fused_loss"]
    total = parts["sentence_loss"] + 0.5 * parts["token_loss"] + parts["fused_loss"]
    torch.testing.assert_close(parts["loss"], total)


def test_captions_of_one_video_are_no_negatives() -> None:
    model = build()
    batch = Batch(video=videos([3, 3], 5), text=texts([4, 4], 6), video_ids=torch.tensor([7, 7]))
    assert model.loss(batch)["loss"].item() == pytest.approx(0.0, abs=1e-5)


def test_a_caption_without_words_of_interest_has_no_token_score() -> None:
    model = build()
    inputs = texts([4, 4], 6)
    inputs["word_weights"] = torch.zeros(2, 6)
    text, video = model.encode_text(**inputs), model.encode_video(**videos([3, 2], 5))
    scores = losses.token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)
    assert losses.token_contrastive(scores, text.word_weights) == 0


def test_published_size() -> None:
    """7.1 M parameters a video layer; 126.5 M without (theirs with BERT's pooler, ours without)."""
    counts = {}
    with torch.device("meta"):
        for layers in (0, 1, 2, 4):
            model = TACo(TacoConfig(video_layers=layers))
            counts[layers] = sum(p.numel() for p in model.parameters()) / 1e6
    assert counts[1] - counts[0] == pytest.approx(7.1, abs=0.05)
    for layers, published in {0: 126.5, 1: 133.6, 2: 140.7, 4: 154.9}.items():
        assert counts[layers] == pytest.approx(published, abs=1.1)


def test_a_model_survives_its_checkpoint(tmp_path: Path) -> None:
    model = build()
    model.piece_weights[5] = 2.0
    again = load_checkpoint(save_checkpoint(model, tmp_path / "taco"))
    text, video = texts([4, 6], 6), videos([3, 2], 5)
    a = model.rerank(model.encode_text(**text), model.encode_video(**video)).scores
    b = again.rerank(again.encode_text(**text), again.encode_video(**video)).scores
    torch.testing.assert_close(a, b)
    assert again.piece_weights[5] == 2.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: MODELS[False].encode_video(**videos([3], 6)), ShapeError, "at most 5"),
        (lambda: MODELS[False].encode_text(torch.ones(1, 9).long(), None), ShapeError, "at most 8"),
        (lambda: replace(SMALL, hard_negatives=0), UsageError, "hard_negatives is 0"),
        (lambda: replace(SMALL, max_words=13), UsageError, "max_words 13"),
    ],
)
def test_what_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True])
def test_it_learns_to_match(normalise: bool) -> None:
    """16 meanings, each a word and a direction of the frames' features."""
    scale = 0.1 if normalise else 1.0
    config = replace(
        SMALL, normalise=normalise, sentence_temperature=scale, token_temperature=scale,
        hard_negatives=4, reduction="mean",
    )  # fmt: skip
    torch.manual_seed(0)
    model = TACo(config).train()
    count = 16
    features = draw(count, 1, 6, seed=2).expand(-1, 4, -1) * 2 + draw(count, 4, 6, seed=3) * 0.2
    ids = torch.stack([torch.tensor([1, 10 + i, 3, 2]) for i in range(count)])
    weights = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(count, -1)
    ones = torch.ones(count, 4, dtype=torch.bool)
    batch = Batch(
        video={"features": features, "frame_mask": ones},
        text={"input_ids": ids, "word_mask": ones, "word_weights": weights},
    )

    @torch.no_grad()
    def right() -> tuple[float, float]:
        model.eval()
        text, video = model.encode_text(**batch.text), model.encode_video(**batch.video)
        model.train()
        own = torch.arange(count)
        coarse = (recall_sims(text, video).argmax(1) == own).float().mean().item()
        return coarse, (model.rerank(text, video).scores.argmax(1) == own).float().mean().item()

    before = right()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        model.loss(batch)["loss"].backward()
        optimiser.step()
    assert max(before) < 0.4 and min(right()) > 0.9


# ---- words to weighted pieces

VOCAB = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "gym", "##nast", "flips", "man"]


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(VOCAB)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


CAPTIONS = [
    [Tagged("a", "DET"), Tagged("gymnast", "NOUN"), Tagged("flips", "VERB")],
    [Tagged("a", "DET")],
]


def test_pieces_of_nouns_and_verbs_share_one() -> None:
    table = IdfTable(10, {"gymnast": 1, "flips": 4})
    inputs = taco_text.text_inputs(CAPTIONS, wordpiece(), table)
    assert inputs["input_ids"].tolist() == [[1, 4, 5, 6, 7, 2], [1, 4, 2, 0, 0, 0]]
    assert inputs["word_mask"].sum(1).tolist() == [6, 3]
    noun, verb = table.idf("gymnast"), table.idf("flips")
    expected = torch.tensor([0, 0, noun, noun, verb, 0]) / (2 * noun + verb)
    torch.testing.assert_close(inputs["word_weights"][0], expected)
    assert (inputs["word_weights"][1] == 0).all()


def test_long_captions_are_cut_and_still_sum_to_one() -> None:
    table = IdfTable(10, {"gymnast": 1})
    inputs = taco_text.text_inputs(CAPTIONS[:1], wordpiece(), table, max_words=5)
    assert inputs["input_ids"].tolist() == [[1, 4, 5, 6, 2]]
    assert inputs["word_weights"].sum().item() == pytest.approx(1.0)


def test_a_model_without_a_tagger_weighs_by_its_table() -> None:
    model, table = build(), IdfTable(10, {"gymnast": 1, "flips": 4})
    assert taco_text.learn_piece_weights(model, CAPTIONS, wordpiece(), table) == 3
    inputs = taco_text.text_inputs(CAPTIONS, wordpiece(), table)
    exact = model.encode_text(**inputs).word_weights
    del inputs["word_weights"]
    torch.testing.assert_close(model.encode_text(**inputs).word_weights, exact)


def test_a_tokeniser_of_another_kind_is_refused() -> None:
    other = Tokenizer(WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(UsageError, match=r"no \[CLS\]"):
        taco_text.text_inputs(CAPTIONS, other, IdfTable(1, {}))


def test_tokens_can_be_selected() -> None:
    text = TextTokens(torch.eye(3), word_weights=torch.ones(3, 2))
    assert len(text.select(torch.tensor([2, 0]))) == 2
    assert VideoTokens(torch.eye(3)).select(slice(1, 2)).recall.tolist() == [[0.0, 1.0, 0.0]]
