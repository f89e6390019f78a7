"""The starter with a static int8 video graph, per channel: for what it costs in answers."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finecut import Bundle
from finecut.bundle.place import starter_dir
from finecut.bundle.write import write_bundle

LEFT_OUT = ("schema_version", "fingerprint", "files")
FILES = ("text.onnx", "rerank.onnx", "tokenizer.json", "query_bank.json", "query_bank.npy")


def int8_starter(place: Path, clips: Sequence[np.ndarray]) -> Bundle:
    """The starter with int8 convolutions; their ranges are those of ``clips``.

    Weights have a scale for each output channel, activations one for each tensor. The first and
    the last convolution and the depthwise ones stay float32: they lose most and cost least.

    Args:
        place: where the bundle is written.
        clips: each uint8 [F, height, width, 3].
    """
    starter = starter_dir()
    plain = json.loads((starter / "manifest.json").read_bytes())
    fields = {key: value for key, value in plain.items() if key not in LEFT_OUT}
    fields["name"] = "starter-int8"
    files: dict[str, bytes | Path] = {name: starter / name for name in FILES}
    files["video.onnx"] = int8_graph(starter / "video.onnx", clips)
    write_bundle(place, fields, files, replace=True)
    return Bundle.load(place, providers=["cpu"], threads=1)


def int8_graph(source: Path, clips: Sequence[np.ndarray]) -> bytes:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(clips)

        def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore
            clip = next(self.left, None)
            if clip is None:
                return None
            return {"frames": clip[None], "frame_mask": np.ones((1, len(clip)), bool)}

    nodes = [node for node in onnx.load(source).graph.node if node.op_type == "Conv"]
    depthwise = [
        node for node in nodes if any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]
    kept = {node.name for node in (nodes[0], nodes[-1], *depthwise)}
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "int8.onnx"
            quantize_static(
                str(source), str(target), Reader(), quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"], per_channel=True, nodes_to_exclude=sorted(kept),
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            return target.read_bytes()
    finally:
        logging.getLogger().setLevel(level)
