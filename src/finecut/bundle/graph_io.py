"""The inputs and outputs each graph of a bundle must have, from its manifest.

Each is name -> (dtype, shape); in a shape a letter is a free size, a number a fixed one.
"""

from __future__ import annotations

from finecut.bundle.manifest import Manifest

IoTable = dict[str, tuple[str, str]]


def video_io(manifest: Manifest) -> tuple[IoTable, IoTable]:
    """Inputs and outputs of the video graph."""
    video, frames = manifest.video, manifest.frames
    tokens = f"N F {video.embed_dim}"
    inputs = {
        "frames": ("uint8", f"N F {frames.height} {frames.width} 3"),
        "frame_mask": ("bool", "N F"),
    }
    outputs = {
        "recall_embeds": ("float32", f"N {video.recall_dim}"),
        "frame_embeds": ("float32", tokens),
    }
    if video.n_patches:
        outputs["patch_embeds"] = ("float32", f"N F {video.n_patches} {video.embed_dim}")
    if video.frame_values:
        outputs["frame_values"] = ("float32", tokens)
    return inputs, outputs


def text_io(manifest: Manifest) -> tuple[IoTable, IoTable]:
    """Inputs and outputs of the text graph."""
    video = manifest.video
    inputs = {"input_ids": ("int64", "Q W"), "word_mask": ("bool", "Q W")}
    outputs = {
        "recall_query": ("float32", f"Q {video.recall_dim}"),
        "text_embeds": ("float32", f"Q {video.embed_dim}"),
    }
    if manifest.text.words:
        outputs["word_embeds"] = ("float32", f"Q W {video.embed_dim}")
    return inputs, outputs


def rerank_io(manifest: Manifest) -> tuple[IoTable, IoTable]:
    """Inputs and outputs of the re-rank graph; empty without one."""
    rerank, video = manifest.rerank, manifest.video
    if rerank is None:
        return {}, {}
    dim = video.embed_dim
    if rerank.kind == "late":
        late = {
            "recall_score": ("float32", "K"),
            "frame_sims": ("float32", "K F"),
            "frame_mask": ("bool", "K F"),
            "frame_value_sims": ("float32", "K F"),
            "frame_gram": ("float32", "K F F"),
            "patch_sims": ("float32", f"K F {video.n_patches}"),
            "word_frame_sims": ("float32", "K W F"),
            "word_mask": ("bool", "W"),
        }
        inputs = {name: late[name] for name in rerank.inputs}
    else:
        inputs = {"text_embeds": ("float32", f"{dim}")}
        if manifest.text.words:
            inputs |= {"word_embeds": ("float32", f"W {dim}"), "word_mask": ("bool", "W")}
        inputs |= {"frame_embeds": ("float32", f"K F {dim}"), "frame_mask": ("bool", "K F")}
    return inputs, {"score": ("float32", "K"), "frame_relevance": ("float32", "K F")}
