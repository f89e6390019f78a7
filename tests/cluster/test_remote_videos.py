"""Videos in a bucket, container by container: as from a disk, and only what is needed of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.large_video import write_large
from finecut.errors import VideoError
from finecut.storage import media, objects
from finecut.storage.location import Location
from finecut.video.container import open_video
from finecut.video.cut import cut
from finecut.video.decode import decode_clips
from finecut.video.embedded import embedded_texts
from finecut.video.frame import frame_at
from finecut.video.packets import DecodeStats, read_packets
from finecut.video.probe import probe
from finecut.video.sound import sound_pieces
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec

KINDS = {
    "moov-at-the-end.mp4": {},
    "moov-first.mp4": {"options": {"movflags": "faststart"}},
    "a.mkv": {},
    "a.ts": {},
    "a.webm": {"codec": "libvpx"},
}


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a large video by its kind, made on first use."""
    folder = tmp_path_factory.mktemp("large")

    def make(kind: str) -> Path:
        if not (folder / kind).exists():
            write_large(folder / kind, **KINDS[kind])
        return folder / kind

    return make


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Gives the bytes fetched since it was last asked, beginning with nothing at hand."""
    opened: list[media.MediaFile] = []
    first = media.MediaFile.__init__

    def init(self, *arguments):
        first(self, *arguments)
        opened.append(self)

    monkeypatch.setattr(media.MediaFile, "__init__", init)

    def count() -> int:
        total = sum(one.bytes_fetched for one in opened)
        opened.clear()
        media._shelves.clear()
        return total

    count()
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_a_moment_costs_a_small_share(kind, large, bucket, fetched, tmp_path):
    file = large(kind)
    url = f"{bucket}/{kind}"
    objects.write_bytes(Location.parse(url), file.read_bytes())
    share = {}
    here, there = tmp_path / f"here-{kind}", tmp_path / f"there-{kind}"

    assert probe(url) == probe(file)
    share["probe"] = fetched() / file.stat().st_size
    assert frame_at(url, 12.34) == frame_at(file, 12.34)
    share["frame"] = fetched() / file.stat().st_size
    assert cut(url, 12.0, 13.0, there) == cut(file, 12.0, 13.0, here)
    share["cut"] = fetched() / file.stat().st_size
    assert probe(here) == probe(there)  # the size among it

    # A transport stream has no index: its length is read from its end, its moments by halving.
    most = 0.45 if kind == "a.ts" else 0.3
    assert share["probe"] < 0.3 and share["frame"] < most and share["cut"] < 2 * most, share


def test_a_whole_video_is_fetched_once(large, bucket, fetched):
    file = large("moov-at-the-end.mp4")
    url = f"{bucket}/a.mp4"
    objects.write_bytes(Location.parse(url), file.read_bytes())
    spec = DecodeSpec(frames_per_second=0.5, height=32, width=32)
    probe(url)
    embedded_texts(url)
    remote = list(decode_clips(url, spec))
    assert fetched() < 1.05 * file.stat().st_size
    local = list(decode_clips(file, spec))
    assert [clip.strip for clip in remote] == [clip.strip for clip in local]
    assert [clip.times.tolist() for clip in remote] == [clip.times.tolist() for clip in local]
    (sound,) = sound_pieces(url)
    assert len(sound[1]) == len(next(sound_pieces(file))[1])


def test_what_a_network_cuts_off_is_no_end_of_a_video(large, bucket, monkeypatch):
    """Decoders swallow reading errors; the video must not pass for one that is shorter."""
    file = large("a.ts")
    url = f"{bucket}/a.ts"
    objects.write_bytes(Location.parse(url), file.read_bytes())
    media._shelves.clear()
    read = objects.read_range

    def fail_later(place, start, end, *, if_match=""):
        if 6_000_000 < end < file.stat().st_size - 3_000_000:
            raise objects.StorageError("the line is down")
        return read(place, start, end, if_match=if_match)

    monkeypatch.setattr(objects, "read_range", fail_later)
    monkeypatch.setattr(media, "PAUSE_S", 0.0)
    with (
        pytest.raises(VideoError, match="the line is down") as caught,
        open_video(url) as (container, stream),
    ):
        for _ in read_packets(container, stream, DecodeStats(), DEFAULT_LIMITS):
            pass
    assert caught.value.reason == "network"
    spec = DecodeSpec(frames_per_second=0.5, height=32, width=32)
    with pytest.raises(VideoError, match="the line is down"):
        list(decode_clips(url, spec))


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"no video" * 5000, "unreadable")])
def test_what_is_no_video_is_refused(data, reason, bucket):
    url = f"{bucket}/a.mp4"
    objects.write_bytes(Location.parse(url), data)
    with pytest.raises(VideoError) as caught:
        probe(url)
    assert caught.value.reason == reason and str(caught.value).startswith(url)


def test_a_container_cannot_have_other_files_read(bucket, tmp_path):
    """A playlist is no container finecut opens, in a bucket as on a disk."""
    (tmp_path / "secret").write_bytes(b"x" * 4000)
    url = f"{bucket}/a.mp4"
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret\n"
    objects.write_bytes(Location.parse(url), text.encode())
    with pytest.raises(VideoError, match="not a video"):
        probe(url)
