"""Past states and aliases on the command line, with a real library that grows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.conftest import Library, Run
from index.clips import write_video


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, library: Library, call: Run) -> Path:
    """A folder with ``index``, made of a red video first and of a blue one after that."""
    place = tmp_path_factory.mktemp("grown")
    for color in ("red", "blue"):
        write_video(place / "videos" / f"{color}.mp4", [color], seconds=4, fps=2)
        done = call("index", "videos", "--index", "index", "--bundle", library.bundle, cwd=place)
        assert done.code == 0, done.err
    return place


def first_of(call: Run, place: Path, query: str, *more: str) -> str:
    found = call("search", query, "--index", "index", "--json", *more, cwd=place).json
    return Path(found["results"][0]["video"]).name


def one_video(call: Run, place: Path) -> int:
    """The number of the last commit with one video."""
    states = call("info", "--index", "index", "--history", "--json", cwd=place).json["history"]
    assert [state["n_videos"] for state in states] == sorted(
        (state["n_videos"] for state in states), reverse=True
    )
    return next(state["number"] for state in states if state["n_videos"] == 1)


def test_a_past_state_is_searched(grown: Path, call: Run):
    number = one_video(call, grown)
    assert first_of(call, grown, "blue") == "blue.mp4"
    assert first_of(call, grown, "blue", "--as-of", str(number)) == "red.mp4"


def test_an_index_goes_back_and_forward(grown: Path, tmp_path: Path, call: Run):
    place = tmp_path / "own"
    shutil.copytree(grown, place)
    number = one_video(call, place)
    done = call("index", "--as-of", number, "--index", "index", "--json", cwd=place)
    assert done.json["as_of"]["number"] == number
    shown = call("info", "--index", "index", cwd=place)
    assert done.json["version"] in shown.out and "1 (0:04.0 of video)" in shown.out
    again = call("index", "videos", "--index", "index", "--json", cwd=place)  # blue is new to it
    assert (again.code, again.json["n_new"]) == (0, 1)


def test_days_to_keep_are_shown(grown: Path, tmp_path: Path, call: Run):
    place = tmp_path / "own"
    shutil.copytree(grown, place)
    assert call("info", "--index", "index", "--history", cwd=place).err.count("0.0417 days") == 1
    call("index", "videos", "--index", "index", "--keep-days", "7", cwd=place)
    call("index", "videos", "--index", "index", cwd=place)
    shown = call("info", "--index", "index", "--history", "--json", cwd=place)
    assert shown.json["keep_days"] == 7.0


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["index", "--as-of", "999"], 1, "keeps no commit"),
        (["index", "--as-of", "last week"], 2, "a commit's number"),
        (["index", "videos", "--as-of", "1"], 2, "leave the folders out"),
        (["index"], 2, "Say what to index"),
        (["index", "videos", "--keep-days", "-1"], 2, "keep-days"),
        (["index", "videos", "--keep-days", "nan"], 2, "keep-days"),
        (["search", "red", "--as-of", "999"], 1, "keeps no commit"),
    ],
    ids=str,
)
def test_what_is_refused(grown: Path, call: Run, arguments: list[str], code: int, says: str):
    done = call(*arguments, "--index", "index", cwd=grown)
    assert done.code == code and says in done.err


def test_an_alias_is_taken_for_its_index(grown: Path, tmp_path: Path, call: Run):
    place = tmp_path / "own"
    shutil.copytree(grown, place)
    shutil.copytree(place / "index", place / "old")
    assert call("index", "--as-of", one_video(call, place), "--index", "old", cwd=place).code == 0
    for name, first in (("old", "red.mp4"), ("index", "blue.mp4")):
        switched = call("switch", "live", name, "--json", cwd=place).json
        assert Path(switched["index"]).name == name
        found = call("search", "blue", "--index", "live", "--json", cwd=place).json
        assert Path(found["results"][0]["video"]).name == first
    assert Path(switched["before"]).name == "old"
    assert call("info", "--index", "live", cwd=place).code == 0
    done = call("switch", "live", "nowhere", cwd=place)
    assert done.code == 2 and "no index at nowhere" in done.err
