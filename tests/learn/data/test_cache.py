"""The cache: what goes in comes out, nothing is lost when it is stopped, nothing unfit is read."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.index.lock import FileLock
from finecut.learn.checkpoint import load_checkpoint
from finecut.learn.data.cache import make_cache
from finecut.learn.data.cache_facts import FACTS, TABLE, pack, read_facts, unpack
from finecut.learn.data.cache_pairs import CachedPairs
from finecut.learn.data.cache_write import CacheProgress
from finecut.learn.data.open_split import open_split
from finecut.learn.data.pairs import ChecksModel, PairData, make_batch
from finecut.learn.data.sampling import Sampling
from finecut.learn.data.video_pairs import VideoPairs
from finecut.learn.encoders.tiny import TINY
from finecut.learn.inputs.tower import ClipTower
from finecut.learn.training.loop import train
from finecut.learn.training.start import StartingPoint
from learn.data.small_set import MODELS, recipe_for, write_set
from video_writing import X264, steps, write_video


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def frames_cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("frames") / "cache"
    make_cache(recipe_for(root=root), place)
    return place


@pytest.fixture(scope="module")
def features_cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("features") / "cache"
    make_cache(recipe_for("eercf", root), place, features=True)
    return place


def cached(method: str, root: Path, place: Path, **data: str) -> PairData:
    return open_split(recipe_for(method, root, kind="cache", cache=str(place), **data), "train")


def test_frames_are_those_of_the_videos(root: Path, frames_cache: Path):
    live, held = open_split(recipe_for(root=root), "train"), cached("clip4clip", root, frames_cache)
    assert isinstance(held, CachedPairs) and isinstance(held, PairData)
    assert held.video_ids == live.video_ids and held.sentences == live.sentences
    rows = [3, 0, 2, 1]
    wanted, got = live.video_inputs(rows), held.video_inputs(rows)
    assert torch.equal(wanted["frame_mask"], got["frame_mask"])
    assert (wanted["pixels"] - got["pixels"]).abs().max() < 0.2  # JPEG, of values around -2 to 2
    twin = pickle.loads(pickle.dumps(held))
    assert torch.equal(twin.video_inputs(rows)["pixels"], got["pixels"])


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_features_are_those_of_the_tower(root: Path, tmp_path: Path, dtype: str):
    """Padding included: EERCF as released lets padded frames take part."""
    recipe = recipe_for("eercf", root)
    make_cache(recipe, tmp_path / "c", features=True, dtype=dtype)  # type: ignore[arg-type]
    live, held = open_split(recipe, "train"), cached("eercf", root, tmp_path / "c")
    model, _ = StartingPoint(recipe).build({})
    model.eval()
    pixels, features = live.video_inputs([0, 1, 3]), held.video_inputs([0, 1, 3])
    assert set(features) == {"frames_raw", "patches_raw", "frame_mask"}
    with torch.inference_mode():
        frames, patches = model.clip.encode_frames(pixels["pixels"])
        wanted, got = model.encode_video(**pixels), model.encode_video(**features)
    step = 2e-3 if dtype == "float16" else 2e-2
    for name, value in (("frames_raw", frames), ("patches_raw", patches)):
        assert (features[name] - value).abs().max() < step * value.abs().max()
    assert (wanted.recall - got.recall).abs().max() < 2 * step


def test_a_three_dimensional_tower_sees_the_padding(root: Path, tmp_path: Path):
    recipe = recipe_for(root=root)
    model = {**recipe.model, "clip": asdict(TINY.with_patches("3d"))}
    recipe = replace(recipe, model=model)
    make_cache(recipe, tmp_path / "c", features=True)
    held = open_split(
        replace(recipe, data=replace(recipe.data, kind="cache", cache=str(tmp_path / "c"))), "train"
    )
    network, _ = StartingPoint(recipe).build({})
    with torch.no_grad():  # as inflated it would see the middle frame alone
        network.clip.visual.conv2.weight.normal_(std=0.02)
    data = open_split(recipe, "train")
    assert isinstance(data, VideoPairs)
    pixels = data.video_inputs([0, 3])["pixels"]
    tower = ClipTower(network.clip, ("frames_raw",), 3)
    got = tower([data.frames(0), data.frames(3)])
    with torch.inference_mode():
        wanted, _ = network.clip.encode_frames(pixels)
    for row, video in enumerate(got):
        real = wanted[row, : len(video["frames_raw"])].numpy()
        assert np.abs(video["frames_raw"] - real).max() < 1e-4
    assert held.video_inputs([0])["frames_raw"].shape == (1, 3, TINY.embed_dim)


@pytest.mark.parametrize("method", sorted(MODELS))
def test_heads_are_trained_on_features(
    method: str, root: Path, features_cache: Path, tmp_path: Path
):
    recipe = recipe_for(method, root, kind="cache", cache=str(features_cache))
    data = open_split(recipe, "train", training=True)
    assert "pixels" not in make_batch(data, [0, 2]).video
    model, _ = StartingPoint(recipe).build({})
    before = {n: p.clone() for n, p in model.named_parameters()}
    report = train(recipe, tmp_path / "run")
    assert report.epochs == 1 and report.best
    after = dict(load_checkpoint(tmp_path / "run").named_parameters())
    moved = {n for n, p in after.items() if not torch.equal(p, before[n])}
    assert moved and not any(n.startswith("clip.visual.") for n in moved)


def test_features_of_another_tower_are_refused(root: Path, features_cache: Path):
    recipe = recipe_for("clip4clip", root, kind="cache", cache=str(features_cache))
    data = open_split(recipe, "train", training=True)
    assert isinstance(data, ChecksModel)
    own, _ = StartingPoint(recipe).build({})
    data.check_model(own)
    other, _ = StartingPoint(replace(recipe, seed=recipe.seed + 1)).build({})
    held = read_facts(features_cache).backbone
    with pytest.raises(UsageError, match=f"backbone {held}, this model's is [0-9a-f]{{16}}:"):
        data.check_model(other)


def test_a_feature_that_is_not_there_is_named(root: Path, tmp_path: Path):
    make_cache(recipe_for("clip4clip", root), tmp_path / "c", features=True)
    with pytest.raises(UsageError, match="has no patches_raw, which this method takes"):
        cached("eercf", root, tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": Sampling(max_frames=4)}, "sampling max_frames is 3, the recipe's is 4"),
        (
            {"sampling": Sampling(max_frames=3, framerate=2)},
            "sampling framerate is 1, the recipe's is 2",
        ),
        (
            {"sampling": Sampling(max_frames=3, rule="time")},
            "sampling rule is published, the recipe's is time",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    root: Path, frames_cache: Path, change: dict, said: str
):
    recipe = recipe_for(root=root, kind="cache", cache=str(frames_cache), **change)
    with pytest.raises(UsageError, match=said):
        open_split(recipe, "train")
    with pytest.raises(UsageError, match=said):
        make_cache(recipe_for(root=root, **change), frames_cache)


def test_another_kind_or_quality_is_refused(root: Path, frames_cache: Path):
    recipe = recipe_for(root=root)
    with pytest.raises(UsageError, match="content is frames, the recipe's is features"):
        make_cache(recipe, frames_cache, features=True)
    with pytest.raises(UsageError, match="jpeg_quality is 95, the recipe's is 80"):
        make_cache(recipe, frames_cache, jpeg_quality=80)
    with pytest.raises(UsageError, match="jpeg_quality must be from 1 to 100, got 0"):
        make_cache(recipe, frames_cache, jpeg_quality=0)


def test_stopped_and_gone_on_with(root: Path, tmp_path: Path):
    recipe, place = recipe_for(root=root), tmp_path / "c"
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    first = make_cache(recipe, place, workers=1, should_stop=stop)
    assert 0 < first.done < 5 and first.left == 5 - first.done
    second = make_cache(recipe, place)
    assert second.unchanged == first.done and second.done == first.left and second.left == 0
    third = make_cache(recipe, place)
    assert third.done == 0 and third.unchanged == 5
    assert third.size_bytes > 0 and third.held_video_s == pytest.approx(15, abs=0.5)
    whole, pieces = tmp_path / "whole", cached("clip4clip", root, place)
    make_cache(recipe, whole)
    wanted = cached("clip4clip", root, whole).video_inputs([0, 1, 2, 3])
    assert torch.equal(wanted["pixels"], pieces.video_inputs([0, 1, 2, 3])["pixels"])


def test_bad_files_are_recorded_and_tried_again_when_they_change(root: Path, tmp_path: Path):
    folder, place = Path(shutil.copytree(root, tmp_path / "set")), tmp_path / "c"
    (folder / "red.mp4").write_bytes(b"not a video at all")
    (folder / "blue.mp4").unlink()
    recipe = recipe_for(root=folder, validation="val")
    report = make_cache(recipe, place)
    assert report.failures == [("red.mp4", "unreadable")] and report.missing == ["blue.mp4"]
    assert report.done == 4
    data = cached("clip4clip", folder, place, validation="val")
    assert sorted(data.missing) == ["blue.mp4", "red.mp4"] and len(data.video_ids) == 3
    again = make_cache(recipe, place)
    assert again.done == 0 and again.failures == [("red.mp4", "unreadable")]
    shutil.copy(root / "red.mp4", folder / "red.mp4")
    mended = make_cache(recipe, place)
    assert mended.done == 1 and mended.failures == [] and mended.unchanged == 3
    os.utime(folder / "green.mp4", (1, 1))
    assert make_cache(recipe, place).done == 1


def test_progress_tells_rate_and_what_is_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("finecut.learn.data.cache_write.REPORT_S", -1.0)
    seen: list[CacheProgress] = []
    make_cache(recipe_for(root=root), tmp_path / "c", on_progress=seen.append)
    assert [now.done for now in seen] == [1, 2, 3, 4, 5] and seen[-1].total == 5
    assert seen[-1].eta_s == 0 and seen[0].eta_s is not None and seen[0].x_realtime > 0


def test_a_folder_of_something_else_is_left_alone(root: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is no cache and is not empty \(it holds 'notes.txt'\)"):
        make_cache(recipe_for(root=root), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]


def test_a_second_writer_is_told(root: Path, tmp_path: Path):
    make_cache(recipe_for(root=root), tmp_path / "c")
    with FileLock(tmp_path / "c" / "writer.lock"), pytest.raises(UsageError, match="being written"):
        make_cache(recipe_for(root=root), tmp_path / "c")


def test_damaged_facts_are_refused(root: Path, tmp_path: Path):
    place = tmp_path / "c"
    make_cache(recipe_for(root=root), place)
    whole = json.loads((place / FACTS).read_text())
    for change, said in (
        ({"version": 9}, "has version 9, this finecut reads 1"),
        ({"format": "x"}, "is not a finecut-cache"),
        ({"kind": "sound"}, "is damaged"),
        ({"sampling": {"max_frames": 0}}, "max_frames must be from 1 to 1000"),
        ({"size": None}, "is damaged"),
    ):
        (place / FACTS).write_text(json.dumps({**whole, **change}))
        with pytest.raises(UsageError, match=said):
            read_facts(place)


def test_no_cache_says_how_to_make_one(root: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"data\.cache, or with --set data\.cache=FOLDER"):
        open_split(recipe_for(root=root, kind="cache"), "train")
    with pytest.raises(UsageError, match=r"is no cache: it has no cache\.json\. Make one"):
        open_split(recipe_for(root=root, kind="cache", cache=str(tmp_path)), "train")


def test_a_split_the_cache_does_not_hold_is_decoded(
    root: Path, frames_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A held-back split of the same layout: its videos are elsewhere."""
    other = write_set(tmp_path / "other", ["red", "blue"], name="test")
    for name in ("red", "blue"):
        (other / f"{name}.mp4").rename(other / f"new-{name}.mp4")
    text = (other / "test.jsonl").read_text()
    (other / "test.jsonl").write_text(text.replace('"video": "', '"video": "new-'))
    recipe = recipe_for(root=root, kind="cache", cache=str(frames_cache))
    with caplog.at_level(logging.WARNING):
        data = open_split(recipe, "test", root=other)
    assert isinstance(data, VideoPairs) and len(data.video_ids) == 2
    assert "the cache holds no video of the split" in caplog.text


