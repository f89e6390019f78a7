"""When a file counts as whole, and when as gone: by a clock of our own."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from finecut.index.rows import PathStamp
from finecut.index.settle import Settling


def stamps(**sizes: int) -> dict[str, PathStamp]:
    return {name: PathStamp(name, size, 1000 * size) for name, size in sizes.items()}


def test_a_file_is_read_once_it_stayed_the_same():
    settling = Settling(2.0, 60.0)
    assert settling.look(stamps(a=1), {}, now=0).changed == set()
    assert settling.waiting
    assert settling.look(stamps(a=1), {}, now=1.9).changed == set()
    assert settling.look(stamps(a=1), {}, now=2.0).changed == {"a"}
    assert not settling.waiting


def test_a_growing_file_begins_anew_and_is_told_once():
    settling = Settling(2.0, 60.0)
    told = [settling.look(stamps(a=size), {}, now=size).growing for size in range(1, 6)]
    assert told == [[], ["a"], [], [], []]
    assert not settling.waiting  # it may grow for hours
    assert settling.look(stamps(a=5), {}, now=6.9).changed == set()
    assert settling.look(stamps(a=5), {}, now=7.0).changed == {"a"}


def test_a_file_is_gone_after_a_grace():
    settling = Settling(2.0, 60.0)
    assert settling.look({}, stamps(a=1), now=0).gone == set()
    assert settling.look({}, stamps(a=1), now=59).gone == set()
    assert settling.look({}, stamps(a=1), now=60).gone == {"a"}
    settling.look({}, {}, now=61)  # it came back
    assert settling.look({}, stamps(a=1), now=62).gone == set()


def test_a_moved_file_waits_for_nothing():
    settling = Settling(2.0, 60.0)
    found = settling.look(
        {"new": PathStamp("new", 7, 7), "other": PathStamp("other", 8, 8)},
        {"old": PathStamp("old", 7, 7), "lost": PathStamp("lost", 9, 9)},
        now=0,
    )
    assert found.changed == {"new"} and found.gone == {"old"}


def test_growing_files_are_looked_at_without_the_folders(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    settling = Settling(2.0, 60.0)
    assert settling.due_s(0) is None

    def seen() -> dict[str, PathStamp]:
        status = os.stat(path)
        return {str(path): PathStamp(str(path), status.st_size, status.st_mtime_ns)}

    settling.look(seen(), {}, now=0)
    assert settling.due_s(0.5) == 1.5
    path.write_bytes(b"12")
    assert settling.due_s(2.0) == 2.0  # it grew: wait anew
    assert settling.due_s(3.0) == 1.0
    assert settling.look(seen(), {}, now=4.0).changed == {str(path)}
    path.unlink()
    assert settling.due_s(4.0) == 0.0  # gone again: have a look


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
            st.floats(0, 3),
        ),
        max_size=20,
    )
)
def test_nothing_unsettled_is_read(looks):
    settling = Settling(2.0, 5.0)
    now, seen = 0.0, {}
    for sizes, passed in looks:
        now += passed
        seen = {
            name: (size, seen[name][1] if name in seen and seen[name][0] == size else now)
            for name, size in sizes.items()
        }
        found = settling.look(stamps(**sizes), {}, now)
        assert found.changed == {name for name, (_, since) in seen.items() if now - since >= 2.0}
