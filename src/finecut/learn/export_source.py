"""What a path given to ``finecut export`` is: our checkpoint, a published one, or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from finecut.errors import UsageError
from finecut.learn.checkpoint import (
    CONFIG,
    WEIGHTS,
    import_clip4clip,
    import_eercf,
    load_checkpoint,
    read_header,
)
from finecut.learn.encoders.archive import read_tensors
from finecut.learn.encoders.clip_load import load_clip
from finecut.learn.methods.zero_shot import ZeroShot


def load_source(source: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """The model at ``source`` and what is known of its origin.

    Kinds: ``siglip:FOLDER`` and ``open_clip:MODEL[@TAG][:WEIGHTS]`` for the adapters; a folder of
    ``save_checkpoint``; a CLIP4Clip or EERCF ``pytorch_model.bin``; CLIP weights (a file, or a
    Hugging Face folder). A backbone alone becomes a zero-shot method.

    Raises:
        UsageError: nothing is there.
        BundleError: it is there but does not fit.
    """
    text = str(source)
    if text.startswith("siglip:"):
        from finecut.learn.encoders.siglip import load_siglip

        return ZeroShot(load_siglip(text.removeprefix("siglip:"))), {}
    if text.startswith("open_clip:"):
        from finecut.learn.encoders.open_clip import load_open_clip

        name, _, weights = text.removeprefix("open_clip:").partition(":")
        model, _, tag = name.partition("@")
        return ZeroShot(load_open_clip(model, weights or None, tag or None)), {}
    path = Path(source)
    if path.name == WEIGHTS and (path.parent / CONFIG).is_file():
        path = path.parent  # the weights of our own checkpoint: its folder is meant
    if (path / CONFIG).is_file():
        return load_checkpoint(path), read_header(path).get("provenance", {})
    if path.is_dir():
        return ZeroShot(load_clip(path)), {}
    if not path.is_file():
        raise UsageError(
            f"No checkpoint at '{source}': expected a checkpoint folder, a weights file, "
            "siglip:FOLDER or open_clip:MODEL."
        )
    names = read_tensors(path).keys()
    recipe = {"recipe": f"imported from {path.name}"}
    if "global_mat_weight" in names:
        return import_eercf(path)[0], recipe
    if any(name.startswith("clip.") for name in names):
        return import_clip4clip(path)[0], recipe
    return ZeroShot(load_clip(path)), recipe
