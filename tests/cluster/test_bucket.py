"""`finecut index s3://bucket/videos` through the life of a bucket, by the real command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.bucket_videos import finecut, paths_of, upload
from cluster.conftest import SECRET, S3Server, start_s3
from cluster.line import Line
from color_bundle import make_color_bundle
from finecut.errors import UsageError, VideoError
from finecut.index.scan import excluded, scan, under
from finecut.index.sidecars import Sidecars
from finecut.storage import objects
from finecut.storage.location import Location
from finecut.storage.media import open_media
from index.clips import write_video

SUBTITLES = "1\n00:00:00,500 --> 00:00:02,000\nHello, tomato!\n"


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one of them a folder deeper, with subtitles beside one; and a bundle."""
    root = tmp_path_factory.mktemp("material")
    videos = root / "videos"
    write_video(videos / "red.mp4", ["red"], seed=1)
    write_video(videos / "green # 1?.mp4", ["green"], seed=2)
    write_video(videos / "deep" / "blue.mkv", ["blue", "white"], seconds=3, seed=3)
    (videos / "red.en.srt").write_text(SUBTITLES)
    make_color_bundle(root / "bundle")
    return root


@pytest.fixture
def videos(material: Path, bucket: str) -> str:
    """The URL of the videos."""
    upload(material / "videos", f"{bucket}/videos")
    return f"{bucket}/videos"


@pytest.fixture
def index(material: Path, tmp_path: Path) -> Callable:
    """Indexes into a folder of this machine."""

    def run(*arguments: object, **environment: str):
        return finecut(
            "index", *arguments, "--index", tmp_path / "index", "--bundle", material / "bundle",
            "--workers", 1, "--json", **environment,
        )  # fmt: skip

    run.place = tmp_path / "index"
    return run


def put(url: str, data: bytes) -> None:
    objects.write_bytes(Location.parse(url), data)


def delete(url: str) -> None:
    objects.delete(Location.parse(url))


def test_a_bucket_is_indexed_searched_and_cut(videos, index, tmp_path):
    first = index(videos)
    assert first.code == 0, first.err
    assert (first.json["n_new"], first.json["n_failed"]) == (3, 0)
    assert paths_of(index.place) == [
        f"{videos}/deep/blue.mkv",
        f"{videos}/green # 1?.mp4",
        f"{videos}/red.mp4",
    ]
    again = index(videos)
    assert again.json["n_unchanged"] == 3 and again.json["n_written"] == 0

    found = finecut("search", "tomato", "--index", index.place, "--json").json
    best = found["results"][0]
    assert best["video"] == f"{videos}/red.mp4"
    assert best["reasons"][0]["text"] == "Hello, tomato!"
    shown = finecut("search", "green", "--index", index.place)
    assert shown.out.splitlines()[0].endswith(f"{videos}/green # 1?.mp4")

    target = tmp_path / "cut.mp4"
    assert finecut("cut", f"{videos}/green # 1?.mp4", 0, 1, "-o", target).code == 0
    assert target.stat().st_size > 100
    batch = finecut(
        "cut", "--query", "blue", "-k", 2, "--output-dir", tmp_path / "cuts", "--index", index.place
    )
    assert batch.code == 0 and len(list((tmp_path / "cuts").glob("*.mkv"))) >= 1
    made = finecut(
        "search", "red", "--index", index.place, "--format", "fcpxml", "--output", tmp_path / "a"
    )
    assert made.code == 0 and f"{videos}/green%20%23%201%3F.mp4" in (tmp_path / "a").read_text()


