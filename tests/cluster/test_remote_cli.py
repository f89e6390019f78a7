"""The whole life of an index in an object store, by the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Library, Run, call, library, run  # noqa: F401 (fixtures)
from finecut.index.store import Index
from finecut.search.engine import Searcher
from finecut.search.fusion import read_weights

from .conftest import SECRET, S3Server, start_s3
from .test_remote_store import facts


def found(answer: dict) -> list[tuple[str, float, float]]:
    return [(Path(one["video"]).name, one["start_s"], one["end_s"]) for one in answer["results"]]


def test_the_life_of_an_index_on_s3(
    bucket: str,
    library: Library,  # noqa: F811
    run: Run,  # noqa: F811
    call: Run,  # noqa: F811
    tmp_path: Path,
):
    videos, index = tmp_path / "videos", f"{bucket}/films/index"
    shutil.copytree(library.videos, videos)
    built = run("index", videos, "--index", index, "--bundle", library.bundle, "--json")
    assert built.code == 1, built.err  # one of the videos is broken
    assert built.json["index"] == index
    assert (built.json["n_new"], built.json["n_failed"]) == (3, 1)

    # Row for row what a local index of the same files holds.
    local = call("index", videos, "--index", tmp_path / "i", "--bundle", library.bundle, "--json")
    assert local.json["n_new"] == 3
    here, there = facts_by_name(Index.open(tmp_path / "i")), facts_by_name(Index.open(index))
    assert there == here

    asked = ("search", "red", "-k", 2, "--json", "--index")
    answer = call(*asked, index).json
    assert found(answer) == found(call(*asked, tmp_path / "i").json)
    assert found(answer)[0][0] == "red.mp4"
    # Another machine, which has no cache of it yet; and from Python.
    other = call(*asked, index, env={"FINECUT_CACHE": str(tmp_path / "other machine")}).json
    assert found(other) == found(answer)
    assert any((tmp_path / "other machine").rglob("recall.bin"))
    best = Searcher.open(index).search("red", k=1)[0]
    assert Path(best.video).name == "red.mp4"
    # The variable names it as the option does.
    named = call("search", "red", "-k", 2, "--json", env={"FINECUT_INDEX": index}).json
    assert found(named) == found(answer)

    # What is kept beside the index is kept there too.
    queries = tmp_path / "queries.jsonl"
    queries.write_text(
        '{"query": "red", "video": "red.mp4"}\n{"query": "yellow", "video": "yellow.mp4"}\n' * 5
    )
    tuned = call("quality", queries, "--index", index, "--tune", "--save", "--json").json
    assert tuned["saved"] == f"{index}/fusion.json"
    assert dict(read_weights(index).by_channel).items() >= tuned["weights"].items()
    cut = call("cut", "--query", "red", "-k", 1, "--index", index, "--output-dir", tmp_path / "cut")
    assert cut.code == 0 and len(list((tmp_path / "cut").glob("*.mp4"))) == 1, cut

    again = call("index", videos, "--index", index)
    assert "Nothing to do" in again.out
    shutil.copy(videos / "red.mp4", videos / "red-again.mp4")
    (videos / "holiday" / "yellow.mp4").unlink()
    changed = call("index", videos, "--index", index, "--json").json
    assert (changed["n_new"], changed["n_duplicates"], changed["n_removed"]) == (0, 1, 1)
    names = [Path(path).name for row in Index.open(index).videos for path in row.paths]
    assert sorted(names) == ["blue-then-green.mp4", "broken.mp4", "red-again.mp4", "red.mp4"]

    info = call("info", "--index", index, "--json").json
    assert info["index"] == index and info["n_videos"] == 2 and info["table_bytes"]["clips"] > 0
    assert index in call("info", "--index", index).out
    listed = call("ls", "--index", index, "--json").json["videos"]
    assert len(listed) == 3
    gone = call("rm", "blue-then-green.mp4", "--index", index)
    assert gone.code == 0, gone.err
    assert call("info", "--index", index, "--json").json["n_videos"] == 1
    assert call("duplicates", "--index", index).code == 0
    doctor = call("doctor", "--index", index, "--json").json
    state = {row["check"]: (row["state"], row["text"]) for row in doctor["checks"]}
    assert state["index"][0] == "ok" and index in state["index"][1]
    assert state["space"][0] in ("ok", "warn")


def facts_by_name(index: Index) -> dict[str, object]:
    """`facts` without ids of runs and times of day; videos in the order of their names."""
    plain = facts(index)
    order = sorted(range(len(index.videos)), key=lambda i: index.videos[i].paths)
    place = {video: number for number, video in enumerate(order)}
    rows = sorted(
        range(len(index.clips)),
        key=lambda row: (place[int(index.clips.video[row])], int(index.clips.number[row])),
    )
    return {
        "videos": [
            (row.video_id, row.stamps, row.status, row.reason, row.duration_s, row.n_clips)
            for row in (index.videos[i] for i in order)
        ],
        "spans": [(index.clips.start_s[row], index.clips.end_s[row]) for row in rows],
        **{name: [plain[name][row] for row in rows] for name in ("recall", "strips")},
        "tokens": [column and [column[row] for row in rows] for column in plain["tokens"]],
    }


def test_a_missing_bucket_is_said(s3: S3Server, library: Library, call: Run):  # noqa: F811
    index = ("--index", "s3://no-such-bucket/index")
    for verb in (("search", "red"), ("info",), ("index", library.videos), ("rm", "a")):
        ran = call(*verb, *index)
        assert ran.code in (1, 2)
        assert "There is no bucket s3://no-such-bucket" in ran.err


def test_no_index_is_said(bucket: str, call: Run):  # noqa: F811
    ran = call("search", "red", "--index", f"{bucket}/nothing")
    assert ran.code == 2 and f"There is no index at {bucket}/nothing" in ran.err


@pytest.mark.parametrize(
    "url",
    [
        f"s3://KEYOFTHETESTS:{SECRET}@bucket/index",
        f"s3://bucket/index?AWSAccessKeyId=KEYOFTHETESTS&Signature={SECRET}",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(url: str, call: Run):  # noqa: F811
    ran = call("info", "--index", url)
    assert ran.code == 2 and "must not hold credentials" in ran.err
    assert SECRET not in ran.err + ran.out


@pytest.mark.parametrize("url", ["ftp://host/index", "s3://", "s3:///index", "s3://b!/i"])
def test_other_urls_are_refused(url: str, call: Run):  # noqa: F811
    ran = call("info", "--index", url)
    assert ran.code == 2 and ("no kind of place" in ran.err or "names no bucket" in ran.err)


def test_a_bucket_is_not_watched(bucket: str, library: Library, call: Run):  # noqa: F811
    ran = call("watch", f"{bucket}/films", "--index", library.index)
    assert ran.code == 2 and "cannot be watched" in ran.err


def test_without_obstore_it_is_said_what_to_install(tmp_path: Path, run: Run):  # noqa: F811
    broken = tmp_path / "without" / "obstore"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])
    ran = run("info", "--index", "s3://some-bucket/index", env={"PYTHONPATH": path})
    assert ran.code == 1 and "pip install 'finecut[cloud]'" in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture(scope="module")
def guarded() -> Iterator[S3Server]:
    """A server that checks who asks, and their signatures, from its first request on."""
    server = start_s3("0")
    yield server
    server.process.kill()
    server.process.wait()


def test_wrong_credentials_are_said_and_no_secret_is(
    guarded: S3Server,
    library: Library,  # noqa: F811
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    for name, value in guarded.environment.items():
        monkeypatch.setenv(name, value)
    for verb in (("search", "red"), ("index", library.videos), ("info",)):
        ran = run(*verb, "--index", "s3://some-bucket/index")
        assert ran.code in (1, 2)
        assert "may not be accessed (InvalidAccessKeyId" in ran.err, ran.err
        assert "AWS_ACCESS_KEY_ID" in ran.err
        for secret in (SECRET, guarded.environment["AWS_ACCESS_KEY_ID"], "Signature="):
            assert secret not in ran.out + ran.err
