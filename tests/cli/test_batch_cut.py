"""`finecut cut --output-dir`: many moments at once, from a search or a file of results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Library, Run
from finecut.errors import UsageError
from finecut.search.results_file import read_results
from finecut.video.cut_many import Stretch, piece_name
from finecut.video.probe import probe
from index.clips import write_video


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_moments_of_a_query(library: Library, call: Run, tmp_path: Path):
    folder = tmp_path / "made" / "cuts"
    done = call(
        "cut", "--query", "green", "-k", 2, "--output-dir", folder, "--index", library.index
    )
    assert done.code == 0
    names = files(folder)
    assert names[0] == "001_blue-then-green_4.0-8.0.mp4" and names[-1] == "manifest.json"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (
        manifest["title"] == "green" and [one["output"] for one in manifest["files"]] == names[:2]
    )
    assert probe(folder / names[0]).duration_s == pytest.approx(4.0, abs=0.3)
    again = call("cut", "--query", "green", "--output-dir", folder, "--index", library.index)
    assert again.code == 2 and "manifest.json exists already" in again.err
    assert files(folder) == names


def test_one_failure_does_not_stop_the_rest(library: Library, call: Run, tmp_path: Path):
    good = str(library.videos / "red.mp4")
    moments = [
        {"video": good, "start_s": 0, "end_s": 1},
        {"video": str(tmp_path / "gone.mp4"), "start_s": 0, "end_s": 1},
        {"video": good, "start_s": 2, "end_s": 1},
        {"video": good, "start_s": 1, "end_s": 2},
    ]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"query": "any", "results": moments}))
    folder = tmp_path / "cuts"
    folder.mkdir()
    (folder / "004_red_1.0-2.0.mp4").write_bytes(b"mine")
    done = call("cut", "--from", listed, "--output-dir", folder, "--json")
    assert done.code == 1 and "3 of 4 failed" in done.err
    errors = [one.get("error", "") for one in done.json["files"]]
    assert [bool(error) for error in errors] == [False, True, True, True]
    assert "no such file" in errors[1] and "later time" in errors[2] and "exists" in errors[3]
    assert done.json["n_failed"] == 3
    assert files(folder) == ["001_red_0.0-1.0.mp4", "004_red_1.0-2.0.mp4", "manifest.json"]
    assert (folder / "004_red_1.0-2.0.mp4").read_bytes() == b"mine"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"] == done.json["files"]


@pytest.mark.parametrize("name", ["json", "csv", "edl"])
def test_what_a_search_wrote_is_cut(library: Library, call: Run, tmp_path: Path, name: str):
    listed = tmp_path / f"found.{name}"
    call("search", "green", "--index", library.index, "-k", 2, "-o", listed)
    stretches, title = read_results(listed.read_bytes(), name)
    assert title == ("" if name == "csv" else "green")
    first = stretches[0]
    assert Path(first.video).name == "blue-then-green.mp4"
    assert (first.start_s, first.end_s) == pytest.approx((4.0, 8.0), abs=0.05)
    done = call("cut", "--from", listed, "--output-dir", tmp_path / "cuts")
    assert done.code == 0 and done.out.splitlines()[0].startswith(
        os.path.relpath(tmp_path / "cuts" / "001_blue")
        if len(os.path.relpath(tmp_path)) < len(str(tmp_path))
        else str(tmp_path / "cuts" / "001_blue")
    )


def test_a_search_is_piped_into_a_cut(library: Library, run: Run, tmp_path: Path):
    found = run("search", "green", "--index", library.index, "-k", 1, "--json")
    command = [sys.executable, "-m", "finecut", "cut", "--from", "-", "--output-dir", "cuts"]
    done = subprocess.run(
        command, cwd=tmp_path, input=found.out, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "001_blue-then-green_4.0-8.0.mp4" in files(tmp_path / "cuts")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "a", "-k", "3"], "--output-dir DIR"),
        (["--from", "x.json"], "--output-dir DIR"),
        (["--output-dir", "d"], "Say which moments"),
        (["--output-dir", "d", "--query", "a", "--from", "x"], "Say which moments"),
        (["--output-dir", "d", "--query", "a", "-n", "2"], "without VIDEO, -o and -n"),
        (["--output-dir", "d", "--from", "none.json"], "cannot be read"),
    ],
)
def test_wrong_use(library: Library, call: Run, tmp_path: Path, arguments, message):
    done = call("cut", *arguments, "--index", library.index, cwd=tmp_path)
    assert done.code == 2 and message in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no list of moments"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"results": 3}', "holds no list"),
        (b'[{"video": "a"}]', "entry 1: expected video, start_s and end_s"),
        (b'[{"video": 1, "start_s": 0, "end_s": 1}]', "must be a path"),
        (b'[{"video": "a", "start_s": NaN, "end_s": 1}]', "must be finite"),
        (b"video,start_s\na,1\n", "no list of moments"),
        (b"video,start_s,end_s\na,x,1\n", "row 1: expected"),
        (
            b"TITLE: x\n001  AX V C 00:00:01:00 00:00:02:00 01:00:00:00 01:00:01:00\n",
            "event 1: names no SOURCE FILE",
        ),
    ],
)
def test_a_list_that_is_none_is_said(data: bytes, message: str):
    with pytest.raises(UsageError, match=message):
        read_results(data, "list")


def test_an_edl_of_odd_names_is_read_back(tmp_path: Path):
    odd = tmp_path / "a  b\n#.mp4"
    write_video(tmp_path / "x.mp4", ["red"], seconds=3, fps=25).rename(odd)
    event = "001  AX V C 00:00:01:00 00:00:02:05 01:00:00:00 01:00:01:05"
    edl = f"TITLE: t\n{event}\n* SOURCE FILE: {odd.as_uri()}\n"
    assert read_results(edl.encode(), "edl")[0] == [Stretch(str(odd), 1.0, 2.2)]


def test_names_are_safe_everywhere():
    long = piece_name(12, Stretch("/v/" + "ö" * 200 + ".mov", 1, 2))
    assert len(long.encode()) < 200 and long.endswith(".mov")
    assert piece_name(1, Stretch("/v/\udcff...avi", 0, 1)) == "001___0.0-1.0.mp4"
    assert piece_name(1, Stretch("/v/ .mp4", 0, 1)) == "001_video_0.0-1.0.mp4"
