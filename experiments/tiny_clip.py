"""A CLIP small enough to train from nothing on made-up pictures, and its features of made-up clips.

The experiments need what the papers start from: towers that know things and colours, but nothing
of time. `tower(seed)` trains one on still pictures (`learn.data.synthetic`, task "still") and keeps
it in build/experiments; `features` runs it over clips once. Letters: G clips, F frames, P patches.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finecut.learn.data.synthetic import SyntheticClips, make_clips
from finecut.learn.data.synthetic_scene import COLOURS, SHAPES
from finecut.learn.encoders.clip import CLIP, ClipConfig
from finecut.learn.losses import info_nce
from finecut.learn.methods.blocks import unit
from finecut.learn.preprocess import normalise

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "experiments"
OTHER_WORDS = ["a", "an", "and", ",", "small", "big", "first", "then", "near", "appears", "beside"]
OTHER_WORDS += ["moves", "past", "left", "right", "up", "down"]
OTHER_WORDS += ["rises", "falls", "grows", "shrinks", "blinks", "shakes"]
WORDS = (*OTHER_WORDS, *COLOURS, *SHAPES)
FILLER_ID = len(WORDS) + 1  # CAMoE's masked word
START_ID, END_ID = len(WORDS) + 2, len(WORDS) + 3
MAX_WORDS = 20
FRAMES, SIDE = 8, 32
TINY = ClipConfig(
    embed_dim=64,
    image_size=SIDE,
    patch_size=8,
    vision_width=64,
    vision_layers=2,
    vision_heads=4,
    context_length=MAX_WORDS,
    vocab_size=END_ID + 1,
    text_width=64,
    text_layers=2,
    text_heads=4,
)
PICTURES, STEPS, BATCH, RATE = 40_000, 1500, 256, 2e-3
_NUMBER = {word: number for number, word in enumerate(WORDS, start=1)}


def words_of(caption: str) -> list[str]:
    """Words and commas."""
    return re.findall(r"\w+|,", caption)


def number_of(word: str) -> int:
    """The id of one word."""
    return _NUMBER[word]


def encode(captions: Sequence[str]) -> Tensor:
    """Ids [Q, W]: start, one id a word, end, zeros; cut to the longest."""
    rows = [[START_ID, *(_NUMBER[w] for w in words_of(c)), END_ID] for c in captions]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, values in enumerate(rows):
        ids[row, : len(values)] = torch.tensor(values)
    return ids


def same_sentence(captions: Sequence[str]) -> Tensor:
    """[Q] int64, equal for equal captions: what `video_ids` is for, where sentences repeat."""
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(c, len(known)) for c in captions])


def clips(task: str, count: int, split: str, seed: int, frames: int = FRAMES) -> SyntheticClips:
    """`make_clips`, pixels kept on disk between runs."""
    made = CACHE / f"clips-{task}-{split}-{count}-{frames}-{seed}-{_source()}.npz"
    if made.exists():
        with np.load(made) as file:
            return SyntheticClips(
                task, split, file["frames"], tuple(file["captions"].tolist()), file["groups"], ()
            )
    result = make_clips(task, count, split=split, seed=seed, frames=frames, side=SIDE)
    CACHE.mkdir(parents=True, exist_ok=True)
    part = made.with_suffix(".part.npz")
    np.savez(part, frames=result.frames, captions=np.array(result.captions), groups=result.groups)
    part.replace(made)
    return result


def _source() -> str:
    """Short hash of the code that draws: an old cache is never taken for the new clips."""
    folder = ROOT / "src" / "finecut" / "learn" / "data"
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("synthetic*.py")))
    return hashlib.sha256(text).hexdigest()[:8]


def tower(seed: int) -> CLIP:
    """A CLIP trained on still pictures with this seed; made once."""
    settings = f"{asdict(TINY)} {PICTURES} {STEPS} {BATCH} {RATE} {WORDS}"
    name = hashlib.sha256(settings.encode()).hexdigest()[:8]
    kept = CACHE / f"tower-{seed}-{name}.safetensors"
    torch.manual_seed(seed)
    model = CLIP(TINY)
    if kept.exists():
        model.load_state_dict(load_file(kept))
        return model
    pictures = clips("still", PICTURES, "train", seed, frames=1)
    ids, alike = encode(pictures.captions), same_sentence(pictures.captions)
    pixels = torch.from_numpy(pictures.frames)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(pixels), (BATCH,), generator=generator)
        frame, _ = model.encode_frames(normalise(pixels[rows]))
        sims = unit(model.encode_text(ids[rows])) @ unit(frame[:, 0]).T
        loss = info_nce(model.logit_scale.exp() * sims, alike[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        model.clamp_logit_scale()
        if step % 100 == 0:
            print(f"tower {seed}: step {step}, loss {loss:.3f}, {picture_recall(model):.1f} % R@1,",
                  f"{time.perf_counter() - started:.0f} s", flush=True)  # fmt: skip
    CACHE.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), kept)
    return model


@torch.no_grad()
def picture_recall(model: CLIP, count: int = 400) -> float:
    """t2v R@1, percent, on still pictures of held-out pairs."""
    test = clips("still", count, "test", 0, frames=1)
    frame, _ = model.encode_frames(normalise(torch.from_numpy(test.frames)))
    sims = unit(model.encode_text(encode(test.captions))) @ unit(frame[:, 0]).T
    return 100.0 * (sims.argmax(dim=1) == torch.arange(len(sims))).float().mean().item()


@torch.no_grad()
def features(model: CLIP, made: SyntheticClips, chunk: int = 64) -> tuple[Tensor, Tensor]:
    """Frame embeddings [G, F, E] and patch embeddings [G, F, P, E], raw, of a frozen tower."""
    parts = [
        model.encode_frames(normalise(torch.from_numpy(made.frames[i : i + chunk])))
        for i in range(0, len(made), chunk)
    ]
    frames, patches = (torch.cat(p) for p in zip(*parts, strict=True))
    return frames, patches


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in range(3):
        print(f"tower {number}: {picture_recall(tower(number)):.1f} % R@1 among 400 pictures")
