"""kill -9 at random instants, and several processes at one index at once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from finecut.errors import IndexNotFound
from finecut.index.store import Index
from finecut.index.writer import IndexWriter
from index.clips import RGB, write_video

PROGRAM = Path(__file__).with_name("killed_run.py")
N_VIDEOS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sixteen videos; every fourth has two clips."""
    place = tmp_path_factory.mktemp("many")
    colors = list(RGB)
    for number in range(N_VIDEOS):
        pair = [colors[number % 6], colors[(number + 1) % 6]][: 2 if number % 4 == 0 else 1]
        write_video(place / f"{number:02d}.mp4", pair, seconds=3, seed=100 + number)
        (place / f"{number:02d}.srt").write_text(f"00:00:01,0 --> 00:00:02,0\nword{number}\n")
    return place


def start(folder: Path, index_dir: Path, bundle_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(index_dir), str(bundle_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def contents(index: Index) -> Counter[str]:
    """How often each path is there; every video must have its clips, once, with its tokens."""
    done = [row for row in index.videos if row.status == "done"]
    for number, row in enumerate(done):
        of_row = np.flatnonzero(index.clips.video == number)
        assert sorted(index.clips.number[of_row].tolist()) == list(range(row.n_clips))
        assert index.tokens(of_row).frame_mask.sum() == row.n_frames
        assert index.strip(int(of_row[0])).jpeg.startswith(b"\xff\xd8")
        # Words may be missing until the next run, but are never half, and never there twice.
        texts = index.texts_of(number)
        said = [hit.text for hit in texts if hit.channel == "said"]
        names = [hit for hit in texts if hit.source == "file name"]
        path = Path(row.paths[0])
        assert (said, len(names)) in (([], 0), ([f"word{int(path.stem)}"], 1))
    assert len(set(index.clips.clip_id.tolist())) == len(index.clips)
    return Counter(path for row in done for path in row.paths)


def wait_for(process: subprocess.Popen[str], n_done: int) -> str:
    """What a run says until so many videos are done; -1: until it is ready, 0: until it begins."""
    assert process.stdout is not None
    said = ""
    sign = {-1: "ready", 0: "start"}.get(n_done, "done")
    while said.count(sign) < max(1, n_done):
        line = process.stdout.readline()
        said += line
        if not line:
            break
    return said


def rounds(folder: Path, index_dir: Path, bundle_dir: Path, kills: int, seed: int) -> int:
    """Kill runs until there were so many kills; return how many had something done by then."""
    rng = random.Random(seed)
    reported: set[str] = set()
    landed = fruitful = 0
    while landed < kills:
        process = start(folder, index_dir, bundle_dir)
        said = wait_for(process, n_done=rng.choice([-1, 0, 1, 2, 3, 5, 8]))
        time.sleep(rng.uniform(0.0, rng.choice([0.002, 0.05, 0.3])))
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
        said += rest
        whole = any(line.startswith("end") for line in said.splitlines())
        assert process.returncode == -signal.SIGKILL or (whole and process.returncode == 0), errors
        lines = said.split("\n")[:-1]  # the last one may be cut off
        now_done = {line[5:] for line in lines if line.startswith("done ")}
        assert not now_done & reported, "was done before, and was indexed again"
        reported |= now_done
        landed += not whole
        fruitful += not whole and bool(now_done)
        try:
            found = contents(Index.open(index_dir))
        except IndexNotFound:
            assert not reported
            continue
        assert set(found) >= reported, "reported done, and missing"
        assert max(found.values(), default=1) == 1, "there twice"
        if whole or len(found) == N_VIDEOS:  # all in before enough kills: begin anew
            finish(folder, index_dir, bundle_dir)
            index_dir = index_dir.with_name(f"{index_dir.name}x")
            reported = set()
    finish(folder, index_dir, bundle_dir)
    return fruitful


def finish(folder: Path, index_dir: Path, bundle_dir: Path) -> None:
    """The next run resumes, and ends with everything in, once, and nothing left over."""
    process = start(folder, index_dir, bundle_dir)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    index = Index.open(index_dir)
    found = contents(index)
    assert len(found) == N_VIDEOS and set(found.values()) == {1}
    assert index.channels["said"] == N_VIDEOS
    for number in range(N_VIDEOS):
        (hit,) = index.search_text(f"word{number}")
        assert index.videos[hit.video].paths == (str(folder / f"{number:02d}.mp4"),)
    with IndexWriter(index_dir) as writer:
        assert writer.dataset("clips").count_rows() == len(index.clips)
        assert writer.dataset("tokens").count_rows() == len(index.clips)
    assert not list(index_dir.glob("*.part"))


def test_after_a_few_kills_nothing_reported_is_missing(folder, tmp_path, bundle_dir):
    assert rounds(folder, tmp_path / "index", bundle_dir, kills=6, seed=1) >= 1


@pytest.mark.slow
def test_after_fifty_kills_nothing_reported_is_missing(folder, tmp_path, bundle_dir):
    assert rounds(folder, tmp_path / "index", bundle_dir, kills=50, seed=2) >= 10


def children_of(pid: int) -> list[int]:
    """The living decoders of a process, by the parent each process names in ``/proc``."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see child processes")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            command = (stat.parent / "cmdline").read_bytes()  # empty once it is dead
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"decode_worker" in command:
                found.append(int(stat.parent.name))
    return found


def test_no_decoder_outlives_its_run(folder, tmp_path, bundle_dir):
    process = start(folder, tmp_path / "index", bundle_dir)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("start"):
        pass
    pids = children_of(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_of_two_processes_one_writes_and_the_other_says_who(folder, tmp_path, bundle_dir):
    index_dir = tmp_path / "index"
    one = start(folder, index_dir, bundle_dir)
    assert one.stdout is not None
    while not one.stdout.readline().startswith("done"):
        pass
    one.send_signal(signal.SIGSTOP)  # so that it surely still holds the lock
    try:
        two = start(folder, index_dir, bundle_dir)
        _, errors = two.communicate(timeout=60)
        assert two.returncode == 1 and f"process {one.pid}" in errors and "IndexLocked" in errors
        assert contents(Index.open(index_dir))  # a reader is not held up
    finally:
        one.send_signal(signal.SIGCONT)
    one.communicate(timeout=120)
    assert one.returncode == 0 and len(contents(Index.open(index_dir))) == N_VIDEOS


def test_readers_see_whole_videos_all_the_time(folder, tmp_path, bundle_dir):
    index_dir = tmp_path / "index"
    process = start(folder, index_dir, bundle_dir)
    assert process.stdout is not None
    index, reported, before = None, set(), Counter()
    for line in process.stdout:
        if not line.startswith("done "):
            continue
        reported.add(line[5:].rstrip("\n"))
        if index is None:
            index = Index.open(index_dir)
        else:
            index.refresh()
        found = contents(index)
        assert set(found) >= reported and found >= before  # videos only come
        before = found
    assert process.wait(timeout=60) == 0 and len(reported) == N_VIDEOS
    assert set(contents(Index.open(index_dir))) == reported
