"""Past commits: kept, listed, read, gone back to, tidied away."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from finecut.errors import NotFound, UsageError
from finecut.index import history
from finecut.index.meta import HEAD_FILE, read_head, write_json
from finecut.index.store import Index
from finecut.index.tables import TABLES
from finecut.index.writer import IndexWriter
from index.stored import meta_of, put


def content(index: Index) -> list[tuple]:
    """Everything a search reads of an index, clip by clip."""
    tokens = index.tokens(range(len(index.clips)))
    return [
        (
            int(index.clips.clip_id[row]),
            index.videos[int(index.clips.video[row])].video_id,
            index.recall_matrix()[row].tobytes(),
            tokens.frames[row][tokens.frame_mask[row]].tobytes(),
            index.strip(row).jpeg,
        )
        for row in range(len(index.clips))
    ]


@pytest.fixture
def three(tmp_path: Path) -> dict[int, list[tuple]]:
    """An index of three commits of a video each, at ``tmp_path/index``: content by commit."""
    directory = tmp_path / "index"
    states = {}
    with IndexWriter(directory, meta_of()) as writer:
        for seed, name in enumerate(("a", "b", "c")):
            put(writer, name, (3, 1, 2), seed)
            states[writer.head.number] = content(Index.open(directory))
    return states


def test_every_commit_is_listed(tmp_path: Path, three: dict[int, list[tuple]]):
    known = history.commits(tmp_path / "index")
    assert [commit.head.number for commit in known][-3:] == list(three)
    assert [commit.head.n_videos for commit in known][-3:] == [1, 2, 3]
    assert [commit.until for commit in known] == [c.head.at for c in known[1:]] + [None]
    assert all(commit.head.at > 0 for commit in known)


def test_a_past_state_is_found_by_number_version_and_time(
    tmp_path: Path, three: dict[int, list[tuple]]
):
    directory = tmp_path / "index"
    for commit in history.commits(directory)[-3:]:
        number = commit.head.number
        assert history.find(directory, number).head == commit.head
        assert history.find(directory, commit.version).head == commit.head
        assert history.find(directory, Index.open(directory).version).head.number == max(three)
    last = history.commits(directory)[-1]
    tomorrow = time.strftime("%Y-%m-%d", time.localtime(last.head.at + 2 * history.DAY_S))
    assert history.find(directory, tomorrow).head == last.head


@pytest.mark.parametrize("name", ["yesterday", "12x", "-3", "2026-13-01", "", "0x1"])
def test_what_names_no_state_is_refused(tmp_path: Path, three: dict, name: str):
    with pytest.raises(UsageError, match="a commit's number"):
        history.find(tmp_path / "index", name)


@pytest.mark.parametrize("name", ["999", "ffffffffffff-3", "1999-01-01"])
def test_a_state_that_never_was_is_not_found(tmp_path: Path, three: dict, name: str):
    with pytest.raises(NotFound):
        history.find(tmp_path / "index", name)


def test_a_past_state_can_be_read(tmp_path: Path, three: dict[int, list[tuple]]):
    for number, expected in three.items():
        index = Index.open(tmp_path / "index", as_of=number)
        assert content(index) == expected
        assert not index.refresh()  # it stays where it was opened
        assert content(index) == expected


def test_going_back_is_a_commit_of_its_own(tmp_path: Path, three: dict[int, list[tuple]]):
    directory = tmp_path / "index"
    reader = Index.open(directory)
    first, *_, last = three
    with IndexWriter(directory) as writer:
        next_id, build = writer.next_clip_id, writer.head.build
        writer.restore(history.find(directory, first).head)
        assert set(writer.videos) == {"a"}
        assert not writer.head.restored
        assert writer.next_clip_id == next_id  # ids are never used twice
        assert writer.build > build
    assert read_head(directory).number > last
    assert content(Index.open(directory)) == three[first]
    assert reader.refresh()
    assert content(reader) == three[first]
    # And forward again: what was undone is a past state like any other.
    with IndexWriter(directory) as writer:
        writer.restore(history.find(directory, last).head)
        assert set(writer.videos) == {"a", "b", "c"}
        put(writer, "d", (2,), 9)
    assert content(Index.open(directory))[:-1] == three[last]


def test_a_restore_that_is_cut_off_is_finished_by_the_next_writer(
    tmp_path: Path, three: dict[int, list[tuple]], monkeypatch: pytest.MonkeyPatch
):
    directory = tmp_path / "index"
    first = min(three)

    def cut_off(tables, head):
        table = tables["clips"]  # one of the tables, then the process is gone
        table.checkout_version(head.clips).restore()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(history, "bring_back", cut_off)
        with IndexWriter(directory) as writer:
            writer.restore(history.find(directory, first).head)
    assert content(Index.open(directory)) == three[first]  # readers are there already
    with IndexWriter(directory) as writer:
        assert set(writer.videos) == {"a"}
        put(writer, "z", (1,), 5)
    assert content(Index.open(directory))[:-1] == three[first]


def age(directory: Path, by_s: float) -> None:
    """Make every commit so much older."""
    paths = [directory / HEAD_FILE, *sorted((directory / history.FOLDER).iterdir())]
    for path in paths:
        plain = json.loads(path.read_text())
        write_json(path, {**plain, "at": plain["at"] - by_s})


def test_what_was_replaced_long_ago_is_tidied_away(tmp_path: Path, three: dict[int, list[tuple]]):
    directory = tmp_path / "index"
    age(directory, 2 * history.MIN_KEEP_S)
    with IndexWriter(directory) as writer:
        before = writer.head.number
        put(writer, "d", (1,), 7)
        writer.compact()
        versions = {t: len(writer.dataset(t).versions()) for t in TABLES}
    # What was the newest until now was made long ago, and is still what readers read.
    assert history.commits(directory)[0].head.number == before
    assert content(Index.open(directory, as_of=before)) == three[max(three)]
    assert versions["clips"] == versions["tokens"] == 2
    with pytest.raises(NotFound, match="keeps no commit"):
        history.find(directory, min(three))


def test_days_to_keep_are_remembered(tmp_path: Path, three: dict[int, list[tuple]]):
    directory = tmp_path / "index"
    with IndexWriter(directory) as writer:
        writer.set_keep(3 * history.DAY_S)
    age(directory, 2 * history.DAY_S)
    with IndexWriter(directory) as writer:
        put(writer, "d", (1,), 7)
        writer.compact()
    assert content(Index.open(directory, as_of=min(three))) == three[min(three)]
    age(directory, 2 * history.DAY_S)
    with IndexWriter(directory) as writer:
        writer.compact()
    with pytest.raises(NotFound):
        history.find(directory, min(three))


def test_versions_that_are_gone_are_said_so(tmp_path: Path, three: dict[int, list[tuple]]):
    directory = tmp_path / "index"
    with IndexWriter(directory) as writer:
        writer.dataset("clips").cleanup_old_versions(retain_versions=1)
    with pytest.raises(NotFound, match="tidied away"):
        history.find(directory, min(three))
    assert len(np.unique(Index.open(directory).clips.clip_id)) == 9