def test_a_cache_beside_its_annotations_needs_no_name(root: Path, tmp_path: Path):
    make_cache(recipe_for(root=root), tmp_path / "c")
    shutil.copy(root / "train.jsonl", tmp_path / "c" / "train.jsonl")
    data = open_split(recipe_for(kind="cache", root=tmp_path / "c"), "train")
    assert isinstance(data, CachedPairs) and len(data.video_ids) == 4


def test_one_file_and_several_stretches(tmp_path: Path):
    write_video(tmp_path / "a.mp4", steps(6, 8), rate=8, options=X264, width=64, height=48)
    lines = [
        {"video": "a.mp4", "start_s": start, "end_s": start + 2, "caption": f"part {start}"}
        for start in (0, 2, 4)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe = recipe_for(root=tmp_path, validation="val")
    report = make_cache(recipe, tmp_path / "c")
    assert report.done == 3 and report.held_video_s == 6
    live = open_split(recipe, "train")
    held = cached("clip4clip", tmp_path, tmp_path / "c", validation="val")
    wanted, got = live.video_inputs([0, 1, 2])["pixels"], held.video_inputs([0, 1, 2])["pixels"]
    assert (wanted - got).abs().mean() < 0.1
    assert (wanted[0] - wanted[2]).abs().max() > 0.5


def test_a_row_that_a_kill_left_half_written_is_not_there(root: Path, tmp_path: Path):
    """Lance commits by a manifest: data files without one count for nothing."""
    place = tmp_path / "c"
    make_cache(recipe_for(root=root), place)
    (place / TABLE / "data" / "half.lance").write_bytes(b"LANC" * 10)
    assert len(cached("clip4clip", root, place).video_ids) == 4
    assert make_cache(recipe_for(root=root), place).unchanged == 5


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from(["float16", "int8"]),
    st.integers(0, 99),
)
def test_packing_keeps_shape_and_value(frames: int, shape: list[int], dtype: str, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((frames, *shape)).astype(np.float32) * np.float32(
        10.0 ** rng.integers(-3, 4)
    )
    back = unpack(pack(values, dtype), frames, tuple(shape), dtype)  # type: ignore[arg-type]
    assert back.shape == values.shape and back.dtype == np.float32
    largest = np.abs(values).max(axis=-1, keepdims=True)
    allowed = largest * (1e-3 if dtype == "float16" else 1 / 250) + 1e-7
    assert (np.abs(back - values) <= allowed).all()
