"""Index jobs over HTTP, and searches that go on meanwhile."""

from __future__ import annotations

import threading
import time

import httpx
import pytest

from server.serving import color_video, serving


def wait_for(client, job, *states, timeout_s=60.0):
    """The job once it is in one of the states."""
    end = time.monotonic() + timeout_s
    while job["state"] not in states:
        assert time.monotonic() < end, job
        time.sleep(0.05)
        job = client.get(f"/api/v1/index/jobs/{job['id']}").json()
    return job


def test_a_job_brings_the_index_up_to_date(own, connect):
    client = connect(own.index)
    before = client.get("/api/v1/index").json()
    assert before["n_videos"] == 6 and before["n_failed"] == 1
    color_video(own.videos / "new.mp4", "cyan", seconds=3)
    (own.videos / "night.mp4").unlink()
    started = client.post("/api/v1/index/jobs")
    assert started.status_code == 202
    job = started.json()
    assert started.headers["location"] == f"/api/v1/index/jobs/{job['id']}"
    done = wait_for(client, job, "done")
    assert done["report"]["n_new"] == 1 and done["report"]["n_removed"] == 1
    assert done["finished_at"] >= done["started_at"] and done["error"] is None
    assert client.get("/api/v1/index/jobs").json()["jobs"][0] == done
    after = client.get("/api/v1/index").json()
    assert after["version"] != before["version"] and after["n_videos"] == 6
    found = client.get("/api/v1/search", params={"q": "cyan"}).json()["results"]
    assert found[0]["name"] == "new.mp4"
    assert "night.mp4" not in {result["name"] for result in found}


def test_one_job_at_a_time_and_cancel(own, connect):
    for number in range(6):
        color_video(own.videos / f"more-{number}.mp4", "red", "green", seconds=2 + number / 10)
    client = connect(own.index)
    job = client.post("/api/v1/index/jobs", json={"force": True}).json()
    second = client.post("/api/v1/index/jobs", json={})
    if second.status_code == 202:  # the first was quicker than the second call
        assert wait_for(client, job, "done")
    else:
        assert (second.status_code, second.json()["type"]) == (
            409,
            "urn:finecut:problem:index-locked",
        )
    cancelled = client.delete(f"/api/v1/index/jobs/{job['id']}").json()
    assert cancelled["state"] in ("cancelling", "cancelled", "done")
    wait_for(client, job, "cancelled", "done")
    assert client.get("/api/v1/search", params={"q": "red"}).status_code == 200


@pytest.mark.parametrize(
    ("root", "said"),
    [("videos", "absolute path"), ("/etc", "may not index '/etc'"), ("/\0", "absolute path")],
)
def test_roots_are_not_for_callers_to_choose(own, connect, root, said):
    answer = connect(own.index).post("/api/v1/index/jobs", json={"roots": [root]})
    assert answer.status_code == 422 and said in answer.json()["detail"]


def test_a_root_inside_a_known_one_may_be_named(own, connect, tmp_path):
    client = connect(own.index)
    inside = client.post("/api/v1/index/jobs", json={"roots": [str(own.videos / "trip")]})
    assert inside.status_code == 202
    wait_for(client, inside.json(), "done")
    outside = own.videos / "trip" / ".." / ".." / "elsewhere"
    answer = client.post("/api/v1/index/jobs", json={"roots": [str(outside)]})
    assert answer.status_code == 422
    (tmp_path / "elsewhere").mkdir()
    (own.videos / "way-out").symlink_to(tmp_path / "elsewhere")
    answer = client.post("/api/v1/index/jobs", json={"roots": [str(own.videos / "way-out")]})
    assert answer.status_code == 422


def test_a_server_without_an_index_makes_one(made, connect, tmp_path):
    index = tmp_path / "fresh"
    bare = connect(index, bundle=made.bundle)
    answer = bare.get("/api/v1/search", params={"q": "red"})
    assert (answer.status_code, answer.json()["type"]) == (
        503,
        "urn:finecut:problem:index-not-found",
    )
    assert "finecut index" in answer.json()["detail"] and "retry-after" in answer.headers
    assert bare.get("/ready").status_code == 503
    assert bare.get("/health").status_code == 200
    assert bare.get("/").status_code == 200
    assert bare.get("/metrics").status_code == 200
    nothing = bare.post("/api/v1/index/jobs")
    assert nothing.status_code == 422 and "--root" in nothing.json()["detail"]

    client = connect(index, bundle=made.bundle, roots=[made.videos])
    job = client.post("/api/v1/index/jobs").json()
    assert wait_for(client, job, "done")["report"]["n_new"] == 6
    assert client.get("/ready").json()["n_clips"] > 0


def test_a_job_that_fails_says_why(own, connect):
    from finecut.index.writer import IndexWriter

    client = connect(own.index)
    with IndexWriter(own.index):
        job = client.post("/api/v1/index/jobs").json()
        failed = wait_for(client, job, "failed")
    assert "writ" in failed["error"]


def test_searches_go_on_during_a_job(own):
    """Many callers search while videos come and go: every answer is whole and from one version."""
    stop = threading.Event()
    problems: list[str] = []
    versions: set[str] = set()

    def ask(base: str, query: str) -> None:
        with httpx.Client(base_url=base, timeout=30) as client:
            while not stop.is_set():
                answer = client.get("/api/v1/search", params={"q": query, "k": 20})
                if answer.status_code != 200:
                    problems.append(answer.text)
                    return
                body = answer.json()
                versions.add(body["index_version"])
                for result in body["results"]:
                    strip = client.get(result["strips"][0]["url"])
                    if strip.status_code not in (200, 404):  # 404: removed in the meantime
                        problems.append(strip.text)

    with serving(own.index) as base, httpx.Client(base_url=base, timeout=30) as client:
        askers = [threading.Thread(target=ask, args=(base, q)) for q in ("red", "blue", "white")]
        for asker in askers:
            asker.start()
        for turn in range(3):
            color_video(own.videos / f"turn-{turn}.mp4", "cyan", seconds=2 + turn / 10)
            if turn:
                (own.videos / f"turn-{turn - 1}.mp4").unlink()
            headers = {"X-Finecut": "1"}
            job = client.post("/api/v1/index/jobs", headers=headers).json()
            assert wait_for(client, job, "done", "failed")["state"] == "done"
            # The callers go on until one of them was answered from the version just made.
            end = time.monotonic() + 60
            while len(versions) <= turn and not problems and time.monotonic() < end:
                time.sleep(0.02)
        stop.set()
        for asker in askers:
            asker.join()
    assert not problems, problems[:3]
    assert len(versions) >= 3
