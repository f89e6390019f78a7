"""LAFF and TACo from pixels give what the methods give for CLIP's features."""

from __future__ import annotations

import torch

from finecut.learn.methods.blocks import unit
from finecut.learn.methods.protocol import Batch, Method

from ..tiny_models import BERT_WORDS, TINY_MODELS, bert_text, clip_text, clips, colour_clip

PIXELS, MASK = clips(torch.Generator().manual_seed(3))


@torch.no_grad()
def test_laff_fuses_frames_patches_and_words() -> None:
    torch.manual_seed(0)
    model = TINY_MODELS["laff-clip"].build(colour_clip()).eval()
    assert isinstance(model, Method)
    video, text = model.encode_video(PIXELS, MASK), model.encode_text(**clip_text())
    assert video.recall.shape == text.recall.shape == (6, 64)
    frames, patches = model.clip.encode_frames(PIXELS)
    features = {"clip": unit(frames), "clip_patches": unit(patches.mean(2))}
    want = model.laff.encode_video(frames=features, frame_mask=MASK)
    torch.testing.assert_close(video.recall, want.recall)
    # What follows the end token does not count among the words.
    ids = clip_text()["input_ids"]
    longer = torch.nn.functional.pad(ids, (0, 5))
    torch.testing.assert_close(model.encode_text(longer).recall, text.recall, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_taco_takes_clips_frames_as_features() -> None:
    torch.manual_seed(0)
    model = TINY_MODELS["taco-clip"].build(colour_clip()).eval()
    assert isinstance(model, Method)
    video = model.encode_video(PIXELS, MASK)
    want = model.taco.encode_video(unit(model.clip.encode_frames(PIXELS)[0]), MASK)
    torch.testing.assert_close(video.frame_embeds, want.frame_embeds)
    text = model.encode_text(**bert_text())
    colour = BERT_WORDS.index("red")
    places = bert_text()["input_ids"] == colour
    assert text.word_weights[places].tolist() == [1.0]


def test_clip_stays_frozen_and_the_method_learns() -> None:
    for name, text in (("laff-clip", clip_text()), ("taco-clip", bert_text())):
        torch.manual_seed(0)
        model = TINY_MODELS[name].build(colour_clip())
        model.loss(Batch({"pixels": PIXELS, "frame_mask": MASK}, text))["loss"].backward()
        assert not any(p.requires_grad for p in model.clip.parameters())
        learnt = [p for p in model.parameters() if p.grad is not None and p.grad.any()]
        assert learnt, name
