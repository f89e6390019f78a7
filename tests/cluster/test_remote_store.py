"""An index in an object store: the same rows as on a disk, one writer, crashes lose nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from finecut.errors import IndexLocked, IndexMismatch, IndexNotFound, StorageConflict, UsageError
from finecut.index import cache as cache_module
from finecut.index import meta as meta_module
from finecut.index import writer as writer_module
from finecut.index.remove import remove
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from finecut.storage import objects
from finecut.storage.location import Location
from index.stored import meta_of, put


def facts(index: Index) -> dict[str, object]:
    """All that a reader can see, but for where it lies."""
    rows = np.arange(len(index.clips))
    tokens = index.tokens(rows)
    clips = index.clips
    return {
        "videos": list(index.videos),
        "clips": [getattr(clips, name).tolist() for name in type(clips).__slots__],
        "recall": index.recall_matrix().tolist(),
        "tokens": [
            None if (column := getattr(tokens, name)) is None else np.asarray(column).tolist()
            for name in ("frame_mask", "times", "frames", "frame_scale")
        ],
        "strips": [index.strip(int(row)).jpeg for row in rows],
        "version": index.version,
    }


def test_the_same_commits_make_the_same_index(bucket: str, tmp_path: Path):
    places: list[str | Path] = [f"{bucket}/deep/index", tmp_path / "index"]
    for place in places:
        with IndexWriter(place, meta_of()) as writer:
            put(writer, "a")
            put(writer, "b")
    remote, local = (Index.open(place) for place in places)
    assert facts(remote) == facts(local)
    for place in places:
        with IndexWriter(place) as writer:
            put(writer, "c")
            put(writer, "a")  # indexed again
    assert remote.refresh() and local.refresh()
    assert facts(remote) == facts(local)
    for place in places:
        remove(place, ["/videos/b.mp4"])
    assert remote.refresh() and local.refresh()
    assert facts(remote) == facts(local)
    assert not remote.refresh()
    assert {row.video_id for row in remote.videos} == {"a", "c"}
    stats = remote.stats()
    assert stats.table_bytes.keys() == local.stats().table_bytes.keys()
    assert all(size > 0 for size in stats.table_bytes.values())
    assert stats.size_bytes > sum(stats.table_bytes.values()) + stats.cache_bytes - 1


def test_a_second_machine_reads_it_and_fetches_only_what_is_new(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with IndexWriter(f"{bucket}/index", meta_of()) as writer:
        put(writer, "a")
    monkeypatch.setenv("FINECUT_CACHE", str(tmp_path / "second machine"))
    first = Index.open(f"{bucket}/index")
    assert first.cache_folder.is_relative_to(tmp_path / "second machine")
    columns = {path.name: path.stat() for path in first.cache_folder.glob("*/recall.bin")}
    assert len(columns) == 1
    with IndexWriter(f"{bucket}/index") as writer:
        put(writer, "b")
    second = Index.open(f"{bucket}/index")
    grown = {path.name: path.stat() for path in first.cache_folder.glob("*/recall.bin")}
    assert grown.keys() == columns.keys()
    for name, before in columns.items():  # appended to, not written anew
        assert grown[name].st_ino == before.st_ino and grown[name].st_size > before.st_size
    assert len(second.clips) > len(first.clips)
    # What is in the cache needs no Lance and no table.
    objects.delete_tree(Location.parse(f"{bucket}/index/clips.lance"))
    assert facts_without_strips(Index.open(f"{bucket}/index")) == facts_without_strips(second)


def facts_without_strips(index: Index) -> object:
    return index.version, list(index.videos), index.recall_matrix().tolist()


def test_tokens_that_are_not_kept_here_are_fetched(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with IndexWriter(f"{bucket}/index", meta_of()) as writer:
        put(writer, "a", lengths=(3, 1, 2))
    with_them = Index.open(f"{bucket}/index")
    assert len(list(with_them.cache_folder.glob("*/frames.bin"))) == 1
    monkeypatch.setattr(cache_module, "TOKENS_LIMIT_BYTES", 0)
    monkeypatch.setenv("FINECUT_CACHE", str(tmp_path / "small"))
    without = Index.open(f"{bucket}/index")
    assert not list(without.cache_folder.glob("*/frames.bin"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("FINECUT_CACHE", str(tmp_path / "file"))  # nothing can be kept there
    uncached = Index.open(f"{bucket}/index")
    for index in (without, uncached):
        assert facts(index) == facts(with_them)


def test_one_writer_at_a_time(bucket: str):
    with IndexWriter(f"{bucket}/index", meta_of()) as writer:
        put(writer, "a")
        with pytest.raises(IndexLocked, match=r"s3://\S+ is being written by process"):
            IndexWriter(f"{bucket}/index").__enter__()
        assert [row.video_id for row in Index.open(f"{bucket}/index").videos] == ["a"]


def test_a_writer_that_lost_its_lease_stops_before_its_next_commit(bucket: str):
    place = Location.parse(bucket) / "index"
    with IndexWriter(place, meta_of()) as writer:
        put(writer, "a")
        before = [name for name, _, _ in objects.walk(place)]
        writer._lock._lost = "a test took it"  # type: ignore[union-attr]
        with pytest.raises(IndexLocked, match="no longer the writer"):
            put(writer, "b")
        assert [name for name, _, _ in objects.walk(place)] == before
    assert [row.video_id for row in Index.open(place).videos] == ["a"]


def test_a_head_that_somebody_else_replaced_is_not_replaced_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
):
    """Should a lease ever fail, the conditional write of the head is what holds."""
    place = Location.parse(bucket) / "index"
    with IndexWriter(place, meta_of()) as writer:
        put(writer, "a")
        head = place / meta_module.HEAD_FILE
        objects.write_bytes(head, objects.read_bytes(head) + b"\n")
        with pytest.raises(IndexLocked, match="Another process has written"):
            put(writer, "b")
    assert [row.video_id for row in Index.open(place).videos] == ["a"]


def test_what_a_cut_off_commit_left_is_repaired(bucket: str, monkeypatch: pytest.MonkeyPatch):
    place = f"{bucket}/index"
    with IndexWriter(place, meta_of()) as writer:
        put(writer, "a")
        with monkeypatch.context() as patch, pytest.raises(StorageConflict):
            patch.setattr(IndexWriter, "_put_videos", _fail)
            put(writer, "cut off before its video")
        with monkeypatch.context() as patch, pytest.raises(StorageConflict):
            patch.setattr(writer_module, "write_json", _fail)
            patch.setattr(IndexWriter, "_put_head", _fail)
            put(writer, "b")
    before = Index.open(place)
    assert [row.video_id for row in before.videos] == ["a"]
    with IndexWriter(place) as writer:
        assert set(writer.videos) == {"a", "b"}  # whole in the tables: it counts
        put(writer, "c")
    after = Index.open(place)
    assert [row.video_id for row in after.videos] == ["a", "b", "c"]
    assert len(set(after.clips.clip_id.tolist())) == len(after.clips)
    counts = np.bincount(after.clips.video, minlength=3).tolist()
    assert counts == [row.n_clips for row in after.videos]


def _fail(*_: object, **__: object) -> None:
    raise StorageConflict("cut off")


WRITES = """
import sys
from finecut.index.writer import IndexWriter
from index.stored import put
with IndexWriter(sys.argv[1]) as writer:
    for number in range(1000):
        put(writer, f"v{number:04}")
        print(number, flush=True)
