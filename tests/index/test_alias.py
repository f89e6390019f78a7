"""Aliases: following, switching, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from finecut.errors import IndexCorrupt, IndexNotFound, UsageError
from finecut.index.alias import ALIAS_FILE, follow, switch
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from index.stored import meta_of, put


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two indexes, of a video each."""
    for name in ("a", "b"):
        with IndexWriter(tmp_path / name, meta_of()) as writer:
            put(writer, name)
    return tmp_path / "a", tmp_path / "b"


def names(place: Path) -> list[str]:
    return [row.video_id for row in Index.open(place).videos]


def test_an_alias_is_switched_from_one_index_to_another(tmp_path: Path, two: tuple[Path, Path]):
    alias = tmp_path / "live"
    first = switch(alias, two[0])
    assert (first.index.path, first.before) == (two[0], None)
    assert names(alias) == ["a"]
    second = switch(alias, two[1])
    assert (second.index.path, second.before) == (two[1], first.index)
    assert names(alias) == ["b"]


def test_writing_to_an_alias_writes_to_its_index(tmp_path: Path, two: tuple[Path, Path]):
    switch(tmp_path / "live", two[0])
    with IndexWriter(tmp_path / "live") as writer:
        put(writer, "c")
    assert names(two[0]) == ["a", "c"]
    assert [entry.name for entry in (tmp_path / "live").iterdir()] == [ALIAS_FILE]


def test_indexes_in_one_folder_move_together(tmp_path: Path, two: tuple[Path, Path]):
    (tmp_path / "here").mkdir()
    shutil.move(two[0], tmp_path / "here")
    switch(tmp_path / "here" / "live", tmp_path / "here" / "a")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert names(tmp_path / "there" / "live") == ["a"]


def test_an_alias_of_an_alias_is_the_index(tmp_path: Path, two: tuple[Path, Path]):
    switch(tmp_path / "one", two[0])
    switch(tmp_path / "deep" / "two", tmp_path / "one")
    assert follow(tmp_path / "deep" / "two").path == two[0]
    shutil.rmtree(tmp_path / "one")
    assert names(tmp_path / "deep" / "two") == ["a"]


def test_what_is_no_alias_is_itself(tmp_path: Path, two: tuple[Path, Path]):
    assert follow(two[0]).path == two[0]
    assert follow(tmp_path / "nowhere").path == tmp_path / "nowhere"


def test_an_index_or_a_full_folder_is_not_made_an_alias(tmp_path: Path, two: tuple[Path, Path]):
    with pytest.raises(UsageError, match="is an index itself"):
        switch(two[0], two[1])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        switch(tmp_path / "mine", two[0])
    with pytest.raises(UsageError):
        switch(tmp_path / "mine" / "letter.txt", two[0])


def test_no_switch_to_what_is_not_there(tmp_path: Path, two: tuple[Path, Path]):
    switch(tmp_path / "live", two[0])
    with pytest.raises(IndexNotFound):
        switch(tmp_path / "live", tmp_path / "nowhere")
    assert names(tmp_path / "live") == ["a"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"index": 3}', b'{"index": ""}', b'{"index": "a\\u0000"}',
                b"\xff", b"[" * 100_000, json.dumps({"index": "x" * 9999}).encode()],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_alias_says_how_to_mend_it(
    tmp_path: Path, two: tuple[Path, Path], content: bytes
):
    alias = tmp_path / "live"
    switch(alias, two[0])
    (alias / ALIAS_FILE).write_bytes(content)
    with pytest.raises(IndexCorrupt, match="finecut switch"):
        Index.open(alias)
    switch(alias, two[1])
    assert names(alias) == ["b"]
