"""Files as HTTP: ranges against slices, conditions, and nothing but what is indexed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finecut.errors import NotFound
from finecut.server.media import FileChecker, parse_range
from finecut.server.problems import Refused

SIZES = st.integers(0, 300)
EDGES = st.integers(0, 400)


@pytest.fixture(scope="module")
def film(made):
    """A video's address and its bytes."""
    return f"/api/v1/videos/{made.id_of('lights.mp4')}", (made.videos / "lights.mp4").read_bytes()


@given(size=SIZES, first=EDGES, last=EDGES)
def test_a_range_is_a_slice(size, first, last):
    content = bytes(i % 251 for i in range(size))
    header = f"bytes={first}-{last}"
    if last < first:
        assert parse_range(header, size) is None
    elif first >= size:
        with pytest.raises(Refused, match="outside the file"):
            parse_range(header, size)
    else:
        start, stop = parse_range(header, size)
        assert content[start:stop] == content[first : last + 1]


@given(size=SIZES, count=EDGES)
def test_open_ranges_are_slices(size, count):
    content = bytes(i % 251 for i in range(size))
    if count >= size:
        with pytest.raises(Refused):
            parse_range(f"bytes={count}-", size)
    else:
        start, stop = parse_range(f"bytes={count}-", size)
        assert content[start:stop] == content[count:]
    if count == 0 or size == 0:
        with pytest.raises(Refused):
            parse_range(f"bytes=-{count}", size)
    else:
        start, stop = parse_range(f"bytes=-{count}", size)
        assert content[start:stop] == content[-count:]


@given(st.text(max_size=30))
def test_any_other_header_means_the_whole_file(text):
    try:
        part = parse_range(text, 100)
    except Refused:
        return
    assert part is None or 0 <= part[0] < part[1] <= 100


