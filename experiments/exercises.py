"""Real two-frame clips: exercises by their photos of start and end, found by their instructions.

    FINECUT_SHARED=... python experiments/exercises.py      # writes results/repro-exercises.json

748 exercises of free-exercise-db (public domain), two photos each. Photos become EfficientNet-Lite0
features, sentences MiniLM vectors, both frozen (the packages of `make starter`); trained are small
linear towers and the heads. Two questions:

    retrieval   the exercise by its name and instructions, among exercises never seen
    direction   every clip is in the gallery forwards and backwards, and every sentence asks for
                "from the start to the end" or for the way back: which heads know which is which

Three random divisions of the exercises, one a seed. Letters: G clips, F = 2 frames, P patches.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit import figures
from torch import Tensor, nn

from finecut.learn.encoders.clip import CLIP, ClipConfig
from finecut.learn.methods.camoe import CAMoE, CamoeConfig
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig, Head
from finecut.learn.methods.eercf import EERCF, EercfConfig
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.protocol import Batch
from finecut.text.tags import tag
from record import ROOT, Record

SEEDS = (0, 1, 2)
TEST = 150  # exercises; the others train
PHOTO_DIM, TEXT_DIM, WIDTH, GRID = 1280, 384, 128, 3  # channels; patches along a side
ALIKE = 0.998  # cosine of features above which two photos are taken for one
STEPS, BATCH, RATE, DECAY, DROPOUT = 200, 64, 5e-4, 0.1, 0.3
FORWARDS = "from the start position to the end position"
BACKWARDS = "from the end position back to the start position"
HEADS: tuple[Head, ...] = ("meanP", "seqLSTM", "seqTransf")


@dataclass(frozen=True)
class Exercises:
    """Features of the usable exercises. Text: the whole, its nouns, its verbs."""

    photos: Tensor  # [N, 2, 1 + P, 1280]: pooled, then patches
    text: Tensor  # [N, 3, 384]
    ways: Tensor  # [2, 384]: the two phrases of direction
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.photos)


# ------------------------------------------------------------------ features, made once


def load() -> Exercises:
    """From the cache in build/experiments, or from the photos."""
    kept = ROOT / "build" / "experiments" / "exercises.npz"
    if not kept.exists():
        made = _compute()
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npz")
        np.savez(part, **made)
        part.replace(kept)
    with np.load(kept) as file:
        photos, text, ways = (torch.from_numpy(file[n]).float() for n in ("photos", "text", "ways"))
    pooled = torch.nn.functional.normalize(photos[:, :, 0], dim=-1)
    still = (pooled[:, 0] * pooled[:, 1]).sum(-1) > ALIKE
    # An exercise whose photo an earlier one has too: it could be in training and in test.
    flat = pooled.flatten(0, 1)
    near = (flat @ flat.T > ALIKE).unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).any(3).any(1)
    again = near.tril(-1).any(1) & ~still
    use = ~(still | again)
    skipped = {"start and end are one photo": int(still.sum()), "shares a photo": int(again.sum())}
    return Exercises(photos[use], text[use], ways, skipped)


def _compute() -> dict[str, np.ndarray]:
    from PIL import Image

    from finecut.learn.starter.backbone import FRAME_SIDE, MAP_SIDE, Lite0
    from finecut.learn.starter.minilm import SentenceEncoder

    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    folder = Path(shared) / "data" / "free_exercise_db"
    lines = (folder / "exercises.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    network, sentences = Lite0(), SentenceEncoder()
    photos = np.zeros((len(entries), 2, 1 + GRID * GRID, PHOTO_DIM), np.float16)
    for row, entry in enumerate(entries):
        frames = []
        for name in entry["frames"]:
            with Image.open(folder / name) as image:
                frames.append(np.asarray(image.convert("RGB").resize((FRAME_SIDE, FRAME_SIDE))))
        with torch.inference_mode():
            maps = network(torch.from_numpy(np.stack(frames)))  # [2, 49, 1280]
            grid = maps.transpose(1, 2).unflatten(2, (MAP_SIDE, MAP_SIDE))
            patches = torch.nn.functional.adaptive_avg_pool2d(grid, GRID).flatten(2)
            tokens = torch.cat([maps.mean(1, keepdim=True), patches.transpose(1, 2)], dim=1)
        photos[row] = tokens.numpy()
    text = np.stack([_text_vectors(entry, sentences).numpy() for entry in entries])
    ways = sentences([FORWARDS, BACKWARDS]).numpy()
    return {"photos": photos, "text": text, "ways": ways}


def _text_vectors(entry: dict[str, Any], encode: Callable[[list[str]], Tensor]) -> Tensor:
    """[3, 384]: name and instructions, their nouns, their verbs; means of sentence vectors."""
    lines = [entry["name"], *entry["instructions"]]
    words = tag(lines)
    vectors = []
    for wanted in (None, ("NOUN", "PROPN"), ("VERB",)):
        kept = [" ".join(w.word for w in line if not wanted or w.tag in wanted) for line in words]
        vectors.append(encode([line for line in kept if line] or lines).mean(0))
    return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)


# ------------------------------------------------------------------ towers and methods


class PhotoTowers(CLIP):
    """A CLIP whose towers read ready-made features: one linear layer a side, dropout before it.

    "Pixels" are features [G, F, 1 + P, 1280], "ids" are sentence vectors [Q, 384 + 384].
    """

    def __init__(self) -> None:
        # The blocks of the text tower are there to start the heads from, as published; none reads.
        super().__init__(
            ClipConfig(embed_dim=WIDTH, image_size=8, patch_size=8, vision_width=8, vision_heads=1,
                       vision_layers=1, context_length=16, vocab_size=4, text_width=WIDTH,
                       text_layers=2)
        )  # fmt: skip
        self.photo = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(PHOTO_DIM, WIDTH))
        self.sentence = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2 * TEXT_DIM, WIDTH))

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[G, F, 1 + P, 1280] -> frames [G, F, E] and patches [G, F, P, E]."""
        tokens = self.photo(pixels)
        return tokens[:, :, 0], tokens[:, :, 1:]

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """[Q, 768] -> [Q, E]."""
        return self.sentence(input_ids)


