"""The methods of this library, tiny, trained for a moment to know colours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.learn.encoders.bert import BertConfig
from finecut.learn.encoders.clip import CLIP
from finecut.learn.encoders.tiny import TINY, tiny_clip, tiny_tokenizer
from finecut.learn.methods.camoe import CAMoE, CamoeConfig
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.methods.eercf import EERCF, EercfConfig
from finecut.learn.methods.on_clip import (
    LaffOnClip,
    LaffOnClipConfig,
    TacoOnClip,
    TacoOnClipConfig,
)
from finecut.learn.methods.protocol import Batch
from finecut.learn.methods.taco import TacoConfig
from finecut.learn.preprocess import normalise

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 170, 40),
    "blue": (30, 50, 200),
    "yellow": (210, 200, 40),
    "white": (230, 230, 230),
    "black": (20, 20, 20),
}
MAX_FRAMES = 4
SIDE = TINY.image_size
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "screen", *COLOURS]


def clips(generator: torch.Generator, frames: int = MAX_FRAMES) -> tuple[Tensor, Tensor]:
    """One clip of each colour, of ragged lengths: pixels [6, F, 3, H, H] and mask [6, F]."""
    count = len(COLOURS)
    colours = torch.tensor(list(COLOURS.values())).view(count, 1, 1, 1, 3)
    noise = torch.randint(-15, 16, (count, frames, SIDE, SIDE, 3), generator=generator)
    lengths = torch.randint(1, frames + 1, (count, 1), generator=generator)
    mask = torch.arange(frames)[None] < lengths
    pixels = normalise((colours + noise).clamp(0, 255).to(torch.uint8))
    return pixels * mask[:, :, None, None, None], mask


def clip_text() -> dict[str, Tensor]:
    ids, mask = tiny_tokenizer()([f"a {colour} screen" for colour in COLOURS], max_words=12)
    return {"input_ids": ids[:, : int(mask.sum(1).max())]}


def bert_text() -> dict[str, Tensor]:
    rows = [
        [BERT_WORDS.index(w) for w in ("[CLS]", "a", colour, "screen", "[SEP]")]
        for colour in COLOURS
    ]
    ids = torch.tensor(rows)
    return {"input_ids": ids, "word_mask": torch.ones_like(ids, dtype=torch.bool)}


def bert_tokenizer() -> bytes:
    """A tokenizer.json of whole words, with [CLS] and [SEP]."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocabulary = {word: index for index, word in enumerate(BERT_WORDS)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return made.to_str().encode()


@dataclass(frozen=True)
class Tiny:
    """How one method is built on a CLIP, what text it takes, and how long it trains."""

    build: Callable[[CLIP], nn.Module]
    text: Callable[[], dict[str, Tensor]] = clip_text
    steps: int = 12
    tokenizer: Callable[[], bytes] | None = None
    frozen_clip: bool = False  # where the loss does not reach recall, which would drift


def _clip4clip(head: str, clip: CLIP) -> CLIP4Clip:
    return CLIP4Clip(Clip4ClipConfig(head, TINY, 1, MAX_FRAMES, 12), clip)  # type: ignore[arg-type]


def _taco(clip: CLIP) -> TacoOnClip:
    bert = BertConfig(len(BERT_WORDS), width=32, layers=1, heads=2, inner=64, max_words=16)
    taco = TacoConfig(64, bert, 1, 1, max_words=12, max_frames=MAX_FRAMES, hard_negatives=3)
    model = TacoOnClip(TacoOnClipConfig(TINY, taco), clip)
    model.taco.piece_weights[[BERT_WORDS.index(colour) for colour in COLOURS]] = 1.0
    return model


TINY_MODELS = {
    **{
        f"clip4clip-{head}": Tiny(functools.partial(_clip4clip, head))
        for head in ("meanP", "seqLSTM", "seqTransf")
    },
    "clip4clip-tightTransf": Tiny(
        functools.partial(_clip4clip, "tightTransf"), steps=150, frozen_clip=True
    ),
    "eercf": Tiny(lambda clip: EERCF(EercfConfig(TINY, 1, MAX_FRAMES, 12), clip)),
    "camoe": Tiny(
        lambda clip: CAMoE(
            CamoeConfig(TINY, expert_layers=1, max_frames=MAX_FRAMES, max_words=12), clip
        ),
        steps=40,
    ),
    "laff-clip": Tiny(
        lambda clip: LaffOnClip(
            LaffOnClipConfig(TINY, 64, heads=4, max_frames=MAX_FRAMES, max_words=12), clip
        ),
        steps=80,
    ),
    "taco-clip": Tiny(_taco, bert_text, steps=120, tokenizer=bert_tokenizer),
}


def train(model: nn.Module, text: dict[str, Tensor], steps: int, seed: int = 0) -> nn.Module:
    """AdamW on fresh noise each step; returns the model in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model.train()
    for _ in range(steps):
        pixels, mask = clips(generator)
        loss = model.loss(Batch({"pixels": pixels, "frame_mask": mask}, text))["loss"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


@functools.cache
@torch.enable_grad()
def colour_clip_state() -> dict[str, Tensor]:
    """A tiny CLIP that has learnt the colours, as a state dict; trained once in a test run."""
    torch.manual_seed(0)
    model = train(_clip4clip("meanP", tiny_clip(0)), clip_text(), steps=80)
    return {name: value.clone() for name, value in model.clip.state_dict().items()}


def colour_clip() -> CLIP:
    clip = tiny_clip(0)
    clip.load_state_dict(colour_clip_state())
    return clip.eval()


def trained(name: str) -> nn.Module:
    """The method of this name, on the colour CLIP, after its few steps."""
    tiny = TINY_MODELS[name]
    torch.manual_seed(1)
    model = tiny.build(colour_clip())
    if tiny.frozen_clip:
        model.clip.requires_grad_(False)
    return train(model, tiny.text(), tiny.steps)


@torch.no_grad()
def recall_at_1(model: nn.Module, text: dict[str, Tensor], seed: int = 99) -> tuple[float, float]:
    """Percent of colours found by recall, and by the re-rank score, among clips never seen."""
    pixels, mask = clips(torch.Generator().manual_seed(seed))
    video, texts = model.encode_video(pixels=pixels, frame_mask=mask), model.encode_text(**text)
    right = torch.arange(len(COLOURS))
    recall = (texts.recall @ video.recall.T).argmax(1)
    fine = model.rerank(texts, video).scores.argmax(1)
    return tuple(100.0 * (found == right).float().mean().item() for found in (recall, fine))
