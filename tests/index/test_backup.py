"""A copy of an index that is written to meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from finecut.errors import IndexNotFound, NotFound, UsageError
from finecut.index import backup, history
from finecut.index.backup import copy_index
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from index.stored import meta_of, put
from index.test_history import content


@pytest.fixture
def index(tmp_path: Path) -> Path:
    with IndexWriter(tmp_path / "index", meta_of()) as writer:
        for seed, name in enumerate("abc"):
            put(writer, name, (3, 1), seed)
    return tmp_path / "index"


def test_a_copy_is_an_index_of_its_own(index: Path, tmp_path: Path):
    before = content(Index.open(index))
    commit = copy_index(index, tmp_path / "deep" / "copy")
    assert commit.head.n_videos == 3
    copied = Index.open(tmp_path / "deep" / "copy")
    assert content(copied) == before
    assert copied.version != Index.open(index).version  # caches tell them apart
    with IndexWriter(tmp_path / "deep" / "copy") as writer:
        put(writer, "d", (2,), 9)
    assert content(Index.open(tmp_path / "deep" / "copy"))[:-1] == before
    assert content(Index.open(index)) == before


def test_what_is_written_meanwhile_does_no_harm(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between any two files that are copied the writer commits: adds, takes out, tidies."""
    before = content(Index.open(index))
    copy, numbers = backup._copy, iter(range(1000))

    with IndexWriter(index) as writer:

        def and_write(source, target):
            number = next(numbers)
            if number % 3 == 0:
                put(writer, f"x{number}", (2,), number)
            if number % 7 == 5:
                writer.commit(removed=[f"x{number // 3 * 3}", "a"])
            if number % 10 == 9:
                writer.compact()
            copy(source, target)

        monkeypatch.setattr(backup, "_copy", and_write)
        copy_index(index, tmp_path / "copy")
    assert next(numbers) > 20
    assert content(Index.open(tmp_path / "copy")) == before
    with IndexWriter(
        tmp_path / "copy"
    ) as writer:  # its tables hold what came later, and half of it
        assert set(writer.videos) == {"a", "b", "c"}
        put(writer, "d", (2,), 99)
    assert content(Index.open(tmp_path / "copy"))[:-1] == before


def test_what_is_tidied_away_meanwhile_is_copied_anew(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every state but the last is tidied in the midst of the first copying, or of all."""
    copy = backup._copy
    monkeypatch.setattr(history, "MIN_KEEP_S", -1.0)

    def and_tidy(times: int):
        left = [times]

        def one(source, target):
            copy(source, target)
            if "texts" in str(source) and left[0]:
                left[0] -= 1
                with IndexWriter(index) as writer:
                    writer.set_keep(left[0] / 1e6)
                    put(writer, f"z{left[0]}", (1,), left[0])
                    writer.compact()

        return one

    monkeypatch.setattr(backup, "_copy", and_tidy(1))
    commit = copy_index(index, tmp_path / "copy")
    assert commit.head.n_videos == 4
    assert content(Index.open(tmp_path / "copy")) == content(Index.open(index))
    monkeypatch.setattr(backup, "_copy", and_tidy(1000))
    with pytest.raises(NotFound, match="--keep-days"):
        copy_index(index, tmp_path / "never")
    with pytest.raises(IndexNotFound):  # nothing half
        Index.open(tmp_path / "never")


def test_a_copy_beside_a_writer_in_another_thread(index: Path, tmp_path: Path):
    stop = threading.Event()

    def write() -> None:
        with IndexWriter(index) as writer:
            number = 0
            while not stop.is_set():
                put(writer, f"y{number}", (1, 2), number)
                number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        commit = copy_index(index, tmp_path / "copy")
    finally:
        stop.set()
        thread.join()
    there = content(Index.open(tmp_path / "copy"))
    assert there == content(Index.open(index, as_of=commit.head.number))


def test_nothing_is_written_over(index: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        copy_index(index, tmp_path / "full")
    with pytest.raises(IndexNotFound):
        copy_index(tmp_path / "nowhere", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