def methods() -> dict[str, Callable[[], nn.Module]]:
    """Every method under its name in the results."""
    config = ClipConfig(embed_dim=WIDTH, context_length=16, text_width=WIDTH, text_layers=2)

    def clip4clip(head: Head) -> Callable[[], nn.Module]:
        made = Clip4ClipConfig(head=head, clip=config, head_layers=2, max_frames=2)
        return lambda: CLIP4Clip(made, PhotoTowers())

    found: dict[str, Callable[[], nn.Module]] = {
        f"CLIP4Clip {head}": clip4clip(head) for head in HEADS
    }
    fine = EercfConfig(clip=config, head_layers=2, max_frames=2)
    found["EERCF released"] = lambda: EERCF(fine, PhotoTowers())
    experts = CamoeConfig(
        clip=config, max_frames=2, expert_layers=2, action_expert="self_attention",
        dual_softmax=False,
    )  # fmt: skip
    found["CAMoE"] = lambda: CAMoE(experts, PhotoTowers())
    laff = LaffConfig(
        video_features={"start": PHOTO_DIM, "end": PHOTO_DIM, "change": PHOTO_DIM},
        text_features={"sentence": 2 * TEXT_DIM},
        common_dim=2 * WIDTH,
        heads=4,
        loss="info_nce",
    )
    found["LAFF start, end, change"] = lambda: LAFF(laff)
    return found


def batch_of(name: str, photos: Tensor, text: Tensor, ids: Tensor) -> Batch:
    """The arguments each method takes, of clips [B, 2, 1 + P, 1280] and text [B, 3, 768]."""
    if name.startswith("LAFF"):
        start, end = photos[:, 0, 0], photos[:, 1, 0]
        video = {"features": {"start": start, "end": end, "change": end - start}}
        return Batch(video, {"features": {"sentence": text[:, 0]}}, ids)
    video = {"pixels": photos if name.startswith("EERCF") else photos[:, :, :1]}
    if name == "CAMoE":
        streams = dict(zip(("input_ids", "entity_ids", "action_ids"), text.unbind(1), strict=True))
        return Batch(video, streams, ids)
    return Batch(video, {"input_ids": text[:, 0]}, ids)


# ------------------------------------------------------------------ training and figures


def standardised(features: Tensor, train: Tensor) -> Tensor:
    """Every channel less its mean, over its deviation, of the training rows."""
    known = features[train].flatten(0, -2)
    return (features - known.mean(0)) / (known.std(0, correction=0) + 1e-3)


def run(data: Exercises, name: str, question: str, seed: int) -> dict[str, Any]:
    """Train on this seed's division and measure on its test exercises."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(100 + seed))
    test, train = order[:TEST], order[TEST:]
    photos = standardised(data.photos, train)
    words = standardised(data.text, train)  # [N, 3, 384]
    ways = standardised(data.ways, torch.arange(2))  # -1 and 1
    torch.manual_seed(seed)
    model = methods()[name]()
    both = question == "direction"

    def batch(rows: Tensor) -> Batch:
        clips = photos[rows]
        text = torch.cat([words[rows], ways[0].expand(len(rows), 3, -1)], dim=-1)
        if both:
            clips = torch.cat([clips, clips.flip(1)])
            back = torch.cat([words[rows], ways[1].expand(len(rows), 3, -1)], dim=-1)
            text = torch.cat([text, back])
        return batch_of(name, clips, text, torch.arange(len(clips)))

    weights = list(model.parameters())
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    size = BATCH // 2 if both else BATCH
    model.train()
    for _ in range(STEPS):
        rows = train[torch.randperm(len(train), generator=generator)[:size]]
        loss = model.loss(batch(rows))["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
    model.eval()
    held = batch(test)
    with torch.no_grad():
        scores = model.rerank(
            model.encode_text(**held.text), model.encode_video(**held.video)
        ).scores
    groups = torch.arange(TEST).repeat(2 if both else 1)
    found = figures(scores, groups)
    if both:
        exercise = groups[scores.argmax(dim=1)] == groups
        found["exercise_r_at_1"] = 100.0 * exercise.float().mean().item()
    else:
        found.pop("in_group")
    return found


def main() -> None:
    """Seed by seed; what is measured already is left out."""
    torch.set_num_threads(1)
    data = load()
    record = Record(
        "exercises",
        "two photos of an exercise, start and end: found by the instructions, told from reversed",
        exercises=len(data),
        skipped=data.skipped,
        test=TEST,
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        weight_decay=DECAY,
        dropout=DROPOUT,
    )
    record.body["chance"] = {
        "retrieval": {"gallery": TEST, "r_at_1": 100 / TEST},
        "direction": {"gallery": 2 * TEST, "r_at_1": 50 / TEST, "in_group": 50.0,
                      "exercise_r_at_1": 100 / TEST},
    }  # fmt: skip
    for seed in SEEDS:
        for question in ("retrieval", "direction"):
            for name in methods():
                record.run(
                    f"{question}/{name}/{seed}",
                    lambda n=name, q=question, s=seed: run(data, n, q, s),
                )
    record.save()


if __name__ == "__main__":
    main()
