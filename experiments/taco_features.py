"""TACo's cascade of hard negatives against random ones, on real pairs known by features only.

    FINECUT_SHARED=DIR python experiments/taco_features.py   # results/repro-taco-features.json

The pairs of laff_features.py. A video is its four features as four tokens, a sentence its four, of
which the first stands for [CLS] and the others are the tokens of interest, weighing the same. What
learns is TACo's: projections, one self-attention layer over the video, one in the fusion, three
losses. Scores are plain products, as in the article. Only the fused loss's negatives differ.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from laff_features import SEEDS, TEXT, VIDEO, Pairs
from torch import Tensor, nn

from finecut import metrics
from finecut.learn.encoders.bert import BertConfig
from finecut.learn.losses import token_scores
from finecut.learn.methods.protocol import Batch, TextTokens, VideoTokens
from finecut.learn.methods.taco import TACo, TacoConfig
from record import Record

EPOCHS, BATCH, RATE, DECAY = 5, 64, 1e-3, 0.05
WIDTH, NEGATIVES = 64, 8  # K' = 8: the article's
RERANKED = 20  # candidates that the fusion scores at test
CHUNK = 250  # sentences at a time


class SentenceTokens(nn.Module):
    """Sentence features as W tokens, in the place of BERT; ids are rows of the tables."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList([nn.Linear(size, WIDTH) for size in sizes])
        self.norm = nn.LayerNorm(WIDTH)
        self.tables: list[Tensor] = []

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens = [p(t[ids[:, 0]]) for p, t in zip(self.projections, self.tables, strict=True)]
        return self.norm(torch.stack(tokens, dim=1))  # [Q, W, D]


class RandomNegatives(TACo):
    """TACo whose fused loss sees negatives drawn at random, as many as the cascade picks."""

    def _hard_negatives(
        self, sentence: Tensor, tokens: Tensor, weights: Tensor, video_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        noise = torch.rand_like(sentence)
        return super()._hard_negatives(noise, torch.zeros_like(tokens), weights, video_ids)


class TacoPairs:
    """The pairs as TACo takes them."""

    def __init__(self) -> None:
        pairs = Pairs()
        self.videos = {split: _side_by_side(pairs.images[split]) for split in pairs.images}
        self.tables = {
            split: [pairs.captions[split][name].flatten(0, 1) for name in TEXT]
            for split in pairs.captions
        }
        self.several = pairs.captions["train"]["even"].shape[1]
        self.sizes = [table.shape[1] for table in self.tables["train"]]

    def video(self, split: str, rows: Tensor | slice) -> dict[str, Tensor]:
        features = self.videos[split][rows]
        return {"features": features, "frame_mask": torch.ones(features.shape[:2]).bool()}

    def text(self, rows: Tensor) -> dict[str, Tensor]:
        ids = rows[:, None].repeat(1, len(TEXT))
        weights = torch.full(ids.shape, 1 / (len(TEXT) - 1))
        weights[:, 0] = 0.0
        return {"input_ids": ids, "word_mask": torch.ones_like(ids).bool(), "word_weights": weights}


def _side_by_side(features: dict[str, Tensor]) -> Tensor:
    """[G, K, sum of sizes]: each feature a token with a block of channels of its own, so that one
    Linear is a Linear for each."""
    total, at, tokens = sum(x.shape[1] for x in features.values()), 0, []
    for x in features.values():
        tokens.append(nn.functional.pad(x, (at, total - at - x.shape[1])))
        at += x.shape[1]
    return torch.stack(tokens, dim=1)


def trained(data: TacoPairs, kind: type[TACo], seed: int) -> TACo:
    torch.manual_seed(seed)
    bert = BertConfig(vocab_size=1, width=WIDTH, layers=1, heads=4, inner=4 * WIDTH, max_words=8)
    config = TacoConfig(
        feature_dim=data.videos["train"].shape[2],
        text=bert,
        video_layers=1,
        fusion_layers=1,
        max_words=len(TEXT),
        max_frames=len(VIDEO),
        hard_negatives=NEGATIVES,
    )
    model = kind(config)
    model.text = SentenceTokens(data.sizes)
    model.text.tables = data.tables["train"]
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    count = len(data.videos["train"])
    steps = count // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=EPOCHS * steps, cycle_momentum=False
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(count).split(BATCH)[:steps]:
            captions = rows * data.several + torch.randint(data.several, (len(rows),))
            batch = Batch(data.video("train", rows), data.text(captions), rows)
            optimiser.zero_grad()
            model.loss(batch)["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            schedule.step()
    model.text.tables = data.tables["dev"]
    return model.eval()


@torch.no_grad()
def measured(data: TacoPairs, kind: type[TACo], seed: int) -> dict[str, Any]:
    """Sentence and token scores over all images, then with the fused score for the best ones."""
    begun = time.perf_counter()
    with torch.enable_grad():
        model = trained(data, kind, seed)
    seconds = time.perf_counter() - begun
    video = model.encode_video(**data.video("dev", slice(None)))
    first, second = [], []
    for rows in torch.arange(len(data.tables["dev"][0])).split(CHUNK):
        text = model.encode_text(**data.text(rows))
        scores = _cheap(model, text, video)  # [q, G]
        top = scores.topk(RERANKED, dim=1).indices
        places = torch.arange(len(rows)).repeat_interleave(RERANKED)
        fused = model.fused_scores(text, video, places, top.flatten()).view_as(top)
        best = scores.gather(1, top) + fused
        # what is not re-ranked stays below, in the order it had
        below = scores - scores.amax() + best.amin() - 1.0
        first.append(scores)
        second.append(below.scatter(1, top, best))
    return {**_figures(first, "recall_"), **_figures(second, ""), "s": seconds}


def _cheap(model: TACo, text: TextTokens, video: VideoTokens) -> Tensor:
    tokens = token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)
    weighted = torch.einsum("qgw,qw->qg", tokens, text.word_weights)
    return text.recall @ video.recall.T + model.config.token_score_weight * weighted


def _figures(parts: list[Tensor], prefix: str) -> dict[str, float]:
    sims = torch.cat(parts).numpy()
    right = np.arange(sims.shape[1]).repeat(len(sims) // sims.shape[1])
    found = metrics.t2v(sims, right)
    return {f"{prefix}{name}": found[name] for name in ("r_at_1", "r_at_5", "r_at_10")}


def main() -> None:
    """Both kinds of negatives, every seed."""
    torch.set_num_threads(1)
    data = TacoPairs()
    record = Record(
        "taco-features",
        "TACo's heads on Flickr8k features: cascade against random negatives of the fused loss",
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=RATE,
        width=WIDTH,
        hard_negatives=NEGATIVES,
        reranked=RERANKED,
    )
    for seed in SEEDS:
        for name, kind in (("cascade", TACo), ("random", RandomNegatives)):
            record.run(f"negatives/{name}/{seed}", lambda k=kind, s=seed: measured(data, k, s))


if __name__ == "__main__":
    main()
