"""Past states and aliases of an index in an object store, as tests/index has them on a disk."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from finecut.errors import NotFound, UsageError
from finecut.index import history
from finecut.index.alias import follow, switch
from finecut.index.restore import restore
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from finecut.storage.location import Location
from finecut.storage.objects import children
from index.stored import meta_of, put


def names(place: str, **options: object) -> list[str]:
    return [row.video_id for row in Index.open(place, **options).videos]  # type: ignore[arg-type]


def test_an_index_in_a_bucket_goes_back(bucket: str) -> None:
    place = f"{bucket}/index"
    with IndexWriter(place, meta_of()) as writer:
        numbers = []
        for seed, name in enumerate("ab"):
            put(writer, name, (3, 1), seed)
            numbers.append(writer.head.number)
    assert names(place) == ["a", "b"]
    assert names(place, as_of=numbers[0]) == ["a"]
    past, version = restore(place, numbers[0])
    assert past.head.number == numbers[0]
    assert (names(place), Index.open(place).version) == (["a"], version)
    restore(place, numbers[1])
    assert names(place) == ["a", "b"]
    with pytest.raises(NotFound, match="keeps no commit"):
        restore(place, 99)
    known = [commit.head.number for commit in history.commits(place)]
    assert (
        known == sorted(known)
        and len(known) == len(children(Location.parse(place) / "history")) + 1
    )


def test_an_alias_in_a_bucket_is_switched(bucket: str, tmp_path: object) -> None:
    for name in ("one", "two"):
        meta = replace(
            meta_of(), uuid=uuid4().hex
        )  # by which caches of this machine are told apart
        with IndexWriter(f"{bucket}/{name}", meta) as writer:
            put(writer, name)
    alias = f"{bucket}/live"
    assert switch(alias, f"{bucket}/one").before is None
    assert names(alias) == ["one"]
    assert str(switch(alias, f"{bucket}/two").before) == f"{bucket}/one"
    assert names(alias) == ["two"]
    assert str(follow(alias)) == f"{bucket}/two"
    # A folder of this machine may be an alias of it too; the other way round it would mislead.
    switch(f"{tmp_path}/live", alias)
    assert names(f"{tmp_path}/live") == ["two"]
    with IndexWriter(f"{tmp_path}/here", meta_of()) as writer:
        put(writer, "here")
    with pytest.raises(UsageError, match="seen by other machines"):
        switch(alias, f"{tmp_path}/here")
    with pytest.raises(UsageError, match="an index itself"):
        switch(f"{bucket}/one", f"{bucket}/two")