@pytest.mark.parametrize(
    "header", ["bytes=0-1,4-5", "items=0-1", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b"]
)
def test_what_is_no_single_range_is_ignored(client, film, header):
    url, content = film
    answer = client.get(f"{url}/media", headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, content)


def test_whole_and_in_part(client, film):
    url, content = film
    whole = client.get(f"{url}/media")
    assert whole.content == content
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == str(len(content))
    part = client.get(f"{url}/media", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    assert part.headers["content-length"] == "200"
    tail = client.get(f"{url}/media", headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, content[-7:])


def test_beyond_the_end(client, film):
    url, content = film
    answer = client.get(f"{url}/media", headers={"Range": f"bytes={len(content)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.headers["content-type"] == "application/problem+json"


def test_head_has_no_body(client, film):
    url, content = film
    answer = client.head(f"{url}/media", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(content))


def test_conditions(client, film):
    url, content = film
    first = client.get(f"{url}/media")
    etag, date = first.headers["etag"], first.headers["last-modified"]
    for headers in ({"If-None-Match": etag}, {"If-None-Match": "*"}, {"If-Modified-Since": date}):
        assert client.get(f"{url}/media", headers=headers).status_code == 304
    ranged = {"Range": "bytes=0-9"}
    for condition, status in ((etag, 206), (date, 206), ('"other"', 200), (f"W/{etag}", 200)):
        answer = client.get(f"{url}/media", headers={**ranged, "If-Range": condition})
        assert answer.status_code == status
        assert answer.content == (content[:10] if status == 206 else content)


@pytest.mark.parametrize(
    "part",
    [
        "../../../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cwindows",
        "%00",
        "0" * 31,
        "G" * 32,
        "0" * 33,
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize(
    "what", ["media", "frame?time_s=0", "clips/0/strip", "cut?start_s=0&end_s=1"]
)
def test_an_id_is_never_a_path(client, part, what):
    answer = client.get(f"/api/v1/videos/{part}/{what}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "part", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "x.js"]
)
def test_the_page_serves_only_its_folder(client, part):
    answer = client.get(f"/page/{part}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_swapped_file_is_not_given_away(own, connect, tmp_path):
    client = connect(own.index)
    video_id = own.id_of("night.mp4")
    url = f"/api/v1/videos/{video_id}/media"
    assert client.get(url).status_code == 200
    secret = tmp_path / "secret.txt"
    secret.write_text("root:x:0:0")
    path = own.videos / "night.mp4"
    os.rename(path, tmp_path / "away.mp4")
    for make in (
        lambda: path.symlink_to(secret),
        lambda: path.write_text("root:y:0:0"),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
    ):
        make()
        answer = client.get(url)
        assert answer.status_code == 404 and b"root:" not in answer.content
        assert client.get(f"/api/v1/videos/{video_id}/frame?time_s=0").status_code == 404
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    path.symlink_to(tmp_path / "away.mp4")  # the same content by another way is the same video
    assert client.get(url).status_code == 200


def test_content_of_the_same_size_and_time_is_still_checked(own):
    path = own.videos / "night.mp4"
    video_id, content = own.id_of("night.mp4"), path.read_bytes()
    checker, before = FileChecker(), path.stat()
    checker.open(video_id, [str(path)])[0].close()
    path.unlink()
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(NotFound, match="none of its files"):
        checker.open(video_id, [str(path)])


def test_a_copy_is_sent_when_the_first_path_is_gone(own, connect):
    (own.videos / "copy.mp4").write_bytes((own.videos / "night.mp4").read_bytes())
    own.indexed()
    client = connect(own.index)
    url = f"/api/v1/videos/{own.id_of('night.mp4')}/media"
    (own.videos / "copy.mp4").rename(own.videos / "elsewhere")
    assert client.get(url).status_code == 200
    (own.videos / "night.mp4").unlink()
    answer = client.get(url)
    assert answer.status_code == 404 and "finecut index" in answer.json()["detail"]


def test_a_failed_video_has_no_media(client, made):
    listed = client.get("/api/v1/videos", params={"status": "failed"}).json()["videos"]
    assert [video["name"] for video in listed] == ["broken.mp4"]
    assert listed[0]["reason"] and listed[0]["error"] and listed[0]["media_url"] is None
    answer = client.get(f"/api/v1/videos/{listed[0]['video_id']}/media")
    assert answer.status_code == 404


def test_a_frame_at_a_time(client, film, made):
    url, _ = film
    for time_s, channel in ((1.0, 0), (5.0, 1), (9.0, 2)):
        answer = client.get(f"{url}/frame", params={"time_s": time_s, "max_side": 64})
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == "JPEG" and max(picture.size) <= 64
        middle = picture.getpixel((picture.width // 2, picture.height // 2))
        assert max(range(3), key=lambda i: middle[i]) == channel
        assert abs(float(answer.headers["x-time-s"]) - time_s) < 0.2
        again = client.get(answer.request.url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


def test_a_cut_plays_and_shows_the_moment(client, film, tmp_path: Path):
    import av

    url, _ = film
    answer = client.get(f"{url}/cut", params={"start_s": 4, "end_s": 6})
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    assert 'filename="lights 4.0-6.0s.mp4"' in answer.headers["content-disposition"]
    path = tmp_path / "cut.mp4"
    path.write_bytes(answer.content)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    middle = frames[len(frames) // 2].reshape(-1, 3).mean(axis=0)
    assert middle.argmax() == 1  # green
    assert abs(float(answer.headers["x-end-s"]) - 6) < 0.6


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"start_s": 2, "end_s": 1}, "over 0 and at most 600 s, got -1 s"),
        ({"start_s": 0, "end_s": 900}, "got 900 s"),
        ({"start_s": 50, "end_s": 51}, "the video ends at"),
        ({"start_s": "nan", "end_s": 1}, "`start_s`"),
        ({"start_s": "inf", "end_s": "inf"}, "`start_s`"),
        ({"start_s": 1}, "`end_s`"),
    ],
)
def test_a_cut_that_cannot_be_meant(client, film, params, said):
    answer = client.get(f"{film[0]}/cut", params=params)
    assert answer.status_code == 422 and said in answer.json()["detail"]


def test_names_of_any_script_are_saved_whole(client, made):
    url = f"/api/v1/videos/{made.id_of('trip/größe 日本 & <b>.mp4')}/cut"
    saved = client.get(url, params={"start_s": 0, "end_s": 1}).headers["content-disposition"]
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe%20%E6%97%A5%E6%9C%AC%20%26%20%3Cb%3E%20" in saved


def test_unknown_clips_and_videos(client, film):
    assert client.get(f"{film[0]}/clips/999/strip").status_code == 404
    assert client.get(f"/api/v1/videos/{'0' * 32}").status_code == 404
    assert client.get(f"{film[0]}/frame", params={"time_s": 1, "max_side": 9}).status_code == 422


def test_the_list_has_pages(client):
    everything = client.get("/api/v1/videos").json()
    assert everything["total"] == len(everything["videos"]) == 7
    seen = []
    for offset in range(0, 7, 3):
        page = client.get("/api/v1/videos", params={"offset": offset, "limit": 3}).json()
        seen += page["videos"]
    assert seen == everything["videos"]
    named = client.get("/api/v1/videos", params={"name": "TRIP"}).json()
    assert named["total"] == 2
    detail = client.get(f"/api/v1/videos/{named['videos'][0]['video_id']}").json()
    assert len(detail["clips"]) == detail["n_clips"] > 0
