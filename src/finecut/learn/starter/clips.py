"""The shared clips, decoded as the product decodes them and seen by the backbone."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from finecut.learn.starter.backbone import Lite0
from finecut.learn.starter.data import shared_data
from finecut.learn.starter.fusion import Fusion
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec


@dataclass(frozen=True)
class Clips:
    """Clips of labelled videos: what stage 1 would compare, and which video each is of."""

    recall: Tensor  # [G, R]
    video: Tensor  # [G] rising
    captions: list[str]  # one for each video; made by machines


def shared_clips(backbone: Lite0, fusion: Fusion, spec: DecodeSpec) -> Clips:
    """The clips of panda70m_samples with their captions."""
    root = shared_data() / "panda70m_samples"
    lines = (root / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    recall, video = [], []
    with torch.inference_mode():
        for number, row in enumerate(rows):
            for clip in decode_clips(root / row["clip"], spec):
                pooled = backbone(torch.from_numpy(clip.frames.copy())).mean(1)
                learned, names = fusion.embed(pooled)
                recall.append(fusion.recall_vectors(learned.mean(0), names.mean(0)))
                video.append(number)
    return Clips(torch.stack(recall), torch.tensor(video), [row["caption"] for row in rows])
