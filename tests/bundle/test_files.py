"""A bundle from outside: every way it can lie about its files is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.bundle.files import BundleFiles
from finecut.bundle.load import Bundle
from finecut.bundle.schema import parse_manifest
from finecut.errors import BundleError


def zip_of(bundle: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, prefix + path.name)
    return target


def test_every_file_is_read_as_written(colors: Path):
    files = BundleFiles(colors)
    assert set(files.entries) == {
        "query_bank.json",
        "rerank.onnx",
        "text.onnx",
        "tokenizer.json",
        "video.onnx",
    }
    for name in files.entries:
        assert files.read(name) == (colors / name).read_bytes()
    assert files.extra() == []


@pytest.mark.parametrize("prefix", ["", "colors/"])
def test_a_zip_is_as_good_as_a_directory(colors: Path, tmp_path: Path, prefix: str):
    packed = zip_of(colors, tmp_path / "colors.zip", prefix)
    one, other = Bundle.load(colors), Bundle.load(packed)
    assert one.fingerprint == other.fingerprint
    text = one.encode_text(["red"])[0].text
    assert (text == other.encode_text(["red"])[0].text).all()


def test_nothing_there(tmp_path: Path):
    with pytest.raises(BundleError, match=r"There is no bundle at .*nowhere"):
        Bundle.load(tmp_path / "nowhere")


def test_an_empty_directory(tmp_path: Path):
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        BundleFiles(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "must hold an object, got list"),
        (b"{}", "schema version None, this finecut reads 1"),
        (b'{"schema_version": 2}', "schema version 2, this finecut reads 1"),
        (b'{"schema_version": 1}', "name: Field required"),
        (b'{"x": "' + b"y" * (1 << 20) + b'"}', "expected at most 1048576"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match=message):
        BundleFiles(tmp_path)


def test_an_unknown_key_is_named(broken):
    place = broken(change=lambda m: m.update(colour="red"))
    with pytest.raises(BundleError, match=r"colour: Extra inputs are not permitted"):
        BundleFiles(place)


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "C:x", "", "a" * 200]
)
def test_a_path_that_leaves_the_bundle(broken, path: str):
    place = broken(change=lambda m: m["files"].append({**m["files"][0], "path": path}))
    with pytest.raises(BundleError, match="file names are plain names inside the bundle"):
        BundleFiles(place)


def test_a_file_that_is_missing(broken):
    place = broken()
    (place / "text.onnx").unlink()
    with pytest.raises(BundleError, match=r"text\.onnx cannot be read \(No such file"):
        BundleFiles(place).read("text.onnx")


def test_a_file_that_is_not_listed_is_not_read(broken):
    place = broken({"more.bin": b"x"}, honest=False)
    files = BundleFiles(place)
    assert files.extra() == ["more.bin"]
    with pytest.raises(BundleError, match=r"'more\.bin' is not listed"):
        files.read("more.bin")


def test_a_graph_that_is_named_but_not_listed(broken):
    def drop(manifest: dict) -> None:
        manifest["files"] = [e for e in manifest["files"] if e["path"] != "text.onnx"]

    with pytest.raises(BundleError, match=r"named but not listed under files: text\.onnx"):
        BundleFiles(broken(change=drop))


def test_a_changed_byte_is_seen(broken):
    place = broken()
    data = bytearray((place / "text.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (place / "text.onnx").write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"text\.onnx has the SHA-256 .*damaged or was changed"):
        Bundle.load(place).encode_text(["red"])


@pytest.mark.parametrize(("change", "message"), [(-1, "has 3 bytes"), (5, "has more")])
def test_another_size_is_seen(broken, change: int, message: str):
    place = broken({"tokenizer.json": b"x" * 4})
    (place / "tokenizer.json").write_bytes(b"x" * (4 + change))
    with pytest.raises(BundleError, match=f"{message}, the manifest says 4"):
        BundleFiles(place).read("tokenizer.json")


def test_sizes_beyond_any_model_are_refused(broken):
    place = broken(change=lambda m: m["files"][0].update(size_bytes=3 << 30))
    with pytest.raises(BundleError, match="the bundle is too large"):
        BundleFiles(place)


def test_a_link_out_of_the_bundle(broken, tmp_path: Path):
    place = broken()
    outside = tmp_path / "outside.onnx"
    shutil.move(place / "text.onnx", outside)
    (place / "text.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"text\.onnx is a link out of the bundle"):
        BundleFiles(place).read("text.onnx")


def test_a_link_inside_the_bundle_is_fine(broken):
    place = broken()
    shutil.move(place / "text.onnx", place / "real.onnx")
    (place / "text.onnx").symlink_to("real.onnx")
    assert BundleFiles(place).read("text.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(broken):
    place = broken()
    (place / "text.onnx").unlink()
    os.mkfifo(place / "text.onnx")
    with pytest.raises(BundleError, match="is not a regular file"):
        BundleFiles(place).read("text.onnx")


def test_a_file_that_is_no_zip(tmp_path: Path):
    (tmp_path / "b.zip").write_bytes(b"PK no")
    with pytest.raises(BundleError, match="neither a bundle directory nor a readable zip"):
        Bundle.load(tmp_path / "b.zip")


def test_a_zip_without_a_manifest(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("../manifest.json/x", "")
    with pytest.raises(BundleError, match=r"expected one manifest\.json in the zip"):
        Bundle.load(tmp_path / "b.zip")


def test_a_zip_with_two_of_a_file(colors: Path, tmp_path: Path):
    packed = zip_of(colors, tmp_path / "b.zip")
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("text.onnx", b"other")
    with pytest.raises(BundleError, match=r"text\.onnx is 2 times in the zip"):
        BundleFiles(packed).read("text.onnx")


def test_a_zip_bomb(broken, tmp_path: Path):
    place = broken({"text.onnx": bytes(64 << 20)})
    packed = zip_of(place, tmp_path / "b.zip")
    assert packed.stat().st_size < 1 << 20
    with pytest.raises(BundleError, match="as no weights do; the zip is refused"):
        BundleFiles(packed).read("text.onnx")


def test_a_zip_cut_short(colors: Path, tmp_path: Path):
    packed = zip_of(colors, tmp_path / "b.zip")
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        start = archive.getinfo("text.onnx").header_offset + 60
    data[start : start + 40] = bytes(40)
    packed.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"text\.onnx"):
        BundleFiles(packed).read("text.onnx")


def test_manifest_problems_are_told_in_one_line(broken):
    def spoil(manifest: dict) -> None:
        manifest["sampling"]["max_frames"] = 0
        manifest["frames"]["resize"] = "stretch"
        manifest["text"]["template"] = "{} {}"
        manifest["rerank"]["inputs"] = []

    with pytest.raises(BundleError) as caught:
        BundleFiles(broken(change=spoil))
    message = str(caught.value)
    assert "\n" not in message
    for part in ("sampling.max_frames", "frames.resize", "text.template", "rerank"):
        assert part in message


def test_a_reranker_cannot_want_what_the_graphs_do_not_give(broken):
    def spoil(manifest: dict) -> None:
        manifest["rerank"]["inputs"] = ["frame_value_sims"]

    with pytest.raises(BundleError, match="the re-ranker wants frame_value_sims"):
        BundleFiles(broken(change=spoil))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none(broken, value: str):
    place = broken()
    text = (place / "manifest.json").read_text().replace('"slope": 2.0', f'"slope": {value}')
    (place / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"calibration\.slope: Input should be a finite number"):
        BundleFiles(place)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_read_or_refused(colors: Path, data: st.DataObject):
    manifest = json.loads((colors / "manifest.json").read_text())
    place, path = manifest, []
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        path.append(key)
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(json_values)
        break
    try:
        parsed = parse_manifest(json.dumps(manifest).encode(), "x")
        assert parsed.schema_version == 1
    except BundleError as error:
        assert str(error).startswith("x: ") and len(str(error)) < 3000


def test_the_manifest_is_readable_json(colors: Path):
    assert json.loads((colors / "manifest.json").read_text())["name"] == "colors"
