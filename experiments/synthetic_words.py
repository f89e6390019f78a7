"""CAMoE's streams and dual softmax, TACo's token loss and cascade, where captions differ by a word.

    python experiments/synthetic_words.py     # writes results/repro-synthetic-words.json

The task is "action": in every group one clip differs from another in the verb alone or in the noun
alone. Tags come from the grammar of the captions, which is known, not from a tagger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fit import (
    BATCH,
    RATE,
    TRAIN_CLIPS,
    Clips,
    chance,
    figures,
    fit,
    seen_by_tower,
    starting_clip,
    tokens,
)
from synthetic_order import HEAD_LAYERS, SEEDS
from tiny_clip import END_ID, FILLER_ID, FRAMES, START_ID, TINY, number_of, words_of
from torch import Tensor

from finecut.learn.data.synthetic_scene import COLOURS, SHAPES
from finecut.learn.data.synthetic_tasks import VERBS
from finecut.learn.encoders.bert import BertConfig
from finecut.learn.losses import token_scores
from finecut.learn.methods.camoe import STREAMS, CAMoE, CamoeConfig
from finecut.learn.methods.camoe_text import stream_inputs
from finecut.learn.methods.on_clip import TacoOnClip, TacoOnClipConfig
from finecut.learn.methods.protocol import Batch
from finecut.learn.methods.taco import TACo, TacoConfig
from finecut.learn.normalise import dual_softmax
from finecut.text.idf import IdfTable, Word, sum_to_one
from finecut.text.tags import Tagged
from record import Record

TASK, TEST_CLIPS = "action", 240
STREAM_SETS = {
    "sentence": (1.0, 0.0, 0.0),
    "sentence + entity": (0.5, 0.5, 0.0),
    "sentence + action": (0.5, 0.0, 0.5),
    "sentence + entity + action": (1 / 3, 1 / 3, 1 / 3),
}
TEST_TEMPERATURE = 1.0  # of scaled logits, the authors' at test
# TACo: what is trained, and so what is summed at test; (sentence, token, fused, which negatives)
LOSSES = {
    "L1": (True, False, False, "cascade"),
    "L1 + L3, random negatives": (True, False, True, "random"),
    "L1 + L3, cascade": (True, False, True, "cascade"),
    "L1 + L2 + L3, cascade": (True, True, True, "cascade"),
}
STEPS = 150
HARD_NEGATIVES = 2  # K', of 15; 8 of 127 in the article
TACO_BATCH, TACO_STEPS, WORDS = 16, 400, 12
DUAL_SETS = ("sentence + entity + action",)  # trained with the dual softmax as well


def tagged(caption: str) -> list[Tagged]:
    """Words with the tags the captions were made with."""
    known = dict.fromkeys(SHAPES, "NOUN") | dict.fromkeys(VERBS, "VERB")
    known |= dict.fromkeys(COLOURS, "ADJ")
    return [Tagged(word, known.get(word, "X")) for word in words_of(caption)]


# ------------------------------------------------------------------ CAMoE


def streams(captions: Sequence[str]) -> dict[str, Tensor]:
    """Whole, nouns alone, verbs alone (MUW)."""
    return stream_inputs(
        [tagged(c) for c in captions],
        lambda word: [number_of(word)],
        "MUW",
        start_id=START_ID,
        end_id=END_ID,
        filler_id=FILLER_ID,
        max_words=WORDS,
    )


def camoe(seed: int, weights: tuple[float, ...], dual: bool, train: Clips, test: Clips) -> Any:
    """Figures plain and with the dual softmax at test, of one training."""
    torch.manual_seed(seed)
    config = CamoeConfig(
        clip=TINY,
        stream_weights=weights,
        dual_softmax=dual,
        expert_layers=HEAD_LAYERS,
        action_expert="self_attention",
        max_frames=FRAMES,
        max_words=WORDS,
        filler_id=FILLER_ID,
    )
    model = CAMoE(config, starting_clip(seed))
    used = [name for name, weight in zip(STREAMS, weights, strict=True) if weight]

    def loss_of(_: Any, batch: Batch) -> Tensor:
        parts = model.loss(batch)
        return torch.stack([parts[f"{name}_loss"] for name in used]).sum()

    seconds = fit(model, train, seed=seed, text_inputs=streams, loss_of=loss_of, steps=STEPS)
    text, video = tokens(model, test, streams)
    with torch.no_grad():
        sims = text.recall @ video.recall.T
        scale = model.clip.logit_scale.exp()
        logits = (scale * sims).numpy()
    again = {
        way: figures(torch.from_numpy(dual_softmax(logits, TEST_TEMPERATURE, way)), test.groups)
        for way in ("t2v", "v2t")
    }
    return {
        "plain": {**figures(sims, test.groups), "train_s": seconds},
        "dual softmax at test": again["t2v"] | {"v2t_r_at_1": again["v2t"]["v2t_r_at_1"]},
    }


# ------------------------------------------------------------------ TACo


class RandomNegatives(TACo):
    """TACo whose fused loss sees negatives drawn at random, as many as the cascade would pick."""

    def _hard_negatives(
        self, sentence: Tensor, tokens: Tensor, weights: Tensor, video_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        noise = torch.rand_like(sentence)
        return super()._hard_negatives(noise, torch.zeros_like(tokens), weights, video_ids)


def bert_inputs(idf: IdfTable) -> Any:
    """[CLS] words [SEP] with the weights of nouns and verbs; ids are those of the tiny CLIP."""

    def inputs(captions: Sequence[str]) -> dict[str, Tensor]:
        ids = torch.zeros(len(captions), WORDS, dtype=torch.long)
        weights = torch.zeros(len(captions), WORDS)
        mask = torch.zeros(len(captions), WORDS, dtype=torch.bool)
        for row, caption in enumerate(captions):
            words = [Word(w.word, w.tag, [w.word]) for w in tagged(caption)]
            line = [START_ID, *(number_of(w.word) for w in words), END_ID]
            ids[row, : len(line)] = torch.tensor(line)
            mask[row, : len(line)] = True
            values = sum_to_one([0.0, *idf.piece_weights(words), 0.0])
            weights[row, : len(line)] = torch.tensor(values)
        return {"input_ids": ids, "word_mask": mask, "word_weights": weights}

    return inputs


def taco(seed: int, name: str, train: Clips, test: Clips) -> dict[str, float]:
    """One row of the article's ablation: trained losses are the scores that are summed."""
    sentence, token, fused, negatives = LOSSES[name]
    torch.manual_seed(seed)
    config = TacoConfig(
        feature_dim=TINY.embed_dim,
        text=BertConfig(TINY.vocab_size, 64, 2, 4, 256, WORDS, dropout=0.0),
        video_layers=1,
        fusion_layers=2,
        max_words=WORDS,
        max_frames=FRAMES,
        hard_negatives=HARD_NEGATIVES,
        token_score_weight=0.5 if token else 0.0,
        reduction="mean",
    )
    model = TacoOnClip(TacoOnClipConfig(clip=TINY, taco=config), starting_clip(seed))
    if negatives == "random":
        model.taco = RandomNegatives(config)
    idf = IdfTable.build([words_of(c) for c in train.captions])
    inputs = bert_inputs(idf)

    def loss_of(_: Any, batch: Batch) -> Tensor:
        parts = model.loss(batch)
        loss = parts["sentence_loss"] if sentence else 0.0
        loss = loss + (config.token_loss_weight * parts["token_loss"] if token else 0.0)
        return loss + (parts["fused_loss"] if fused else 0.0)

    seconds = fit(
        model,
        train,
        seed=seed,
        text_inputs=inputs,
        loss_of=loss_of,
        batch_size=TACO_BATCH,
        steps=TACO_STEPS,
    )
    text, video = tokens(model, test, inputs)
    with torch.no_grad():
        own = text.recall @ video.recall.T
        found = {"sentence": own, "all": own}
        if fused:
            scores = model.rerank(text, video).scores
            words = token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)
            token_part = torch.einsum("qgw,qw->qg", words, text.word_weights)
            found["all"] = scores if sentence else scores - own
            if token:
                found["token"] = token_part
            found["fused"] = scores - own - config.token_score_weight * token_part
    rows = {kind: figures(matrix, test.groups) for kind, matrix in found.items()}
    alone = {f"{kind} alone, R@1": row["r_at_1"] for kind, row in rows.items() if kind != "all"}
    return {**rows["all"], **alone, "train_s": seconds}


