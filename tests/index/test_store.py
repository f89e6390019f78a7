"""Round trips through the three tables and the cache, and what a reader sees of a writer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import (
    IndexCorrupt,
    IndexLocked,
    IndexMismatch,
    IndexNotFound,
    ShapeError,
    UsageError,
)
from finecut.index import upkeep
from finecut.index.cache import Cache
from finecut.index.quantise import dequantise, quantise
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from index.stored import clips_of, meta_of, put, row_of


@pytest.mark.parametrize("levels", ["video", "frame", "patch"])
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_what_goes_in_comes_out(tmp_path, levels, values, cached):
    meta = meta_of(levels, values=values and levels != "video")
    with IndexWriter(tmp_path / "i", meta) as writer:
        clips = put(writer, "a" * 32, (3, 1), 1) + put(writer, "b" * 32, (4,), 2)
    if not cached:
        (tmp_path / "i" / "cache").write_text("in the way")
    for _ in range(2):  # makes the cache, then uses it
        index = Index.open(tmp_path / "i")
        assert (index._snapshot.tokens is not None) == cached

    assert [row.video_id for row in index.videos] == ["a" * 32, "b" * 32]
    assert index.clips.video.tolist() == [0, 0, 1]
    assert index.clips.number.tolist() == [0, 1, 0]
    assert index.clips.start_s.tolist() == [0.0, 4.0, 0.0]
    assert index.clips.n_frames.tolist() == [3, 1, 4]
    expected = np.stack([item.tokens.recall for item in clips])
    np.testing.assert_array_equal(index.recall_matrix(), expected)

    rows = [2, 0, 1, 2]
    stored = index.tokens(rows)
    assert stored.frame_mask.sum(axis=1).tolist() == [4, 3, 1, 4]
    for place, row in enumerate(rows):
        item, real = clips[row], stored.frame_mask[place]
        np.testing.assert_array_equal(stored.times[place][real], item.clip.times)
        assert (stored.times[place][~real] == 0).all()
        if levels == "video":
            assert stored.frames is None and stored.patches is None
            continue
        frames = dequantise(stored.frames[place], stored.frame_scale[place])[real]
        np.testing.assert_allclose(frames, item.tokens.frames, atol=0.02)
        assert (stored.frames[place][~real] == 0).all()
        if levels == "patch":
            kept = stored.patches.padded(stored.frame_mask)[place]
            assert (kept[~real] == 0).all()
            np.testing.assert_array_equal(stored.patches.frame(place, 0), kept[0])
            patches = dequantise(kept, stored.patch_scale[place])[real]
            np.testing.assert_allclose(patches, item.tokens.patches, atol=0.02)
        if meta.frame_values:
            held = dequantise(stored.frame_values[place], stored.value_scale[place])[real]
            np.testing.assert_allclose(held, item.tokens.frame_values, atol=0.02)
        else:
            assert stored.frame_values is None
    strip = index.strip(1)
    assert strip.jpeg == b"strip " + b"a" * 32 + b" 1"
    assert (strip.tile_width, strip.tile_height, strip.times.tolist()) == (16, 12, [4.0])


def test_an_index_without_videos_opens(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()):
        pass
    for _ in range(2):  # from the tables, then from the cache
        index = Index.open(tmp_path / "i")
        assert (len(index.clips), len(index.videos)) == (0, 0)
        assert index.recall(np.ones(6), 5)[0].tolist() == []
        assert index.tokens([]).times.shape == (0, 1)
        assert index.stats().bytes_per_video_hour == 0.0


def test_opening_from_the_cache_does_not_load_lance(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
    Index.open(tmp_path / "i")
    code = (
        "import sys; from finecut.index.store import Index; import numpy as np;"
        f"i = Index.open({str(tmp_path / 'i')!r}); i.tokens([0, 1]); i.recall(np.ones(6), 1);"
        "print([m for m in ('lance', 'pyarrow', 'av', 'onnxruntime') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_clips_count_only_with_their_video(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
        writer.commit(clips_of(writer, "b" * 32, (2, 2), 3))  # a video under way
        index = Index.open(tmp_path / "i")
        assert len(index.clips) == 2
        writer.commit(clips_of(writer, "b" * 32, (1,), 4), [row_of("b" * 32, writer.build, 3)])
        assert index.refresh() and len(index.clips) == 5
        assert not index.refresh()


def test_orphans_are_removed_by_the_next_writer(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
        writer.commit(clips_of(writer, "b" * 32, (2, 2), 3))
    with IndexWriter(tmp_path / "i") as writer:
        assert writer.dataset("clips").count_rows() == 2
        assert writer.dataset("tokens").count_rows() == 2
        clips = put(writer, "b" * 32, (2,), 5)
        assert clips[0].clip_id == 4  # no id is used twice
    index = Index.open(tmp_path / "i")
    np.testing.assert_array_equal(index.recall_matrix()[2], clips[0].tokens.recall)


def test_a_reader_keeps_its_snapshot_while_videos_go(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32, seed=1)
        put(writer, "b" * 32, seed=2)
        index = Index.open(tmp_path / "i")
        before = index.tokens([0, 1, 2, 3])
        matrix = index.recall_matrix().copy()
        writer.commit(removed=["a" * 32])
        writer.compact()
        other = Index.open(tmp_path / "i")  # moves the cache on under the first reader
        assert len(other.clips) == 2
        np.testing.assert_array_equal(index.tokens([0, 1, 2, 3]).frames, before.frames)
        np.testing.assert_array_equal(index.recall_matrix(), matrix)
        assert index.strip(0).jpeg.startswith(b"strip a")
        assert index.refresh()
        np.testing.assert_array_equal(index.recall_matrix(), matrix[2:])


def test_a_video_indexed_again_leaves_one_set_of_clips(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32, seed=1)
        put(writer, "b" * 32, seed=1)
    with IndexWriter(tmp_path / "i") as writer:
        clips = put(writer, "a" * 32, (2,), seed=2)
    index = Index.open(tmp_path / "i")
    assert [row.video_id for row in index.videos] == ["b" * 32, "a" * 32]
    assert len(index.clips) == 3
    np.testing.assert_array_equal(index.recall_matrix()[2], clips[0].tokens.recall)


def generation_of(cache: Path) -> Path:
    """The folder of the cache's columns; the other one holds lists of words."""
    (folder,) = [
        path for path in cache.iterdir() if path.is_dir() and not path.name.startswith("texts-")
    ]
    return folder


