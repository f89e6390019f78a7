"""Verify finds what loading alone would not: lengths, padding, order, banks, fingerprints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import color_bundle
from color_bundle import DIM, make_color_bundle, model
from finecut.bundle.verify import verify
from finecut.errors import BundleError


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rerank": "cross"},
        {"rerank": None, "patches": False, "words": False, "calibration": False},
        {"frame_values": True, "max_frames": 1},
    ],
)
def test_a_whole_bundle_passes(tmp_path: Path, options: dict):
    report = verify(make_color_bundle(tmp_path / "b", **options))
    assert report.ok and report.problems == [] and report.notes == []
    assert {"manifest", "fingerprint", "text graph", "video graph"} <= set(report.passed)
    assert ("re-rank graph" in report.passed) == (options.get("rerank", "late") is not None)
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_nothing_to_verify(tmp_path: Path):
    with pytest.raises(BundleError, match="There is no bundle at"):
        verify(tmp_path / "nothing")


def problems(place: Path) -> str:
    report = verify(place)
    assert not report.ok
    return "\n".join(report.problems)


def test_a_broken_manifest_is_a_problem(broken):
    assert "name:" in problems(broken(change=lambda m: m.update(name="../x")))


def test_every_changed_file_is_named(broken):
    place = broken()
    for name in ("text.onnx", "query_bank.json"):
        (place / name).write_bytes((place / name).read_bytes() + b" ")
    found = problems(place)
    assert "hash text.onnx" in found and "hash query_bank.json" in found


def test_a_fingerprint_that_is_not_its_contents(broken):
    found = problems(broken(change=lambda m: m.update(fingerprint="0" * 64)))
    assert "fingerprint: the manifest says 0000000000000000" in found


def test_a_changed_graph_changes_the_fingerprint(broken):
    place = broken({"video.onnx": color_bundle.video_graph(sharpness=5.0)})
    assert "an index would take this bundle for another one" in problems(place)


def test_files_that_are_not_listed_are_told(broken):
    place = broken({"more.py": b"print()"}, honest=False)
    report = verify(place)
    assert report.ok and report.notes == ["more.py is not listed in the manifest and is never read"]


def test_tokens_that_are_not_unit_length(broken):
    import onnx

    graph = onnx.load_from_string(color_bundle.text_graph())
    for node in graph.graph.node:
        if node.output[0] == "recall_query":
            node.output[0], node.input[0] = "recall_query", "pooled"
        elif node.output[0] == "text_embeds":
            node.op_type = "Identity"
            node.input[:] = ["pooled"]
    assert "text_embeds is off unit length" in problems(
        broken({"text.onnx": graph.SerializeToString()})
    )


def test_a_reranker_that_minds_padding(broken):
    """The mean over all frames, padding included."""
    float_, bool_ = color_bundle.TensorProto.FLOAT, color_bundle.TensorProto.BOOL
    nodes = [
        ("ReduceMean", ["frame_sims", "axis"], "score", {"keepdims": 0}),
        ("Identity", ["frame_sims"], "frame_relevance", {}),
    ]
    shapes = {
        "recall_score": (float_, ["K"]),
        "frame_sims": (float_, ["K", "F"]),
        "frame_mask": (bool_, ["K", "F"]),
        "patch_sims": (float_, ["K", "F", 4]),
    }
    outputs = {"score": ["K"], "frame_relevance": ["K", "F"]}
    bad = model("rerank", nodes, shapes, outputs, {"axis": np.array([1], np.int64)})
    assert "with and without padding differ" in problems(broken({"rerank.onnx": bad}))


def test_a_bank_of_another_text_graph(broken):
    import io

    rows = len(color_bundle.BANK)
    buffer = io.BytesIO()
    np.save(buffer, np.ones((rows, 2 * DIM), np.float32))
    place = broken(
        {"bank.npy": buffer.getvalue()},
        change=lambda m: m["calibration"].update(bank_embeds="bank.npy"),
    )
    assert "the kept vector of 'a red screen' has cosine" in problems(place)
