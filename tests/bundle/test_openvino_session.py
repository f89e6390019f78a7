"""OpenVINO for the video graph: the same answers, in any thread, and said where it cannot be."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from color_bundle import COLORS, DIM, SIDE
from finecut.bundle.load import Bundle
from finecut.bundle.session import Graph, choose_providers
from finecut.errors import UsageError

if find_spec("openvino") is None:
    pytest.skip('needs pip install "finecut[openvino]"', allow_module_level=True)

# What an import of it must not do: speak to anybody, or write.
SILENT = """
import sys

told = []

def hook(event, args):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.mkdir", "os.posix_spawn")):
        told.append((event, args))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        told.append((event, args))

sys.dont_write_bytecode = True
sys.addaudithook(hook)
import numpy as np
from finecut.bundle.load import Bundle

bundle = Bundle.load(sys.argv[1], providers=["openvino"])
bundle.encode_clips([np.zeros((1, 32, 32, 3), np.uint8)])
print(bundle._video.runs_by, told, "openvino_telemetry" in sys.modules)
"""


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8) for n in (1, 5, 3, 8, 2, 2)]


@pytest.fixture(scope="module")
def bundle(colors: Path) -> Bundle:
    return Bundle.load(colors, providers=["openvino"])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_tokens_are_those_of_onnxruntime(bundle: Bundle, colors: Path, clips: list[np.ndarray]):
    plain = Bundle.load(colors, providers=["cpu"])
    assert bundle._video.runs_by.startswith("OpenVINO")
    assert plain._video.runs_by == "CPU"
    for ours, theirs in zip(bundle.encode_clips(clips), plain.encode_clips(clips), strict=True):
        assert ours.recall.dtype == np.float32 and ours.recall.shape == (DIM,)
        assert cosines(ours.recall, theirs.recall).min() > 0.999
        assert cosines(ours.frames, theirs.frames).min() > 0.999
        assert ours.patches is not None and theirs.patches is not None
        assert cosines(ours.patches, theirs.patches).min() > 0.99


def test_colors_are_found_by_sentences_of_onnxruntime(bundle: Bundle):
    shown = [np.round(255 * np.array(color)).astype(np.uint8) for color in COLORS.values()]
    clips = [np.broadcast_to(color, (2, SIDE, SIDE, 3)).copy() for color in shown]
    videos = np.array([tokens.recall for tokens in bundle.encode_clips(clips)])
    texts = np.array([t.recall for t in bundle.encode_text([f"a {c} screen" for c in COLORS])])
    assert bundle._text.runs_by == "CPU"
    assert ((texts @ videos.T).argmax(1) == np.arange(len(COLORS))).all()


def test_many_threads_get_their_own_answers(colors: Path, clips: list[np.ndarray]):
    bundle = Bundle.load(colors, providers=["openvino"]).with_threads(1)
    alone = [bundle.encode_clips([clip])[0].recall for clip in clips]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: bundle.encode_clips([clips[i % 6]])[0], range(48)))
    for i, tokens in enumerate(together):
        assert (tokens.recall == alone[i % 6]).all()


def test_what_was_answered_stays_when_the_next_is_asked(bundle: Bundle, clips: list[np.ndarray]):
    first = bundle.encode_clips([clips[1]])[0]
    kept = first.recall.copy(), first.frames.copy()
    bundle.encode_clips([255 - clips[1]])
    assert (first.recall == kept[0]).all() and (first.frames == kept[1]).all()


def test_nobody_is_told(colors: Path, tmp_path: Path):
    """Plainly imported, OpenVINO tells an analytics service and writes into the user's home."""
    assert SIDE == 32
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    env.pop("CI", None)  # where it would be silent anyway
    ran = subprocess.run(
        [sys.executable, "-c", SILENT, colors], capture_output=True, text=True, env=env, check=True
    )
    assert ran.stdout.startswith("OpenVINO") and ran.stdout.endswith(" [] False\n")
    assert not (tmp_path / "intel").exists()


def graph(*nodes: onnx.NodeProto) -> Graph:
    """x [N, 2, 2] -> y [N] by these nodes."""
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", 2, 2]), ("y", ["N"]))
    ]
    axes = onnx.numpy_helper.from_array(np.array([1, 2]), "axes")
    made = onnx.helper.make_graph(nodes, "test", ends[:1], ends[1:], [axes])
    data = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    io = {"x": ("float32", "N 2 2")}, {"y": ("float32", "N")}
    return Graph(
        data, "b: video.onnx", *io, threads=1, providers=["openvino", "CPUExecutionProvider"]
    )


def test_an_operator_openvino_lacks_is_run_by_onnxruntime(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        made = graph(node("Det", ["x"], ["y"]))
    assert made.runs_by == "CPU"
    assert "b: video.onnx cannot be run by OpenVINO, onnxruntime runs it" in caplog.text
    assert made.run({"x": np.eye(2, dtype=np.float32)[None]})["y"] == [1]


def test_a_quantised_graph_is_run_by_onnxruntime(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        made = graph(
            node("DynamicQuantizeLinear", ["x"], ["bytes", "scale", "zero"]),
            node("DequantizeLinear", ["bytes", "scale", "zero"], ["floats"]),
            node("ReduceSum", ["floats", "axes"], ["y"], keepdims=0),
        )
    assert made.runs_by == "CPU"
    assert "b: video.onnx is quantised: onnxruntime runs it" in caplog.text
    assert made.run({"x": np.ones((1, 2, 2), np.float32)})["y"] == pytest.approx([4])


def test_it_is_chosen_for_videos_alone_and_never_unasked():
    assert choose_providers(["openvino"], accelerate=True)[0] == "openvino"
    assert choose_providers(["openvino"], accelerate=False) == ["CPUExecutionProvider"]
    assert "openvino" not in choose_providers(None, accelerate=True)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r'pip install "finecut\[openvino\]"'):
        choose_providers(["openvino"], accelerate=True)