def test_the_cache_grows_in_place_and_equals_the_tables(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        for number in range(4):
            put(writer, f"{number:032d}", (1 + number, 2), number)
            Index.open(tmp_path / "i")
    generation = generation_of(tmp_path / "i" / "cache")
    assert (generation / "4.npz").exists() and not (generation / "2.npz").exists()
    cached = Index.open(tmp_path / "i")
    shutil.rmtree(tmp_path / "i" / "cache")
    fresh = Index.open(tmp_path / "i")
    same_tokens(cached, fresh)
    np.testing.assert_array_equal(cached.recall_matrix(), fresh.recall_matrix())


def same_tokens(one: Index, other: Index):
    rows = [*range(8), 3, 0]
    own, others = one.tokens(rows), other.tokens(rows)
    for name in ("frames", "frame_scale", "patch_scale", "patch_home", "times"):
        np.testing.assert_array_equal(getattr(own, name), getattr(others, name))
    mask = own.frame_mask
    for index in (one, other):
        bare = index.tokens(rows, patches=False)
        assert bare.patches is bare.patch_scale is bare.patch_home is None
        np.testing.assert_array_equal(bare.frames, own.frames)
    np.testing.assert_array_equal(own.patches.padded(mask), others.patches.padded(mask))


@pytest.mark.parametrize("kept", [0, 3])
def test_tokens_too_many_for_the_cache_are_read_from_the_tables(tmp_path, monkeypatch, kept):
    with IndexWriter(tmp_path / "i", meta_of(kept=kept)) as writer:
        for number in range(4):
            put(writer, f"{number:032d}", (1 + number, 2), number)
    cached = Index.open(tmp_path / "i")
    shutil.rmtree(tmp_path / "i" / "cache")
    monkeypatch.setattr(Cache.save, "__kwdefaults__", {"limit_bytes": 0, "most_texts": 100})
    bare = Index.open(tmp_path / "i")
    assert not list((tmp_path / "i" / "cache").rglob("patches.bin"))
    same_tokens(cached, bare)


@pytest.mark.parametrize("damage", ["head", "columns", "short", "nonsense"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
    cache = tmp_path / "i" / "cache"
    expected = Index.open(tmp_path / "i").tokens([0, 1]).frames.copy()
    generation = generation_of(cache)
    if damage == "head":
        (cache / "snapshot.json").write_text("{")
    elif damage == "columns":
        (generation / "1.npz").unlink()
    elif damage == "short":
        (generation / "frames.bin").write_bytes(b"")
    else:
        (cache / "snapshot.json").write_text('{"layout": 1, "version": 3}')
    for _ in range(2):
        np.testing.assert_array_equal(Index.open(tmp_path / "i").tokens([0, 1]).frames, expected)


def test_one_writer_at_a_time(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()), pytest.raises(IndexLocked) as caught:
        IndexWriter(tmp_path / "i", meta_of()).__enter__()
    assert "since" in str(caught.value) and "process" in str(caught.value)
    with IndexWriter(tmp_path / "i", meta_of()):
        pass  # free again


def test_what_does_not_fit_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(IndexNotFound, match="finecut index FOLDER"):
        Index.open(tmp_path / "none")
    with pytest.raises(IndexNotFound):
        IndexWriter(tmp_path / "none").__enter__()
    with IndexWriter(tmp_path / "i", meta_of()):
        pass
    with pytest.raises(IndexMismatch, match=r"bbbbbbbbbbbb.*--bundle made-up"):
        IndexWriter(tmp_path / "i", meta_of(fingerprint="b" * 64)).__enter__()
    with pytest.raises(IndexMismatch, match="--levels patch"):
        IndexWriter(tmp_path / "i", meta_of("frame")).__enter__()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holiday\.mp4"):
        IndexWriter(tmp_path / "full", meta_of()).__enter__()


@pytest.mark.parametrize(
    ("file", "change", "error"),
    [
        ("index.json", {"schema_version": 2}, IndexMismatch),
        ("index.json", {"recall_dim": "6"}, IndexCorrupt),
        ("index.json", {"embed_dim": 10**9}, IndexCorrupt),
        ("index.json", {"levels": "words"}, IndexCorrupt),
        ("head.json", {"clips": -1}, IndexCorrupt),
        ("head.json", {"clips": 999}, IndexCorrupt),
        ("head.json", {"number": None}, IndexCorrupt),
    ],
)
def test_hostile_files_are_refused(tmp_path, file, change, error):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
    path = tmp_path / "i" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error):
        Index.open(tmp_path / "i")
    path.write_text("[1]")
    with pytest.raises(IndexCorrupt):
        Index.open(tmp_path / "i")


def test_wrong_questions_are_refused(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        put(writer, "a" * 32)
    index = Index.open(tmp_path / "i")
    with pytest.raises(UsageError, match="0 to 1"):
        index.tokens([2])
    with pytest.raises(UsageError, match="0 to 1"):
        index.strip(-1)
    with pytest.raises(ShapeError, match="query"):
        index.recall(np.ones(5), 1)
    with pytest.raises(ShapeError, match="finite"):
        index.recall(np.full(6, np.nan), 1)
    with pytest.raises(UsageError, match="k"):
        index.recall(np.ones(6), 0)
    with pytest.raises(ShapeError, match="allowed"):
        index.recall(np.ones(6), 1, np.ones(3, bool))


def test_names_that_are_no_unicode_survive(tmp_path):
    path = b"/videos/caf\xe9 \xff.mp4".decode("utf-8", "surrogateescape")
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        clips = clips_of(writer, "a" * 32, (1,), 0)
        writer.commit(clips, [row_of("a" * 32, writer.build, 1, paths=[path, "/v/żółw 🎬.mp4"])])
    for _ in range(2):  # from the tables, then from the cache
        assert Index.open(tmp_path / "i").videos[0].paths == (path, "/v/żółw 🎬.mp4")


def test_compaction_keeps_every_row(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        for number in range(30):
            put(writer, f"{number:032d}", (2,), number)
        before = Index.open(tmp_path / "i")
        tokens = before.tokens(range(30)).frames.copy()
        assert writer.fragments() == 30
        assert writer.compact()
        assert writer.fragments() < 30
    after = Index.open(tmp_path / "i")
    np.testing.assert_array_equal(after.recall_matrix(), before.recall_matrix())
    shutil.rmtree(tmp_path / "i" / "cache")
    np.testing.assert_array_equal(Index.open(tmp_path / "i").tokens(range(30)).frames, tokens)


def test_the_space_of_what_was_removed_is_given_back(tmp_path):
    with IndexWriter(tmp_path / "i", meta_of()) as writer:
        names = [f"{number:032d}" for number in range(8)]
        clips = [clip for name in names for clip in clips_of(writer, name, (4, 4), 0)]
        writer.commit(clips, [row_of(name, writer.build, 2) for name in names])
        writer.commit(removed=[f"{number:032d}" for number in range(6)])
        parts = writer.dataset("tokens").get_fragments()
        assert sum(part.count_rows() for part in parts) == 4
        assert writer.compact()
        parts = writer.dataset("tokens").get_fragments()
        assert sum(part.physical_rows for part in parts) == 4
    assert len(Index.open(tmp_path / "i").clips) == 4


OPERATION = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5)),
    st.tuples(st.just("put"), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("spill"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("compact"), st.just(0)),
    st.tuples(st.just("no cache"), st.just(0)),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(OPERATION, max_size=12))
def test_any_history_leaves_what_was_committed_last(operations):
    """A writer and a reader side by side, against a dictionary."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "COMPACT_FRAGMENTS", 3)
        place = Path(folder) / "i"
        writer = IndexWriter(place, meta_of()).__enter__()
        reader = Index.open(place)
        expected: dict[str, list] = {}
        try:
            for step, (kind, number) in enumerate(operations):
                video_id = f"{number:032d}"
                if kind == "reopen":
                    writer.__exit__(None, None, None)
                    writer = IndexWriter(place).__enter__()
                elif kind == "put":
                    # Indexing a content again happens in a later run only.
                    if writer.videos.get(video_id, row_of("", 0, 0)).build != writer.build:
                        expected[video_id] = put(writer, video_id, (1 + number % 3, 2), step)
                elif kind == "remove":
                    writer.commit(removed=[video_id])
                    expected.pop(video_id, None)
                elif kind == "spill":
                    writer.commit(clips_of(writer, "f" * 32, (number + 1,), step))
                elif kind == "fail":
                    row = row_of(video_id, writer.build + 1, 0, status="failed")
                    writer.commit(videos=[row])
                    expected.pop(video_id, None)
                elif kind == "compact":
                    writer.compact()
                else:
                    shutil.rmtree(place / "cache", ignore_errors=True)
                reader.refresh()
                check(reader, expected)
                check(Index.open(place), expected)
        finally:
            writer.__exit__(None, None, None)


def check(index: Index, expected: dict[str, list]) -> None:
    done = {row.video_id: n for n, row in enumerate(index.videos) if row.status == "done"}
    assert set(done) == set(expected)
    assert len(index.clips) == sum(map(len, expected.values()))
    for video_id, clips in expected.items():
        rows = np.flatnonzero(index.clips.video == done[video_id])
        assert index.clips.clip_id[rows].tolist() == [clip.clip_id for clip in clips]
        stored = index.tokens(rows)
        for place, (row, clip) in enumerate(zip(rows, clips, strict=True)):
            np.testing.assert_array_equal(index.recall_matrix()[row], clip.tokens.recall)
            np.testing.assert_array_equal(
                stored.times[place][stored.frame_mask[place]], clip.clip.times
            )
            values, _ = quantise(clip.tokens.frames)
            np.testing.assert_array_equal(stored.frames[place][: len(values)], values)
            assert index.strip(int(row)).jpeg == clip.clip.strip
