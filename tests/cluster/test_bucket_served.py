"""A server over videos in a bucket: pages play them, and never learn how they are reached."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cluster.bucket_videos import upload
from cluster.conftest import SECRET
from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.index.content import content_id
from finecut.server.app import create_app
from finecut.storage import media, objects
from finecut.storage.location import Location
from server.serving import ColorLibrary, make_color_library


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ColorLibrary:
    return make_color_library(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def served(colours: ColorLibrary, bucket: str, tmp_path: Path) -> Iterator[tuple[TestClient, str]]:
    """A client of a server over the library in a bucket, and the bucket's URL."""
    upload(colours.videos, bucket)
    bundle = Bundle.load(colours.bundle, threads=1)
    report = build_index([bucket], tmp_path / "index", bundle, workers=1)
    assert [failure.path for failure in report.failures] == [f"{bucket}/broken.mp4"], (
        report.failures
    )
    app = create_app(tmp_path / "index", threads=1)
    with TestClient(
        app,
        base_url="http://localhost:8500",
        client=("127.0.0.1", 50000),
        headers={"X-Finecut": "1"},
        raise_server_exceptions=False,
    ) as client:
        yield client, bucket


def test_a_remote_video_is_played_like_a_local_one(served, colours):
    client, bucket = served
    video_id = content_id(colours.videos / "lights.mp4")
    data = (colours.videos / "lights.mp4").read_bytes()
    place = f"/api/v1/videos/{video_id}"
    shown = client.get(place).json()
    assert shown["paths"] == [f"{bucket}/lights.mp4"] and shown["name"] == "lights.mp4"
    assert shown["present"] and shown["content_type"] == "video/mp4"

    whole = client.get(f"{place}/media", follow_redirects=False)
    assert whole.status_code == 200 and whole.content == data
    assert whole.headers["content-type"] == "video/mp4"
    part = client.get(f"{place}/media", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, data[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
    assert client.head(f"{place}/media").headers["content-length"] == str(len(data))
    beyond = client.get(f"{place}/media", headers={"Range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416
    kept = client.get(f"{place}/media", headers={"If-None-Match": whole.headers["etag"]})
    assert kept.status_code == 304

    frame = client.get(f"{place}/frame", params={"time_s": 5.0})
    assert frame.status_code == 200 and frame.content.startswith(b"\xff\xd8")
    cut = client.get(f"{place}/cut", params={"start_s": 4.0, "end_s": 6.0})
    assert cut.status_code == 200 and cut.content[4:8] == b"ftyp"
    strip = client.get(f"{place}/clips/0/strip")
    assert strip.content.startswith(b"\xff\xd8")

    best = client.get("/api/v1/search", params={"q": "a green screen", "k": 1}).json()
    assert best["results"][0]["video"].startswith(bucket)
    for answer in (whole, part, frame, cut):
        told = str(answer.headers).lower()
        assert "location" not in answer.headers and "amz" not in told and SECRET not in told


def test_the_folders_of_a_bucket_may_be_indexed_again(served, colours):
    client, bucket = served
    info = client.get("/api/v1/index").json()
    assert info["roots"] == [bucket]
    refused = client.post("/api/v1/index/jobs", json={"roots": ["s3://another-bucket/x"]})
    assert refused.status_code == 422
    assert "may not index" in refused.json()["detail"]
    started = client.post("/api/v1/index/jobs", json={"roots": [f"{bucket}/trip"]})
    assert started.status_code == 202 and started.json()["roots"] == [f"{bucket}/trip"]


def test_what_is_gone_replaced_or_out_of_reach_is_said(served, colours, monkeypatch):
    client, bucket = served
    lights = content_id(colours.videos / "lights.mp4")
    place = f"/api/v1/videos/{lights}/media"
    objects.write_bytes(
        Location.parse(f"{bucket}/lights.mp4"), (colours.videos / "night.mp4").read_bytes()
    )
    replaced = client.get(place)
    assert replaced.status_code == 404 and "as it was indexed" in replaced.json()["detail"]
    objects.delete(Location.parse(f"{bucket}/lights.mp4"))
    assert client.get(place).status_code == 404

    monkeypatch.setattr(media, "PAUSE_S", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    night = content_id(colours.videos / "night.mp4")
    down = client.get(f"/api/v1/videos/{night}/media")
    assert down.status_code == 503 and "cannot be reached" in down.json()["detail"]
    assert SECRET not in down.text


def test_a_file_here_is_taken_before_the_object(served, colours, bucket, tmp_path):
    shutil.copy(colours.videos / "night.mp4", tmp_path / "night.mp4")
    build_index(
        [tmp_path / "night.mp4"],
        tmp_path / "index",
        Bundle.load(colours.bundle, threads=1),
        workers=1,
    )
    objects.delete(Location.parse(f"{bucket}/night.mp4"))
    app = create_app(tmp_path / "index", threads=1)
    with TestClient(app, base_url="http://localhost:8500", client=("127.0.0.1", 50000)) as fresh:
        night = content_id(colours.videos / "night.mp4")
        assert fresh.get(f"/api/v1/videos/{night}/media").status_code == 200
