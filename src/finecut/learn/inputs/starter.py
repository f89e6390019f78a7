"""Frozen features of the built-in starter bundle, by its own graphs: no torch weights needed.

A frame becomes its pooled EfficientNet feature with the starter's recall vector of that frame
alone; a sentence its MiniLM vector with the starter's recall query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finecut.errors import BundleError, UsageError
from finecut.learn.inputs.tower import FRAMES, Arrays
from finecut.learn.methods.laff_starter import LaffStarterConfig
from finecut.learn.starter.export import POOLED_VIEWS, SENTENCES

BATCH_FRAMES = 16


class Starter:
    """The parts of the shipped graphs up to the features that heads are trained on."""

    def __init__(self) -> None:
        from finecut.bundle.load import Bundle
        from finecut.bundle.tokens import load_tokenizer

        self.bundle = Bundle.load("starter")
        manifest = self.bundle.manifest
        self.fingerprint = self.bundle.fingerprint[:16]
        self.views = 1 + manifest.video.patch_rows * manifest.video.patch_columns
        self.tokenizer = load_tokenizer(self.bundle.files.read("tokenizer.json"), "starter")
        self.tokenizer.enable_truncation(manifest.text.max_words)
        self.known: dict[str, NDArray[np.float32]] = {}  # sentences met, 5 KB each
        self._video = self._part("video.onnx", [POOLED_VIEWS, "recall_embeds"])
        self._text = self._part("text.onnx", [SENTENCES, "recall_query"])

    def _part(self, name: str, outputs: list[str]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        data = with_outputs(self.bundle.files.read(name), outputs)
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, 224, 224, 3] → [N, pooled + recall]."""
        parts = []
        for at in range(0, len(frames), BATCH_FRAMES):
            single = np.ascontiguousarray(frames[at : at + BATCH_FRAMES, None])
            feeds = {"frames": single, "frame_mask": np.ones(single.shape[:2], bool)}
            pooled, recall = self._video.run([POOLED_VIEWS, "recall_embeds"], feeds)
            parts.append(np.concatenate([pooled[:: self.views], recall], axis=1))
        return np.concatenate(parts)

    def sentences(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """[Q, sentence + recall]; one by one, for the text graph's four-bit products differ in the
        third digit with the size of a batch, and a run that goes on must see the same."""
        found = []
        for coding in self.tokenizer.encode_batch(list(sentences)):
            feeds = {
                "input_ids": np.array([coding.ids], np.int64),
                "word_mask": np.ones((1, len(coding.ids)), bool),
            }
            found.append(np.concatenate(self._text.run([SENTENCES, "recall_query"], feeds), axis=1))
        return np.concatenate(found)


@cache
def starter() -> Starter:
    """One a process, loaded when first needed."""
    return Starter()


def must_be_this_starter(config: LaffStarterConfig) -> None:
    """Refuse a model whose features came from another starter than the one here.

    Raises:
        UsageError: with both fingerprints.
    """
    here = starter().fingerprint
    if config.starter not in ("", here):
        raise UsageError(
            f"The model was trained on the starter {config.starter}, the one here is {here}: "
            "use the version of finecut it was trained with, or train it again."
        )


def with_outputs(data: bytes, outputs: Sequence[str]) -> bytes:
    """A graph cut down to some of its tensors, inner ones among them.

    Raises:
        BundleError: the graph has no such tensor: not a starter of this project.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load_from_string(data)
    made = {name for node in model.graph.node for name in node.output}
    missing = [name for name in outputs if name not in made]
    if missing:
        raise BundleError(f"The starter's graph has no {missing[0]}: it cannot be trained on.")
    known = {item.name for item in model.graph.output}
    for name in outputs:
        if name not in known:
            kind = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            model.graph.value_info.append(kind)
    inputs = [item.name for item in model.graph.input]
    return Extractor(model).extract_model(inputs, list(outputs)).SerializeToString()


class StarterTower:
    """Frames to features: a `FrozenTower`."""

    names = (FRAMES,)

    @property
    def fingerprint(self) -> str:
        """Of the starter bundle."""
        return starter().fingerprint

    def __call__(self, videos: Sequence[NDArray[np.uint8]]) -> list[Arrays]:
        made = starter().frames(np.concatenate(list(videos)))
        ends = np.cumsum([len(frames) for frames in videos])[:-1]
        return [{FRAMES: part} for part in np.split(made, ends)]

    def padding(self) -> Arrays:
        config = LaffStarterConfig()
        return {FRAMES: np.zeros(config.pooled_dim + config.recall_dim, np.float32)}


class StarterTextInputs:
    """Sentences to features, each computed once a process. Learns nothing."""

    def __init__(self, config: LaffStarterConfig) -> None:
        """Raises UsageError: the model was trained on another starter."""
        must_be_this_starter(config)

    def __call__(self, sentences: Sequence[str]) -> dict[str, Tensor]:
        known = starter().known
        new = [text for text in dict.fromkeys(sentences) if text not in known]
        if new:
            known.update(zip(new, starter().sentences(new), strict=True))
        return {"sentences_raw": torch.from_numpy(np.stack([known[t] for t in sentences]))}

    def model_facts(self) -> dict[str, Any]:
        """Which starter a model trained here belongs to."""
        return {"starter": starter().fingerprint}

    def save(self, folder: Path) -> None:
        """Nothing was learnt."""

    def prepare_model(self, model: nn.Module) -> None:
        """Nothing to fill."""
