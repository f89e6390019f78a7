"""Objects of a store and files of this machine: the same functions, the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from finecut.errors import ObjectNotFound, StorageConflict, StorageError, UsageError
from finecut.storage import objects, stores
from finecut.storage.location import Location

from .conftest import SECRET, S3Server


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "s3":
        return Location.parse(f"{request.getfixturevalue('bucket')}/some/folder")
    (tmp_path / "folder").mkdir()
    return Location.parse(tmp_path / "folder")


def test_what_is_written_is_read(folder: Location):
    place = folder / "a.bin"
    etag = objects.write_bytes(place, b"0123456789")
    assert objects.read_bytes(place) == b"0123456789"
    assert objects.read_with_etag(place) == (b"0123456789", etag)
    assert objects.read_range(place, 2, 5) == b"234"
    assert objects.read_range(place, 8, 100) == b"89"
    assert objects.read_range(place, 4, 4) == b""
    known = objects.stat(place)
    assert known.size == 10 and known.etag == etag and known.mtime_ns > 1_700_000_000_000_000_000
    assert objects.exists(place) and not objects.exists(folder / "b.bin")
    with pytest.raises(UsageError):
        objects.read_range(place, 5, 2)


def test_an_empty_object_is_an_object(folder: Location):
    objects.write_bytes(folder / "empty", b"")
    assert objects.read_bytes(folder / "empty") == b""
    assert objects.stat(folder / "empty").size == 0


def test_only_the_first_writes_where_nothing_is(folder: Location):
    place = folder / "a"
    objects.write_bytes(place, b"first", if_absent=True)
    with pytest.raises(StorageConflict):
        objects.write_bytes(place, b"second", if_absent=True)
    assert objects.read_bytes(place) == b"first"


def test_only_what_was_read_is_replaced(folder: Location):
    place = folder / "a"
    first = objects.write_bytes(place, b"first")
    second = objects.write_bytes(place, b"second", if_match=first)
    with pytest.raises(StorageConflict):
        objects.write_bytes(place, b"third", if_match=first)
    assert objects.read_bytes(place) == b"second"
    assert objects.stat(place).etag == second
    with pytest.raises(StorageConflict):
        objects.write_bytes(folder / "never there", b"x", if_match=second)


def test_names_are_listed_and_deleted(folder: Location):
    names = ["a b.mp4", "deep/er/x.mp4", "what?.mp4", "x#y%20.mp4", "ü.mp4"]
    for name in names:
        place = folder / name
        if place.is_local:
            place.path.parent.mkdir(parents=True, exist_ok=True)
        objects.write_bytes(place, name.encode())
    found = list(objects.walk(folder))
    assert sorted(place.relative_to(folder) for place, _, _ in found) == names
    assert all(size == len(place.relative_to(folder).encode()) for place, size, _ in found)
    assert all(objects.stat(place)[:2] == (size, mtime) for place, size, mtime in found)
    assert objects.children(folder) == sorted({name.split("/")[0] for name in names})
    # What was listed can be written down and read again.
    assert [Location.parse(str(place)) for place, _, _ in found] == [item[0] for item in found]
    objects.delete(folder / "a b.mp4")
    objects.delete(folder / "a b.mp4")
    assert len(list(objects.walk(folder))) == len(names) - 1
    objects.delete_tree(folder)
    objects.delete_tree(folder)
    assert list(objects.walk(folder)) == []


def test_a_neighbour_with_a_longer_name_is_not_touched(bucket: str):
    place = Location.parse(bucket)
    objects.write_bytes(place / "index" / "a", b"")
    objects.write_bytes(place / "index-2" / "a", b"")
    objects.delete_tree(place / "index")
    assert [str(found) for found, _, _ in objects.walk(place)] == [f"{bucket}/index-2/a"]


@pytest.mark.parametrize(
    "read",
    [
        objects.read_bytes,
        objects.stat,
        lambda place: objects.read_range(place, 0, 5),
    ],
)
def test_what_is_not_there_is_said(folder: Location, read):
    with pytest.raises(ObjectNotFound, match="nothing"):
        read(folder / "nothing")


def test_a_missing_bucket_is_said(s3: S3Server):
    place = Location.parse("s3://no-such-bucket/a")
    for act in (
        lambda: objects.read_bytes(place),
        lambda: objects.write_bytes(place, b""),
        lambda: list(objects.walk(place)),
        lambda: objects.children(place),
        lambda: objects.delete_tree(place),
    ):
        with pytest.raises(StorageError, match="There is no bucket s3://no-such-bucket"):
            act()


def test_a_store_that_cannot_be_reached_is_said(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stores, "MOST_RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        objects.read_bytes(Location.parse("s3://some-bucket/a"))
    assert SECRET not in str(caught.value)


def test_secrets_are_scrubbed(s3: S3Server):
    text = (
        f"GET http://host/b?X-Amz-Credential=KEYOFTHETESTS%2F2026&X-Amz-Signature=0f3e {SECRET} "
        "<AWSAccessKeyId>ANOTHERKEY</AWSAccessKeyId> authorization: AWS4-HMAC-SHA256 ff77, "
        "http://user:word@host/"
    )
    told = stores.scrub(text)
    for secret in ("KEYOFTHETESTS", SECRET, "0f3e", "ANOTHERKEY", "ff77", "user", "word"):
        assert secret not in told
    plain = "SignatureDoesNotMatch: The request is signed otherwise. ExpiredToken: It is old."
    assert stores.scrub(plain) == plain


def test_of_an_answer_only_its_code_and_sentence_are_told():
    text = (
        "Generic S3 error: <Error><Code>SignatureDoesNotMatch</Code><Message>It does not.</Message>"
        "<AWSAccessKeyId>ANOTHERKEY</AWSAccessKeyId><StringToSign>AWS4</StringToSign></Error>\n\n"
        "Debug source: everything"
    )
    assert stores.plain_reason(text) == "SignatureDoesNotMatch: It does not."