"""


def test_after_a_kill_another_writer_goes_on_at_once(bucket: str):
    place = f"{bucket}/index"
    with IndexWriter(place, meta_of()):
        pass
    tests = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, place], stdout=subprocess.PIPE, text=True, cwd=tests
    )
    assert process.stdout is not None
    done = [int(process.stdout.readline()) for _ in range(3)]
    process.kill()
    done += [int(line) for line in process.stdout.read().split()]
    process.wait()
    with IndexWriter(place) as writer:  # takes the lease of the dead one over
        put(writer, "after")
    index = Index.open(place)
    names = [row.video_id for row in index.videos]
    told = [f"v{number:04}" for number in done]
    assert names[: len(told)] == told and names[-1] == "after"
    assert len(names) - len(told) <= 2  # at most one that was whole, but not yet told
    counts = np.bincount(index.clips.video, minlength=len(names)).tolist()
    assert counts == [row.n_clips for row in index.videos]
    assert len(set(index.clips.clip_id.tolist())) == len(index.clips)


def test_what_is_no_index_is_said(bucket: str):
    with pytest.raises(IndexNotFound, match="There is no index at s3://"):
        Index.open(f"{bucket}/nothing")
    with pytest.raises(IndexNotFound):
        IndexWriter(f"{bucket}/nothing").__enter__()
    objects.write_bytes(Location.parse(bucket) / "films" / "a.mp4", b"a film")
    with pytest.raises(UsageError, match=r"is no index and is not empty \(it holds 'a.mp4'\)"):
        IndexWriter(f"{bucket}/films", meta_of()).__enter__()
    with IndexWriter(f"{bucket}/index", meta_of()):
        pass
    with pytest.raises(IndexMismatch, match="was built with the bundle"):
        IndexWriter(f"{bucket}/index", meta_of(fingerprint="b" * 64)).__enter__()
    with IndexWriter(f"{bucket}/index"):  # the refused one gave the lease back
        pass
