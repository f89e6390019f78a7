"""The three graphs of the starter bundle as torch modules, ready to be exported."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.learn.starter.backbone import FEATURE_DIM, MAP_SIDE, Lite0
from finecut.learn.starter.fusion import Fusion
from finecut.learn.starter.minilm import SENTENCE_DIM, MiniLM

RECALL_DIM = 2 * SENTENCE_DIM + 1  # what was learned, class names, a clip's popularity
TOKEN_DIM = SENTENCE_DIM


@dataclass(frozen=True)
class RerankConfig:
    """Weights of the late score, chosen on Flickr8k dev and the shared clips."""

    frame_temperature: float = 0.05  # of the softmax over a clip's frames
    patch_temperature: float = 0.05  # of the softmax over all regions of a clip
    frame_weight: float = 0.1
    patch_weight: float = 0.1


def region_pooling(rows: int, columns: int) -> Tensor:
    """[rows * columns, 49]: means of a 7x7 map over near-equal, where needed overlapping, blocks.

    >>> region_pooling(1, 1).unique().mul(49).round().tolist()
    [1.0]
    """
    eye = torch.eye(MAP_SIDE * MAP_SIDE).reshape(-1, MAP_SIDE, MAP_SIDE)
    pooled = nn.functional.adaptive_avg_pool2d(eye, (rows, columns))  # [49, rows, columns]
    return pooled.flatten(1).T.contiguous()


class VideoGraph(nn.Module):
    """frames uint8 [N, F, 224, 224, 3], frame_mask [N, F] -> recall, frame and patch tokens.

    Only real frames pass through the network: padding costs nothing.
    """

    def __init__(self, backbone: Lite0, fusion: Fusion, rows: int, columns: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.register_buffer("regions", region_pooling(rows, columns))  # [P, 49]

    def forward(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, f = frame_mask.shape
        real = frame_mask.flatten().nonzero().squeeze(1)  # [M] places of real frames
        maps = self.backbone(frames.flatten(0, 1)[real])  # [M, 49, 1280]
        # The whole frame first, then its regions.
        views = torch.cat([maps.mean(1, keepdim=True), self.regions @ maps], 1)
        # Sizes as numbers, so that everything after `views` stands without what is before it.
        width = (1 + self.regions.shape[0], 3 * TOKEN_DIM)
        learned, names = self.fusion.embed(views.reshape(-1, FEATURE_DIM))  # [M * (1 + P), D]
        tokens = self.fusion.tokens(learned, names)
        both = torch.cat([learned, names, tokens], -1).reshape(-1, *width)
        spread = torch.zeros(n * f, *width).index_put((real,), both)
        spread = spread.reshape(n, f, *width)  # [N, F, 1 + P, 3 D]
        # Frames that are not real are 0 here; `unit` makes the sum a mean.
        summed = spread[:, :, 0].sum(1)  # [N, 3 D]
        recall = self.fusion.recall_vectors(
            summed[:, :TOKEN_DIM], summed[:, TOKEN_DIM : 2 * TOKEN_DIM]
        )
        tokens = spread[..., 2 * TOKEN_DIM :]
        return recall, tokens[:, :, 0], tokens[:, :, 1:]


class TextGraph(nn.Module):
    """input_ids int64 [Q, W], word_mask [Q, W] -> recall_query [Q, R], text_embeds [Q, D]."""

    def __init__(self, sentences: MiniLM, fusion: Fusion) -> None:
        super().__init__()
        self.sentences = sentences
        self.fusion = fusion

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        sentences = self.sentences(input_ids, word_mask)
        return self.fusion.recall_queries(sentences), self.fusion.text_tokens(sentences)


class RerankGraph(nn.Module):
    """Late: text-gated frames and patches (EERCF's parameter-free block) beside the recall score.

    recall_score [K], frame_sims [K, F], frame_mask [K, F], patch_sims [K, F, P] -> score [K],
    frame_relevance [K, F], whose rows sum to 1 over real frames.
    """

    def __init__(self, config: RerankConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, recall_score: Tensor, frame_sims: Tensor, frame_mask: Tensor, patch_sims: Tensor
    ) -> tuple[Tensor, Tensor]:
        c = self.config
        away = torch.where(frame_mask, 0.0, -1e4)  # [K, F]
        frame_gate = (frame_sims / c.frame_temperature + away).softmax(-1)
        by_frame = (frame_gate * frame_sims).sum(-1)
        patch_gate = (patch_sims / c.patch_temperature + away.unsqueeze(-1)).flatten(1).softmax(-1)
        by_patch = (patch_gate * patch_sims.flatten(1)).sum(-1)
        score = recall_score + c.frame_weight * by_frame + c.patch_weight * by_patch
        return score, frame_gate * frame_mask