def main() -> None:
    """Seed by seed; what is measured already is left out."""
    torch.set_num_threads(1)
    record = Record(
        "synthetic-words",
        "captions that differ by one word: CAMoE's streams and dual softmax, TACo's losses",
        task=TASK,
        train_clips=TRAIN_CLIPS,
        test_clips=TEST_CLIPS,
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        test_temperature=TEST_TEMPERATURE,
        taco={"batch": TACO_BATCH, "steps": TACO_STEPS, "hard_negatives": HARD_NEGATIVES},
    )
    for seed in SEEDS:
        train = seen_by_tower(TASK, TRAIN_CLIPS, "train", seed)
        test = seen_by_tower(TASK, TEST_CLIPS, "test", seed)
        record.body["chance"] = chance(test)
        for name in LOSSES:
            record.run(
                f"TACo/{name}/{seed}",
                lambda n=name, s=seed, a=train, b=test: taco(s, n, a, b),
            )
        for name, weights in STREAM_SETS.items():
            for dual in (False, True) if name in DUAL_SETS else (False,):
                loss = "dual softmax loss" if dual else "InfoNCE"
                rows = [f"{name}, {loss}: {at}" for at in ("plain", "dual softmax at test")]

                def make(w=weights, d=dual, s=seed, a=train, b=test, n=rows) -> dict[str, Any]:
                    return dict(zip(n, camoe(s, w, d, a, b).values(), strict=True))

                record.run_all("CAMoE", rows, seed, make)
    record.save()


if __name__ == "__main__":
    main()