def test_what_moves_changes_and_goes_is_seen(videos, index, material):
    index(videos)
    red = (material / "videos" / "red.mp4").read_bytes()
    put(f"{videos}/moved/scarlet.mp4", red)
    delete(f"{videos}/red.mp4")
    delete(f"{videos}/deep/blue.mkv")
    report = index(videos).json
    assert (report["n_moved"], report["n_removed"], report["n_new"]) == (1, 1, 0)
    assert paths_of(index.place) == [f"{videos}/green # 1?.mp4", f"{videos}/moved/scarlet.mp4"]

    put(f"{videos}/moved/scarlet.mp4", (material / "videos/deep/blue.mkv").read_bytes())
    assert index(videos).json["n_changed"] == 1
    put(f"{videos}/moved/copy.mp4", red)
    put(f"{videos}/moved/copy.srt", SUBTITLES.replace("tomato", "pepper").encode())
    assert index(videos).json["n_new"] == 1
    put(f"{videos}/moved/copy.srt", SUBTITLES.replace("tomato", "cucumber").encode())
    assert index(videos).json["n_texts"] == 1
    found = finecut("search", "cucumber", "--index", index.place, "--json").json
    assert found["results"][0]["video"] == f"{videos}/moved/copy.mp4"


def test_a_library_that_moves_into_a_bucket_is_recognised(material, index, bucket, tmp_path):
    disk = tmp_path / "disk"
    shutil.copytree(material / "videos", disk)
    assert index(disk).json["n_new"] == 3
    upload(disk, f"{bucket}/library")
    report = index(disk, f"{bucket}/library").json  # while it lies in both
    assert (report["n_new"], report["n_duplicates"], report["n_unchanged"]) == (0, 3, 3)
    shutil.rmtree(disk)
    gone = finecut("rm", disk, "--index", index.place, "--json")
    assert len(gone.json["paths"]) == 3 and gone.json["videos"] == []
    assert index(f"{bucket}/library").json["n_written"] == 0
    assert all(path.startswith(bucket) for path in paths_of(index.place))
    assert len(paths_of(index.place)) == 3


