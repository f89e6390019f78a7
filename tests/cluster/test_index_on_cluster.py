"""`finecut index --cluster`: the same index as one machine makes, whatever is lost on the way."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'finecut[cluster]'")

from cluster.contents import assert_same_index, clips_of
from cluster.ray_nodes import RayNodes
from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.index.store import Index
from index.clips import RGB, write_video

N_VIDEOS = 16


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory) -> Path:
    return make_color_bundle(tmp_path_factory.mktemp("bundles") / "colors")


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with RayNodes(workers=3) as nodes:
        yield nodes


def make_library(folder: Path, count: int = N_VIDEOS) -> Path:
    """Videos of one to three clips, one twice, two that cannot be read, one with subtitles."""
    names = list(RGB)
    for number in range(count):
        colors = [names[(number + turn) % 6] for turn in range(1 + number % 3)]
        write_video(folder / f"{number:02d}.mp4", colors, seconds=3, seed=number)
    shutil.copy(folder / "01.mp4", folder / "copy of 01.mp4")
    (folder / "02.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\na red door\n")
    (folder / "broken.mp4").write_bytes(b"no video at all " * 100)
    whole = (folder / "03.mp4").read_bytes()
    (folder / "cut off.mp4").write_bytes(whole[: len(whole) // 3])
    return folder


def change_library(folder: Path) -> None:
    """New, moved, removed and rewritten files, and new words."""
    write_video(folder / "sub" / "new.mp4", ["red", "white"], seconds=3, seed=77)
    (folder / "04.mp4").rename(folder / "sub" / "04 moved.mp4")
    (folder / "05.mp4").unlink()
    write_video(folder / "06.mp4", ["blue"], seconds=4, seed=78)
    (folder / "07.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\na green door\n")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "finecut.cli.main", "index", *map(str, arguments)]


def finecut_index(*arguments: object, code: int = 0) -> dict:
    """Run the real command; its report."""
    done = subprocess.run(
        [*command(*arguments), "--json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "ray::" not in done.stderr
    return json.loads(done.stdout)


def comparable(report: dict) -> dict:
    """A report without what time and place make of it."""
    own = ("index", "elapsed_s", "x_realtime", "stages_s", "bytes_per_video_hour")
    left = {name: value for name, value in report.items() if name not in own}
    left["failures"] = sorted(left["failures"], key=lambda failure: failure["path"])
    left["text_notes"] = sorted(left["text_notes"], key=lambda note: note["path"])
    return left


def test_the_index_is_that_of_one_machine(nodes, bundle_dir, tmp_path):
    """First all of it, then what changed: new, moved, removed and touched files, other words."""
    folder = make_library(tmp_path / "videos")
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    common = ("--bundle", bundle_dir)
    for change in (lambda folder: None, change_library):
        change(folder)
        local = finecut_index(folder, "--index", own, *common, code=1)
        far = finecut_index(folder, "--index", theirs, *common, "--cluster", nodes.address, code=1)
        assert local.keys() == far.keys()
        assert comparable(local) == comparable(far)
        assert_same_index(own, theirs)
    assert local["n_new"] == 1 and local["n_moved"] == 1 and local["n_removed"] == 1
    assert local["n_changed"] == 1 and local["n_texts"] == 2  # new names, new subtitles
    # A third time there is nothing to do, and no cluster is asked.
    again = finecut_index(folder, "--index", theirs, *common, "--cluster", "auto", code=1)
    assert again["nothing_to_do"]


def test_workers_and_nodes_are_lost(nodes, bundle_dir, tmp_path):
    folder = make_library(tmp_path / "videos", 30)
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    build_index([folder], own, Bundle.load(bundle_dir, threads=1))
    chance = random.Random(7)
    process = subprocess.Popen(
        [
            *command(folder, "--index", theirs, "--bundle", bundle_dir, "--json"),
            "--cluster",
            nodes.address,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    nodes.wait_for_work()
    lost = 0
    for lose in (nodes.kill_worker, nodes.kill_node, nodes.kill_worker):
        lost += lose(chance)
        time.sleep(chance.uniform(0.5, 2.0))
        if process.poll() is not None:
            break
    out, err = process.communicate(timeout=300)
    nodes.add()
    assert lost >= 2, "the run was over before anything could be lost"
    assert process.returncode == 1, err  # as two files are broken
    report = json.loads(out)
    assert report["n_new"] == 30 and report["n_failed"] == 2 and report["n_left"] == 0
    assert_same_index(own, theirs)


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(nodes, bundle_dir, tmp_path):
    folder = make_library(tmp_path / "videos")
    place = tmp_path / "index"
    arguments = (folder, "--index", place, "--bundle", bundle_dir, "--cluster", nodes.address)
    process = subprocess.Popen(
        [*command(*arguments), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    nodes.wait_for_work()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    report = json.loads(out)
    assert report["stopped"]
    assert "once more to stop at once" in err
    done = sum(row.status == "done" for row in Index.open(place).videos)
    assert report["n_left"] == N_VIDEOS + 2 - done - report["n_failed"]
    report = finecut_index(*arguments, code=1)
    assert report["n_new"] == N_VIDEOS - done
    clips_of(place)


def test_there_is_no_such_cluster(bundle_dir, tmp_path):
    folder = write_video(tmp_path / "videos" / "a.mp4", seed=1).parent
    arguments = (folder, "--index", tmp_path / "index", "--bundle", bundle_dir)
    done = subprocess.run(
        command(*arguments, "--cluster", "127.0.0.1:9"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert "There is no Ray cluster at '127.0.0.1:9'" in done.stderr
    assert "ray start --head" in done.stderr and "Traceback" not in done.stderr
