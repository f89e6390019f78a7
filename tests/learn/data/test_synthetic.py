"""The made-up clips: what they show is what they say, splits share nothing, files equal arrays."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.learn.data.check import check
from finecut.learn.data.folder import Folder
from finecut.learn.data.synthetic import make_clips, make_scenes
from finecut.learn.data.synthetic_files import RATE, write_corpus
from finecut.learn.data.synthetic_scene import (
    COLOURS,
    GROUND,
    SHAPES,
    Scene,
    Sprite,
    Thing,
    render,
)
from finecut.learn.data.synthetic_tasks import SPLITS, TASKS, THINGS, pairs_of

MOVING = tuple(task for task in TASKS if task != "still")
GROUP_SIZES = {"still": 1, "appearance": 1, "order": 2, "direction": 2, "several": 2,
               "action": 3, "small": 4, "brief": 4}  # fmt: skip


def colour_at(frame: np.ndarray, name: str) -> int:
    """Pixels within a short way of the colour."""
    return int((np.abs(frame.astype(int) - COLOURS[name]).max(axis=-1) < 30).sum())


def things_in(caption: str) -> list[Thing]:
    words = caption.replace(",", "").split()
    return [Thing(c, s) for c, s in pairwise(words) if c in COLOURS]


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_clips_other_seed_other_clips(task: str):
    one, two, other = (make_clips(task, 12, seed=s, side=16) for s in (5, 5, 6))
    assert one.captions == two.captions and np.array_equal(one.frames, two.frames)
    assert one.captions != other.captions


@pytest.mark.parametrize("task", TASKS)
def test_groups_have_the_stated_size_and_different_sentences(task: str):
    clips = make_clips(task, 24, side=16)
    for group, size in Counter(clips.groups.tolist()).items():
        assert size == GROUP_SIZES[task]
        captions = [c for c, g in zip(clips.captions, clips.groups, strict=True) if g == group]
        assert len(set(captions)) == size


@pytest.mark.parametrize("task", TASKS)
def test_tested_sentences_are_unique_and_never_trained_on(task: str):
    test = [s.caption for s in make_scenes(task, 96, split="test", seed=1)]
    assert len(set(test)) == len(test)
    train = {s.caption for s in make_scenes(task, 600, split="train", seed=2)}
    single = {c for c in test if len(things_in(c)) == 1}  # one thing alone is in every split
    assert not train & (set(test) - single)


def test_every_pair_of_things_belongs_to_one_split():
    pairs = [frozenset(pair) for split in SPLITS for pair in pairs_of(split)]
    assert len(pairs) == len(set(pairs)) == len(THINGS) * (len(THINGS) - 1) // 2
    shares = [len(pairs_of(split)) / len(pairs) for split in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


@pytest.mark.parametrize("task", MOVING)
def test_the_named_colours_are_seen(task: str):
    clips = make_clips(task, 24, side=64)
    for frames, caption in zip(clips.frames, clips.captions, strict=True):
        for thing in things_in(caption):
            assert max(colour_at(frame, thing.colour) for frame in frames) >= 8, caption


def test_order_is_told_by_time_alone():
    clips = make_clips("order", 40, side=64)
    for frames, caption in zip(clips.frames, clips.captions, strict=True):
        first, second = things_in(caption)
        if first.colour == second.colour:
            continue
        seen = [[colour_at(f, t.colour) > 0 for f in frames] for t in (first, second)]
        assert seen == [[True] * 4 + [False] * 4, [False] * 4 + [True] * 4], caption


def test_there_and_back_are_the_same_places_in_the_other_order():
    for scenes in zip(*[iter(make_scenes("direction", 40))] * 2, strict=True):
        places = []
        for scene in scenes:
            path = scene.sprites[1]
            axis = 0 if path.place0[0] != path.place1[0] else 1
            step = (path.place1[axis] - path.place0[axis]) / scene.duration_s
            places.append([path.place0[axis] + step * second for second in range(8)])
        assert places[0] == pytest.approx(places[1][::-1])


def test_rivals_share_the_lasting_thing_and_no_clip_holds_a_rivals_answer():
    for task in ("small", "brief"):
        scenes = make_scenes(task, 96, split="test")
        for scene in scenes:
            shown = {sprite.thing for sprite in scene.sprites[1:]}
            base = scene.sprites[0].thing
            for other in scenes:
                if other is not scene and other.sprites[0].thing == base:
                    assert things_in(other.caption)[0] not in shown


def test_a_brief_thing_is_there_for_one_second():
    for scene in make_scenes("brief", 24):
        target = things_in(scene.caption)[0]
        times = [s.end_s - s.start_s for s in scene.sprites[1:] if s.thing == target]
        assert times == [1.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_drawn_in_its_place_and_grows_with_its_size(shape: str):
    def area(size: float) -> int:
        spot = Sprite(Thing("white", shape), size, size, (0.5, 0.5), (0.5, 0.5), 0.0, 1.0)
        frame = render(Scene((spot,), "", 0, 1.0, 3), [0.0], 96)[0]
        rows, columns = np.nonzero(frame.min(axis=-1) > 128)
        assert abs(rows.mean() - 48) < 6 and abs(columns.mean() - 48) < 2
        return len(rows)

    assert area(0.1) * 3 < area(0.2) < area(0.1) * 5  # four times, but for the soft edge


def test_shapes_differ():
    spots = [
        Sprite(Thing("white", shape), 0.3, 0.3, (0.5, 0.5), (0.5, 0.5), 0.0, 1.0)
        for shape in SHAPES
    ]
    drawn = [render(Scene((s,), "", 0, 1.0, 0), [0.0], 32)[0].astype(int) for s in spots]
    for i, one in enumerate(drawn):
        for other in drawn[i + 1 :]:
            assert (np.abs(one - other).max(axis=-1) > 100).sum() >= 20


@settings(max_examples=20, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    frames=st.integers(4, 9),
    side=st.integers(16, 40),
    seed=st.integers(0, 2**20),
)
def test_any_size_gives_well_formed_clips(task: str, frames: int, side: int, seed: int):
    clips = make_clips(task, 4, seed=seed, frames=frames, side=side)
    assert clips.frames.shape == (len(clips), frames, side, side, 3)
    assert clips.frames.dtype == np.uint8 and len(clips.groups) == len(clips)
    assert abs(int(np.median(clips.frames)) - GROUND) < 12  # mostly ground


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "speed"}, "task 'speed'; expected one of still"),
        ({"split": "dev"}, "split 'dev'; expected one of train"),
        ({"frames": 3}, "frames is 3, expected at least 4"),
        ({"side": 8}, "side is 8 pixels"),
        ({"clips": 5000, "split": "test"}, "asked were 5000; ask for fewer"),
        ({"clips": 1}, "clips come in groups of 2, got 1"),
    ],
)
def test_impossible_wishes_are_refused(arguments: dict, message: str):
    wish = {"task": "order", "clips": 4, **arguments}
    with pytest.raises(UsageError, match=message):
        make_clips(wish.pop("task"), wish.pop("clips"), **wish)


# ------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("synthetic") / "order"
    return write_corpus(folder, "order", 40, seed=3, seconds=4, side=64)


def test_the_corpus_is_read_and_every_video_opens(corpus):
    reports = {r.name: r for r in check(Folder(corpus.folder), probe=True)}
    assert {split: r.n_videos for split, r in reports.items()} == corpus.clips
    assert corpus.clips == {"train": 32, "validation": 4, "test": 4}
    assert all(not r.missing and not r.undecodable for r in reports.values())


def test_the_files_show_what_the_arrays_show(corpus):
    arrays = make_clips("order", 4, split="test", seed=3, frames=4, side=64)
    lines = (corpus.folder / "test.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [e["caption"] for e in entries] == list(arrays.captions)
    for entry, expected in zip(entries, arrays.frames, strict=True):
        with av.open(str(corpus.folder / entry["video"])) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(frames) == 4 * RATE
        for second in range(4):
            difference = np.abs(frames[second * RATE].astype(int) - expected[second].astype(int))
            assert difference.mean() < 6  # grain and colour edges suffer by the codec


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        write_corpus(tmp_path, "order", 40)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_corpus_leaves_no_folder(tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "clips", "brief", 40, on_video=stop)
    assert not (tmp_path / "clips").exists()
    assert write_corpus(tmp_path / "clips", "brief", 40, seconds=4, side=16).clips["test"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["clips"]


@pytest.mark.parametrize(
    ("wish", "message"), [({"videos": 20}, "at least 40"), ({"side": 33}, "even")]
)
def test_impossible_corpora_are_refused(tmp_path, wish: dict, message: str):
    with pytest.raises(UsageError, match=message):
        write_corpus(tmp_path / "clips", "order", **wish)
    assert not (tmp_path / "clips").exists()
