"""What the made-up clips are for: a head that sees time learns order, mean pooling cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finecut.learn.data.synthetic import SyntheticClips, make_clips
from finecut.learn.encoders.clip import ClipConfig
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.methods.protocol import Batch
from finecut.learn.preprocess import normalise

FRAMES, SIDE, STEPS, BATCH = 4, 32, 200, 48


def ids_of(clips: SyntheticClips, words: list[str]) -> torch.Tensor:
    """One id a word between start and end, which are the two highest."""
    rows = [[len(words) + 1, *(words.index(w) + 1 for w in c.split()), len(words) + 2]
            for c in clips.captions]  # fmt: skip
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True)


def right_order(head: str, train: SyntheticClips, test: SyntheticClips) -> float:
    """Share of test sentences whose clip beats the one with the other order, after training."""
    words = sorted({w for c in train.captions + test.captions for w in c.split()})
    config = ClipConfig(
        embed_dim=64, image_size=SIDE, patch_size=8, vision_width=64, vision_layers=2,
        vision_heads=4, context_length=16, vocab_size=len(words) + 3, text_width=64,
        text_layers=2, text_heads=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = CLIP4Clip(Clip4ClipConfig(head=head, clip=config, head_layers=2, max_frames=FRAMES))
    pixels, ids = normalise(torch.from_numpy(train.frames)), ids_of(train, words)
    alike = torch.from_numpy(np.unique(train.captions, return_inverse=True)[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, STEPS, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        first = 2 * torch.randint(len(train) // 2, (BATCH // 2,), generator=generator)
        rows = torch.cat([first, first + 1])  # both orders of each pair
        mask = torch.ones(len(rows), FRAMES, dtype=torch.bool)
        video = {"pixels": pixels[rows], "frame_mask": mask}
        loss = model.loss(Batch(video, {"input_ids": ids[rows]}, alike[rows]))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    mask = torch.ones(len(test), FRAMES, dtype=torch.bool)
    with torch.no_grad():
        video = model.encode_video(normalise(torch.from_numpy(test.frames)), mask)
        scores = model.rerank(model.encode_text(ids_of(test, words)), video).scores
    other = torch.arange(len(test)) ^ 1
    return (scores.diagonal() > scores.gather(1, other[:, None])[:, 0]).float().mean().item()


@pytest.fixture(scope="module")
def sets() -> tuple[SyntheticClips, SyntheticClips]:
    train = make_clips("order", 1200, frames=FRAMES, side=SIDE)
    return train, make_clips("order", 120, split="test", frames=FRAMES, side=SIDE)


@pytest.mark.slow
def test_a_sequential_head_learns_order(sets):
    assert right_order("seqLSTM", *sets) > 0.8


@pytest.mark.slow
def test_mean_pooling_cannot(sets):
    assert 0.3 < right_order("meanP", *sets) < 0.7  # a coin's worth