def test_an_empty_or_unreachable_bucket_is_not_all_videos_gone(videos, index, bucket, s3: S3Server):
    index(videos)
    for url in (f"{videos}/deep/blue.mkv", f"{videos}/green # 1?.mp4", f"{videos}/red.mp4"):
        delete(url)
    delete(f"{videos}/red.en.srt")
    for root in (videos, bucket):
        empty = index(root)
        assert empty.code == 2 and "Nothing was changed" in empty.err, empty.err
    absent = index("s3://finecut-no-such-bucket")
    assert absent.code == 2 and "There is no bucket" in absent.err
    down = index(videos, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert down.code == 2 and "cannot be reached" in down.err
    assert len(paths_of(index.place)) == 3
    signed = index("s3://films/a?X-Amz-Signature=abcdef0123")
    assert signed.code == 2 and "abcdef0123" not in signed.err + signed.out


def test_a_line_cut_mid_read_is_a_failure_and_tried_again(videos, index, s3: S3Server, material):
    big = (material / "videos" / "red.mp4").read_bytes() + bytes(3_000_000)
    put(f"{videos}/red.mp4", big)  # boxes of nothing at the end
    with Line(s3.endpoint) as line:
        line.cut(1_000_000, after_bytes=40_000)
        broken = index(videos, AWS_ENDPOINT_URL=line.endpoint)
        assert broken.code == 1, broken.err
        (failure,) = broken.json["failures"]
        assert failure["reason"] == "network" and failure["path"] == f"{videos}/red.mp4"
        assert line.n_cut > 1
        line.cut(0)
        healed = index(videos, AWS_ENDPOINT_URL=line.endpoint)
    assert (healed.code, healed.json["n_new"], healed.json["n_unchanged"]) == (0, 1, 2)
    assert paths_of(index.place, "failed") == []


# -- what is taken, without a run of the program -----------------------------------------------


def test_what_a_scan_of_a_bucket_takes(bucket):
    for name in (
        "a.mp4", "b/c.MKV", "b/notes.txt", ".hidden.mp4", "b/.trash/d.mp4", "@eaDir/e.mp4",
        "i/clips.lance/f.mp4", "raw/g.mp4", "code.ts", "tv.ts", "b/dots..mp4",
    ):  # fmt: skip
        put(f"{bucket}/{name}", b"export const one = 1;\n" * 30)
    put(f"{bucket}/tv.ts", (b"\x47" + bytes(187)) * 4)
    found = scan([bucket], exclude=["raw"])
    names = [path.removeprefix(bucket + "/") for path in found.files]
    assert names == ["a.mp4", "b/c.MKV", "b/dots..mp4", "tv.ts"]
    assert {f"{bucket}/raw/g.mp4", f"{bucket}/.hidden.mp4"} <= found.passed
    one = scan([f"{bucket}/.hidden.mp4", f"{bucket}/b/"])
    assert list(one.files) == [
        f"{bucket}/.hidden.mp4", f"{bucket}/b/c.MKV", f"{bucket}/b/dots..mp4"
    ]  # fmt: skip
    stamp = found.files[f"{bucket}/a.mp4"]
    known = objects.stat(Location.parse(stamp.path))
    assert stamp.size_bytes == known.size and stamp.mtime_ns // 10**9 == known.mtime_ns // 10**9
    with pytest.raises(UsageError, match="There is nothing at"):
        scan([f"{bucket}/vidoes"])
    empty = scan([bucket], exclude=["*"])
    assert not empty.files and not empty.empty


def test_names_that_cannot_be_asked_for_are_told(bucket, s3: S3Server):
    import boto3

    client = boto3.client("s3", endpoint_url=s3.endpoint)
    name = bucket.removeprefix("s3://")
    client.put_object(Bucket=name, Key="a?v=1.mp4", Body=b"x")
    client.put_object(Bucket=name, Key="c/d.mp4", Body=b"x")
    found = scan([bucket])
    assert list(found.files) == [f"{bucket}/c/d.mp4"]
    assert [path for path, _ in found.unreadable] == [f"{bucket}/a?v=1.mp4"]
    client.put_object(Bucket=name, Key="e//f.mp4", Body=b"x")
    with pytest.raises(UsageError, match=r"whose name cannot be asked for.*e//f\.mp4"):
        scan([bucket])
    assert list(scan([f"{bucket}/c"]).files) == [f"{bucket}/c/d.mp4"]


def test_urls_are_compared_as_text():
    assert under("s3://b/a/c.mp4", "s3://b/a") and not under("s3://b/ab", "s3://b/a")
    assert excluded("s3://b/v/raw/a.mp4", "s3://b/v", ["raw"])
    assert excluded("s3://b/v/raw/a.mp4", "s3://b/v", ["s3://b/*/a.mp4"])
    assert not excluded("s3://raw/v/a.mp4", "s3://raw/v", ["raw"])


def test_texts_beside_an_object(bucket):
    for name in ("a.mp4", "a.de.srt", "subs/a.en.srt", "a b.mp4", "a b.vtt", "c.srt"):
        put(f"{bucket}/v/{name}", b"x")
    sidecars = Sidecars()
    assert [(one.name, one.language) for one in sidecars.of(f"{bucket}/v/a.mp4")] == [
        ("a.de.srt", "de"),
        ("a.en.srt", "en"),
    ]
    assert [one.name for one in sidecars.of(f"{bucket}/v/a b.mp4")] == ["a b.vtt"]


def test_a_wrong_key_is_told_as_no_permission(material, index, monkeypatch):
    """A server that checks who asks: neither a list nor an object is given away."""
    server = start_s3("0")
    try:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        refused = index("s3://films/2024")
        assert refused.code == 2 and "may not be accessed" in refused.err
        with pytest.raises(VideoError, match="may not be accessed") as caught:
            open_media("s3://films/a.mp4")
        assert caught.value.reason == "permission" and SECRET not in str(caught.value)
    finally:
        server.process.kill()
        server.process.wait()
