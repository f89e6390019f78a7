"""Objects as files: the right bytes, few of them, and errors that say what happened."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.conftest import SECRET, S3Server
from cluster.line import Line
from finecut.errors import VideoError
from finecut.index.content import content_id
from finecut.storage import media as module
from finecut.storage import objects
from finecut.storage.location import Location
from finecut.storage.media import BLOCK_BYTES, MOST_BLOCKS, open_media, read_whole

SIZE = 5_000_001
DATA = np.random.default_rng(5).integers(0, 256, SIZE, dtype=np.uint8).tobytes()


def put(bucket: str, data: bytes = DATA, name: str = "a.mp4") -> str:
    objects.write_bytes(Location.parse(f"{bucket}/{name}"), data)
    return f"{bucket}/{name}"


@pytest.fixture(autouse=True)
def nothing_kept():
    module._shelves.clear()


def test_it_reads_as_the_file_does(bucket):
    url = put(bucket)
    moves = st.lists(st.tuples(st.integers(0, SIZE + 10), st.integers(1, 400_000)), max_size=12)

    @given(moves=moves)
    def check(moves):
        with open_media(url) as media:
            for at, size in moves:
                assert media.seek(at) == at
                part = media.read(size)
                assert part == DATA[at : at + len(part)] and media.tell() == at + len(part)
                assert bool(part) == (at < SIZE)
            assert media.seek(-3, os.SEEK_END) == SIZE - 3 and media.read() == DATA[-3:]

    check()


def test_reading_on_makes_few_requests_and_fetches_each_byte_once(bucket):
    with open_media(put(bucket)) as media:
        assert media.read(-1) == DATA
        assert media.bytes_fetched == SIZE
        assert media.n_requests < 12  # of 39 blocks


def test_a_seek_costs_one_block(bucket):
    with open_media(put(bucket)) as media:
        for at in (4_000_000, 100, 2_500_000):
            media.seek(at)
            assert media.read(10)[:5] == DATA[at : at + 5]
        assert (media.n_requests, media.bytes_fetched) == (3, 3 * BLOCK_BYTES)
        media.seek(105)
        media.read(10)
        assert media.n_requests == 3  # it is at hand


def test_the_next_one_who_opens_it_finds_the_blocks(bucket):
    url = put(bucket)
    with open_media(url) as first:
        first.read(100)
    with open_media(url) as second:
        assert second.read(100) == DATA[:100] and second.n_requests == 0
    put(bucket, DATA[::-1])
    with open_media(url) as third:
        assert third.read(100) == DATA[::-1][:100] and third.n_requests == 1


def test_what_is_kept_is_bounded(bucket):
    data = bytes(12_000_000)
    with open_media(put(bucket, data)) as media:
        assert len(media.read(-1)) == len(data)
        held = sum(len(block) for block in media._shelf._blocks.values())
        assert held <= module.SHELF_BLOCKS * BLOCK_BYTES < len(data)
    for number in range(7):
        open_media(put(bucket, b"x", f"{number}.mp4")).close()
    assert len(module._shelves) == module.SHELVES


def test_reading_ahead_is_bounded(bucket):
    data = bytes(60 * BLOCK_BYTES)
    with open_media(put(bucket, data)) as media:
        while media.tell() < 12 * BLOCK_BYTES:
            media.read(BLOCK_BYTES)
        time.sleep(0.5)  # what is on its way comes in
        assert media.bytes_fetched <= (12 + 12) * BLOCK_BYTES
        assert MOST_BLOCKS * BLOCK_BYTES == 2 << 20


def test_an_object_replaced_while_it_is_read_is_an_error(bucket):
    url = put(bucket)
    with open_media(url) as media:
        media.read(10)
        put(bucket, DATA[::-1])
        media.seek(3_000_000)
        with pytest.raises(VideoError, match="replaced while it was read") as caught:
            media.read(10)
        assert caught.value.reason == "changed" and url in str(caught.value)
        media.seek(0)
        assert media.read(10) == b""  # it was told once
        with pytest.raises(VideoError, match="replaced"):
            media.check()


def test_an_object_gone_while_it_is_read_is_an_error(bucket):
    url = put(bucket)
    with open_media(url) as media:
        objects.delete(Location.parse(url))
        with pytest.raises(VideoError, match="no such object") as caught:
            media.read(10)
        assert caught.value.reason == "missing"
    with pytest.raises(VideoError, match="no such object"):
        open_media(url)


def test_a_dropped_line_is_taken_up_again(bucket, s3: S3Server, monkeypatch):
    url = put(bucket)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    with Line(s3.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
        with open_media(url) as media:
            line.cut(2, after_bytes=50_000)
            assert media.read(-1) == DATA
        assert line.n_cut == 2


def test_a_line_that_stays_down_is_told_without_secrets(bucket, s3: S3Server, monkeypatch):
    url = put(bucket)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "TRIES", 2)
    with Line(s3.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
        with open_media(url) as media:
            line.cut(10_000)
            with pytest.raises(VideoError, match="cannot be reached") as caught:
                media.read(10)
    assert caught.value.reason == "network"
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None


def test_the_content_id_is_that_of_the_file(bucket, tmp_path: Path):
    for name, data in (("small", DATA[:70_000]), ("large", DATA), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        assert content_id(put(bucket, data, name)) == content_id(tmp_path / name)
    with open_media(f"{bucket}/large") as media:
        list(media.spans([(0, 10), (SIZE - 10, SIZE)]))
        assert media.bytes_fetched == 20


def test_the_beginning_of_a_small_object(bucket):
    url = put(bucket, b"0123456789")
    assert (read_whole(url, 4), read_whole(url, 40)) == (b"0123", b"0123456789")
