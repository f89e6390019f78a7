"""Writing a bundle: complete or not at all, and read back as written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from color_bundle import make_color_bundle, text_graph, tokenizer, video_graph
from finecut.bundle.files import BundleFiles
from finecut.bundle.write import write_bundle
from finecut.errors import BundleError

FIELDS = {
    "name": "plain",
    "method": "colors",
    "sampling": {"frames_per_second": 1.0, "max_frames": 8},
    "frames": {"height": 32, "width": 32, "resize": "squash"},
    "video": {"recall_dim": 12, "embed_dim": 12, "patch_rows": 2, "patch_columns": 2},
    "text": {"max_words": 16, "words": True},
    "provenance": {"data": ["none"], "licence": "Apache-2.0", "recipe": "tests"},
}
FILES = {"video.onnx": video_graph(), "text.onnx": text_graph(), "tokenizer.json": tokenizer()}


def test_read_back_as_written(tmp_path: Path):
    manifest = write_bundle(tmp_path / "b", FIELDS, FILES)
    assert BundleFiles(tmp_path / "b").manifest == manifest
    assert sorted(os.listdir(tmp_path)) == ["b"]
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


def test_the_same_input_gives_the_same_bundle(tmp_path: Path):
    one = make_color_bundle(tmp_path / "a")
    other = make_color_bundle(tmp_path / "b")
    assert all((other / p.name).read_bytes() == p.read_bytes() for p in one.iterdir())


def test_files_may_be_paths(tmp_path: Path):
    (tmp_path / "v").write_bytes(FILES["video.onnx"])
    manifest = write_bundle(tmp_path / "b", FIELDS, {**FILES, "video.onnx": tmp_path / "v"})
    assert manifest == write_bundle(tmp_path / "c", FIELDS, FILES)


def test_an_existing_bundle_is_kept_unless_told(tmp_path: Path):
    write_bundle(tmp_path / "b", FIELDS, FILES)
    with pytest.raises(
        BundleError, match=r"b exists already; choose another place, or pass replace"
    ):
        write_bundle(tmp_path / "b", FIELDS, FILES)
    write_bundle(tmp_path / "b", {**FIELDS, "name": "new"}, FILES, replace=True)
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["name"] == "new"
    assert sorted(os.listdir(tmp_path)) == ["b"]


@pytest.mark.parametrize(
    ("fields", "files", "message"),
    [
        ({**FIELDS, "fingerprint": "0" * 64}, FILES, r"\['fingerprint'\] are computed"),
        ({**FIELDS, "name": "a b"}, FILES, "make no manifest: name"),
        ({k: v for k, v in FIELDS.items() if k != "sampling"}, FILES, "frames_per_second: Field"),
        (FIELDS, {"video.onnx": b""}, r"named but not listed under files: text\.onnx, tokenizer"),
        (FIELDS, {**FILES, "x": Path("nowhere")}, "Bundle file 'x' cannot be read from nowhere"),
        (FIELDS, {**FILES, "../x": b""}, "A bundle cannot hold this file: path: file names"),
        ({**FIELDS, "rerank": {"kind": "late"}}, FILES, "a late re-ranker names its inputs"),
    ],
)
def test_what_makes_no_bundle_leaves_nothing(tmp_path: Path, fields, files, message: str):
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "place" / "b", fields, files)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
