"""A real, tiny bundle that knows nine colours: tests on generated videos have right answers.

Frames are 32x32 RGB at 1 frame a second, at most 8 a clip. A patch (2x2 of them) is a soft choice
among the nine colours, a frame the mean of its patches, a clip the mean of its frames. A query is
the mean of its colour words; a query without one points where no video does. Built with
`onnx.helper`: no torch, no randomness.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from finecut.bundle.write import write_bundle

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
    "black": (0, 0, 0),
    "white": (1, 1, 1),
    "gray": (0.5, 0.5, 0.5),
}
SIDE = 32
DIM = 12  # nine colours, one "no colour at all", two spare
STOP = ("a", "the", "of", "video", "and", "screen", "on", "in", "with")
PAD, UNK = "[PAD]", "[UNK]"
WORDS = [PAD, UNK, *COLORS, *STOP]
BANK = [
    *(f"a {color} screen" for color in COLORS),
    *(f"{a} and {b}" for a, b in [("red", "green"), ("blue", "white"), ("black", "yellow")]),
    "a dog runs on the beach",
    "two people cook dinner",
    "a car drives through the city",
    "children play football",
    "a man plays the guitar",
    "a boat on the water",
]


def make_color_bundle(
    out_dir: str | Path,
    *,
    name: str = "colors",
    rerank: Literal["late", "cross"] | None = "late",
    patches: bool = True,
    words: bool = True,
    frame_values: bool = False,
    calibration: bool = True,
    max_frames: int = 8,
    sharpness: float = 8.0,
) -> Path:
    """Write the bundle to ``out_dir`` and return it as a Path.

    ``sharpness`` changes the embeddings and so the fingerprint: two values, two bundles.
    """
    files: dict[str, bytes] = {
        "video.onnx": video_graph(patches=patches, frame_values=frame_values, sharpness=sharpness),
        "text.onnx": text_graph(words=words),
        "tokenizer.json": tokenizer(),
    }
    fields: dict = {
        "name": name,
        "method": "colors",
        "sampling": {"frames_per_second": 1.0, "max_frames": max_frames},
        "frames": {"height": SIDE, "width": SIDE, "resize": "squash", "interpolation": "area"},
        "video": {
            "recall_dim": DIM,
            "embed_dim": DIM,
            "patch_rows": 2 if patches else 0,
            "patch_columns": 2 if patches else 0,
            "frame_values": frame_values,
            "batch_frames": 16,
        },
        "text": {"max_words": 16, "words": words, "pad_id": 0, "lowercase": True},
        "provenance": {"data": ["none"], "licence": "Apache-2.0", "recipe": "tests"},
    }
    if rerank == "late":
        inputs = ["recall_score", "frame_sims", "frame_mask"] + ["patch_sims"] * patches
        fields["rerank"] = {"kind": "late", "inputs": inputs}
        files["rerank.onnx"] = late_graph(inputs)
    elif rerank == "cross":
        fields["rerank"] = {"kind": "cross"}
        files["rerank.onnx"] = cross_graph(words=words)
    if calibration:
        fields["calibration"] = {"slope": 2.0, "intercept": -1.0, "threshold": 0.5}
        files["query_bank.json"] = json.dumps(BANK).encode()
    write_bundle(out_dir, fields, files)
    return Path(out_dir)


def video_graph(
    *, patches: bool = True, frame_values: bool = False, sharpness: float = 8.0, dim: int = DIM
) -> bytes:
    """frames uint8 [N,F,32,32,3], frame_mask bool [N,F] -> the outputs of a video graph."""
    palette = np.array(list(COLORS.values()), np.float32)  # [9, 3]
    spread = np.zeros((len(palette), dim), np.float32)
    spread[:, : len(palette)] = np.eye(len(palette))
    half = SIDE // 2
    constants = {
        "byte": np.float32(255),
        "grid": np.array([0, 0, 2, half, 2, half, 3], np.int64),
        "pixels": np.array([3, 5], np.int64),
        "flat": np.array([0, 0, 4, 3], np.int64),
        # softmax(-sharpness |c - p|^2): the |c|^2 term is common to all colours and falls away
        "weights": (2 * sharpness * palette.T).astype(np.float32),
        "bias": (-sharpness * (palette**2).sum(1)).astype(np.float32),
        "spread": spread,
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "last": np.array([-1], np.int64),
    }
    nodes = [
        ("Cast", ["frames"], "float", {"to": TensorProto.FLOAT}),
        ("Div", ["float", "byte"], "unit", {}),
        ("Reshape", ["unit", "grid"], "cells", {}),
        ("ReduceMean", ["cells", "pixels"], "means", {"keepdims": 0}),  # [N,F,2,2,3]
        ("Reshape", ["means", "flat"], "colors", {}),  # [N,F,4,3]
        ("MatMul", ["colors", "weights"], "product", {}),
        ("Add", ["product", "bias"], "logits", {}),
        ("Softmax", ["logits"], "choice", {"axis": -1}),
        ("MatMul", ["choice", "spread"], "raw_patches", {}),  # [N,F,4,D]
        *_unit("raw_patches", "patch_embeds"),
        ("ReduceMean", ["raw_patches", "axis2"], "raw_frames", {"keepdims": 0}),
        *_unit("raw_frames", "frame_embeds"),
        ("Cast", ["frame_mask"], "mask", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["mask", "last"], "mask3", {}),
        ("Mul", ["frame_embeds", "mask3"], "kept", {}),
        ("ReduceSum", ["kept", "axis1"], "pooled", {"keepdims": 0}),
        *_unit("pooled", "recall_embeds"),
    ]
    outputs = {"recall_embeds": ["N", dim], "frame_embeds": ["N", "F", dim]}
    if patches:
        outputs["patch_embeds"] = ["N", "F", 4, dim]
    if frame_values:
        nodes.append(("Identity", ["frame_embeds"], "frame_values", {}))
        outputs["frame_values"] = ["N", "F", dim]
    inputs = {
        "frames": (TensorProto.UINT8, ["N", "F", SIDE, SIDE, 3]),
        "frame_mask": (TensorProto.BOOL, ["N", "F"]),
    }
    return model("video", nodes, inputs, outputs, constants)


def text_graph(*, words: bool = True) -> bytes:
    """input_ids int64 [Q,W], word_mask bool [Q,W] -> recall_query, text_embeds, word_embeds."""
    table = np.zeros((len(WORDS), DIM), np.float32)
    for place, word in enumerate(WORDS):
        if word in COLORS:
            table[place, list(COLORS).index(word)] = 1.0
        elif word != PAD:
            table[place, len(COLORS)] = 0.3 if word == UNK else 1e-3
    constants = {
        "table": table,
        "axis1": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    nodes = [
        ("Gather", ["table", "input_ids"], "raw_words", {"axis": 0}),  # [Q,W,D]
        ("Cast", ["word_mask"], "mask", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["mask", "last"], "mask3", {}),
        ("Mul", ["raw_words", "mask3"], "kept", {}),
        ("ReduceSum", ["kept", "axis1"], "pooled", {"keepdims": 0}),
        *_unit("pooled", "text_embeds"),
        ("Identity", ["text_embeds"], "recall_query", {}),
    ]
    outputs = {"recall_query": ["Q", DIM], "text_embeds": ["Q", DIM]}
    if words:
        nodes += _unit("kept", "word_embeds")
        outputs["word_embeds"] = ["Q", "W", DIM]
    inputs = {
        "input_ids": (TensorProto.INT64, ["Q", "W"]),
        "word_mask": (TensorProto.BOOL, ["Q", "W"]),
    }
    return model("text", nodes, inputs, outputs, constants)


def late_graph(inputs: list[str]) -> bytes:
    """score = (recall + best frame) / 2 (+ best patch / 10); frame relevance = the frame cosine."""
    shapes: dict[str, tuple[int, list]] = {
        "recall_score": (TensorProto.FLOAT, ["K"]),
        "frame_sims": (TensorProto.FLOAT, ["K", "F"]),
        "frame_mask": (TensorProto.BOOL, ["K", "F"]),
        "frame_value_sims": (TensorProto.FLOAT, ["K", "F"]),
        "frame_gram": (TensorProto.FLOAT, ["K", "F", "F"]),
        "patch_sims": (TensorProto.FLOAT, ["K", "F", "P"]),
        "word_frame_sims": (TensorProto.FLOAT, ["K", "W", "F"]),
        "word_mask": (TensorProto.BOOL, ["W"]),
    }
    constants = {
        "half": np.float32(0.5),
        "tenth": np.float32(0.1),
        "low": np.float32(-1e9),
        "zero": np.float32(0),
        "one": np.float32(1),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
    }
    nodes = [
        ("Where", ["frame_mask", "frame_sims", "low"], "masked", {}),
        ("ReduceMax", ["masked", "axis1"], "best", {"keepdims": 0}),
        ("Add", ["recall_score", "best"], "sum", {}),
        ("Mul", ["sum", "half"], "base", {}),
        ("Clip", ["masked", "zero", "one"], "frame_relevance", {}),
    ]
    if "patch_sims" in inputs:
        nodes += [
            ("ReduceMax", ["patch_sims", "axis2"], "patch_best", {"keepdims": 0}),  # [K,F]
            ("Where", ["frame_mask", "patch_best", "low"], "patch_masked", {}),
            ("ReduceMax", ["patch_masked", "axis1"], "patch_top", {"keepdims": 0}),
            ("Mul", ["patch_top", "tenth"], "patch_part", {}),
            ("Add", ["base", "patch_part"], "score", {}),
        ]
    else:
        nodes.append(("Identity", ["base"], "score", {}))
    # Inputs beyond the ones used here still have to be read, or checkers drop them.
    outputs = {"score": ["K"], "frame_relevance": ["K", "F"]}
    return model("rerank", nodes, {name: shapes[name] for name in inputs}, outputs, constants)


def cross_graph(*, words: bool = True) -> bytes:
    """score = best frame cosine, straight from the tokens."""
    constants = {
        "low": np.float32(-1e9),
        "zero": np.float32(0),
        "one": np.float32(1),
        "axis1": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    nodes = [
        ("Unsqueeze", ["text_embeds", "last"], "column", {}),  # [D,1]
        ("MatMul", ["frame_embeds", "column"], "sims3", {}),  # [K,F,1]
        ("Squeeze", ["sims3", "last"], "sims", {}),
        ("Where", ["frame_mask", "sims", "low"], "masked", {}),
        ("ReduceMax", ["masked", "axis1"], "score", {"keepdims": 0}),
        ("Clip", ["masked", "zero", "one"], "frame_relevance", {}),
    ]
    inputs: dict[str, tuple[int, list]] = {"text_embeds": (TensorProto.FLOAT, [DIM])}
    if words:
        inputs["word_embeds"] = (TensorProto.FLOAT, ["W", DIM])
        inputs["word_mask"] = (TensorProto.BOOL, ["W"])
    inputs["frame_embeds"] = (TensorProto.FLOAT, ["K", "F", DIM])
    inputs["frame_mask"] = (TensorProto.BOOL, ["K", "F"])
    outputs = {"score": ["K"], "frame_relevance": ["K", "F"]}
    return model("rerank", nodes, inputs, outputs, constants)


def tokenizer() -> bytes:
    """A word-level tokenizer over colour words, in the `tokenizers` format."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    made = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=UNK))
    made.pre_tokenizer = Whitespace()
    return made.to_str().encode()


def _unit(source: str, target: str) -> list[tuple]:
    """Divide by the length along the last axis; a zero vector stays zero."""
    return [
        ("ReduceL2", [source, "last"], f"{target}_length", {"keepdims": 1}),
        ("Max", [f"{target}_length", "tiny"], f"{target}_safe", {}),
        ("Div", [source, f"{target}_safe"], target, {}),
    ]


def model(name: str, nodes: list, inputs: dict, outputs: dict, constants: dict) -> bytes:
    """An ONNX model as bytes; unused constants are left out."""
    constants = {**constants, "tiny": np.float32(1e-9), "last": np.array([-1], np.int64)}
    made = [helper.make_node(op, ins, [out], **attributes) for op, ins, out, attributes in nodes]
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        name,
        [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()],
        [
            helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
            for key, shape in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(built, full_check=True)
    return built.SerializeToString()
