"""Every verb of the command line, run as its users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

from cli.conftest import Library, Run
from index.clips import write_video

FIELDS = {
    "video",
    "video_id",
    "start_s",
    "end_s",
    "best_s",
    "score",
    "recall_score",
    "rerank_score",
    "confidence",
    "reasons",
    "steps",
}


def names(answer: dict) -> list[str]:
    return [Path(result["video"]).name for result in answer["results"]]


def test_index_says_what_failed_and_exits_1(library: Library):
    assert library.built.code == 1
    report = library.built.json
    assert (report["n_files"], report["n_new"], report["n_failed"]) == (4, 3, 1)
    assert [Path(failure["path"]).name for failure in report["failures"]] == ["broken.mp4"]


def test_index_again_has_nothing_to_do(library: Library, run: Run):
    again = run("index", library.videos, "--index", library.index)
    assert "Nothing to do" in again.out
    assert "1 of 4 failed" in again.err
    assert again.code == 1


def test_search_finds_the_right_video(library: Library, run: Run):
    answer = run("search", "a red screen", "--index", library.index, "--json").json
    assert set(answer) >= {"query", "elapsed_ms", "results"}
    assert answer["query"] == "a red screen"
    assert set(answer["results"][0]) == FIELDS
    assert names(answer)[0] == "red.mp4"
    assert answer["good_match"] is True


def test_search_lands_on_the_moment(library: Library, call: Run):
    best = call("search", "green", "--index", library.index, "--json").json["results"][0]
    assert Path(best["video"]).name == "blue-then-green.mp4"
    assert 3.0 <= best["start_s"] <= best["best_s"] < best["end_s"] <= 8.2


def test_search_takes_order_and_words_beside_an_image(library: Library, call: Run, tmp_path: Path):
    ordered = call("search", "blue THEN green", "--index", library.index, "-k", 1)
    assert ordered.out.splitlines()[0].endswith("blue-then-green.mp4")
    assert ordered.out.splitlines()[1].startswith("   blue 0:00.0-")
    assert ", then green 0:" in ordered.out
    picture = tmp_path / "green.png"
    Image.new("RGB", (64, 48), (20, 200, 30)).save(picture)
    both = call("search", "blue", "--image", picture, "--index", library.index, "--json").json
    assert (both["query"], both["results"][0]["steps"]) == ("image and blue", [])
    wrong = call("search", "a AND", "--index", library.index, "--json")
    assert json.loads(wrong.err.splitlines()[-1])["error"] == {
        "type": "QueryError",
        "message": "Something to look for is missing at the end.",
        "at": 5,
    }


def test_a_sentence_alone_is_a_search(library: Library, run: Run):
    found = run("a red screen", "--index", library.index, "-k", 1)
    assert found.code == 0
    assert found.out.startswith("1  0:00.0-")
    assert "red.mp4" in found.out
    assert "clips searched in" in found.err


def test_nothing_to_find_is_said_and_guesses_are_listed(library: Library, call: Run):
    found = call("search", "a zebra crossing", "--index", library.index)
    assert found.code == 0
    assert found.out.startswith("No good match. Best guesses:\n")
    assert len(found.out.splitlines()) > 1


def test_filters(library: Library, call: Run):
    def search(*options: object) -> list[str]:
        return names(call("search", "red", "--index", library.index, "--json", *options).json)

    assert search("--in", "holiday/*") == ["yellow.mp4"]
    assert set(search("--longer", "6")) == {"blue-then-green.mp4"}
    assert "blue-then-green.mp4" not in search("--shorter", "5s")
    assert search("--after", "2999-01-01") == []
    assert search("--min-height", 4000) == []


def test_paths_only_is_for_pipes(library: Library, call: Run):
    found = call("search", "red", "--index", library.index, "-f", "-k", 50)
    lines = found.out.splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert all(Path(line).is_file() for line in lines)


def test_a_closed_pipe_is_no_error(library: Library):
    command = f"'{sys.executable}' -m finecut.cli.main ls --index '{library.index}' | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") or "3 videos" in done.stderr
    assert "Traceback" not in done.stderr


def test_search_by_image_and_by_moment(library: Library, call: Run, tmp_path: Path):
    Image.new("RGB", (90, 60), (20, 200, 30)).save(tmp_path / "green.png")
    by_image = call("search", "--image", tmp_path / "green.png", "--index", library.index, "--json")
    assert names(by_image.json)[0] == "blue-then-green.mp4"
    like = call("search", "--like", "blue-then-green.mp4@1", "--index", library.index, "--json")
    assert like.code == 0
    assert like.json["results"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search"], 2, "Give one thing to look for"),
        (["search", "red", "--like", "x.mp4@1"], 2, "got 2"),
        (["search", "red AND"], 2, "missing at the end.\n  red AND\n         ^"),
        (["search", "red", "said:hello"], 2, "holds no texts of the channel said"),
        (["search", "   "], 2, "query is empty"),
        (["search", "red", "--after", "yesterday"], 2, "yesterday"),
        (["search", "red", "--longer", "tall"], 2, "tall"),
        (["search", "red", "-k", "0"], 2, "-k"),
        (["search", "red", "--nonsense"], 2, "No such option"),
        (["search", "--image", "gone.png"], 2, "gone.png cannot be read"),
        (["search", "--like", "gone.mp4"], 1, "No video 'gone.mp4'"),
        (["rm", "gone.mp4"], 1, "gone.mp4"),
        (["cut", "only.mp4"], 2, "Give VIDEO START END"),
        (["cut", "a.mp4", "one", "two"], 2, "A time is seconds"),
        (["quality", "gone.jsonl"], 2, "gone.jsonl"),
        (["bundle", "verify", "gone"], 2, "gone"),
        (["index", "gone-folder"], 2, "gone-folder"),
        (["frobnicate"], 2, "No such command"),
        (["serch", "red"], 2, "Did you mean 'search'"),
        (["demo", "--dir", "/dev/null/demo"], 1, "/dev/null"),
    ],
)
def test_wrong_use_is_said_on_stderr(library: Library, call: Run, arguments, code, message):
    takes_index = arguments[0] in ("search", "rm", "quality", "index")
    extra = ["--index", library.index] if takes_index else []
    done = call(*arguments, *extra)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_errors_are_objects_with_json(run: Run, tmp_path: Path):
    done = run("search", "red", "--index", tmp_path / "none", "--json")
    assert (done.code, done.out) == (2, "")
    error = json.loads(done.err)["error"]
    assert error["type"] == "IndexNotFound"
    assert "finecut index" in error["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["search", "red", "--nonsense"], 2, "UsageError"),
        (["search", "red", "-k", "0"], 2, "UsageError"),
        (["frobnicate"], 2, "UsageError"),
        (["cut", "gone.mp4", "1", "2"], 1, "VideoError"),
        (["demo", "--dir", "/dev/null/demo"], 1, "NotADirectoryError"),
    ],
)
def test_every_error_is_an_object_with_json(call: Run, arguments, code, kind):
    done = call(*arguments, "--json")
    assert (done.code, done.out) == (code, "")
    assert json.loads(done.err)["error"]["type"] == kind


def test_words_need_no_quotes(library: Library, call: Run):
    answer = call("search", "a", "red", "screen", "--index", library.index, "--json").json
    assert answer["query"] == "a red screen"


def test_another_bundle_is_refused(library: Library, call: Run, tmp_path: Path):
    from color_bundle import make_color_bundle

    other = make_color_bundle(tmp_path / "other", sharpness=3.0)
    done = call("search", "red", "--index", library.index, "--bundle", other)
    assert done.code == 2
    assert "--bundle" in done.err


def test_the_index_is_found_by_the_environment(library: Library, run: Run):
    done = run("search", "red", "--json", env={"FINECUT_INDEX": str(library.index)})
    assert names(done.json)[0] == "red.mp4"


def test_info_and_ls(library: Library, call: Run):
    info = call("info", "--index", library.index, "--json").json
    assert (info["n_videos"], info["n_failed"], info["bundle"]) == (3, 1, "colors")
    assert "bundle" in call("info", "--index", library.index).out
    listed = call("ls", "--index", library.index, "--json").json["videos"]
    assert sorted(Path(row["paths"][0]).name for row in listed if row["status"] == "done") == [
        "blue-then-green.mp4",
        "red.mp4",
        "yellow.mp4",
    ]
    failed = call("ls", "--index", library.index, "--failed").out
    assert "broken.mp4" in failed and "red.mp4" not in failed


def test_rm_takes_a_video_out(library: Library, call: Run, tmp_path: Path):
    index = tmp_path / "index"
    shutil.copytree(library.index, index)
    assert call("rm", "red.mp4", "--index", index, "--json").json["videos"]
    assert "red.mp4" not in names(call("search", "red", "--index", index, "--json").json)
    assert (library.videos / "red.mp4").exists()


def test_cut_writes_the_moment(library: Library, call: Run, tmp_path: Path):
    out = tmp_path / "cut.mp4"
    source = library.videos / "blue-then-green.mp4"
    report = call("cut", source, "0:05", "7", "-o", out, "--reencode", "always", "--json").json
    assert (report["start_s"], report["end_s"], report["copied"]) == (5.0, 7.0, False)
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10
    again = call("cut", source, 5, 7, "-o", out)
    assert again.code == 2 and "exists" in again.err


def test_cut_by_a_name_in_the_index(library: Library, run: Run, tmp_path: Path):
    name, out = "blue-then-green.mp4", tmp_path / "c.mp4"
    done = run("cut", name, 1, 2, "-o", out, "--index", library.index, cwd=tmp_path)
    assert (done.code, out.is_file()) == (0, True), done.err
    gone = run("cut", "gone.mp4", 1, 2, "--index", library.index, cwd=tmp_path)
    assert gone.code == 1 and "gone.mp4" in gone.err


def test_cut_by_query(library: Library, run: Run, tmp_path: Path):
    out = tmp_path / "green.mp4"
    done = run("cut", "--query", "green", "-o", out, "--index", library.index)
    assert done.code == 0, done.err
    with av.open(str(out)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24").mean((0, 1))
    assert picture[1] > 120 and picture[2] < 120


def test_quality_has_the_published_shape(library: Library, call: Run, tmp_path: Path):
    lines = [
        {"query": "red", "video": "red.mp4"},
        {"query": "green", "video": "blue-then-green.mp4", "start_s": 4, "end_s": 8},
    ]
    queries = tmp_path / "q.jsonl"
    queries.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = call("quality", queries, "--index", library.index, "--json").json
    assert (answer["n_queries"], answer["n_gallery"]) == (2, 3)
    assert set(answer["recall"]) == {"r_at_1", "r_at_5", "r_at_10", "mdr", "mnr"}
    assert set(answer["moments"]) == {"r_at_1_iou_0.5", "miou"}
    assert answer["rerank"]["r_at_1"] == 100.0
    assert "R@1" in call("quality", queries, "--index", library.index).out


def test_bundle_verbs(library: Library, call: Run):
    assert call("bundle", "inspect", library.bundle, "--json").json["name"] == "colors"
    assert "recall 12" in call("bundle", "inspect", library.bundle).out
    assert call("bundle", "verify", library.bundle, "--json").json["ok"] is True
    assert "starter" in call("bundle", "ls").out
    models = call("models", "--json").json
    assert "starter" in [bundle["name"] for bundle in models["installed"]]
    assert all(tower["source"] and "missing_packages" in tower for tower in models["exportable"])
    assert "not measured by us" in call("models").out


def test_verify_finds_a_changed_file(library: Library, call: Run, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(library.bundle, broken)
    with (broken / "text.onnx").open("r+b") as file:
        file.write(b"x")
    done = call("bundle", "verify", broken)
    assert done.code == 1
    assert "fail" in done.out and "text.onnx" in done.out


def test_doctor(library: Library, run: Run):
    report = run("doctor", "--index", library.index, "--json").json
    assert report["ok"] is True
    assert {row["check"] for row in report["checks"]} >= {
        "python",
        "packages",
        "decode",
        "bundle",
        "index",
        "space",
        "port",
    }


def test_doctor_says_what_to_do(call: Run, tmp_path: Path):
    done = call("doctor", "--index", tmp_path / "none")
    assert done.code == 0  # no index yet is no fault
    assert "finecut index FOLDER" in done.out
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "index.json").write_text("{")
    done = call("doctor", "--index", broken)
    assert done.code == 1
    assert "fail  index" in done.out


def test_flops_prints_the_published_ratios(call: Run):
    ratios = call("flops", "--json").json["published_ratios"]
    assert [round(ratio) for ratio in ratios.values()] == [14, 39, 20, 126]
    assert "13.8" in call("flops").out


def test_data_check(call: Run, tmp_path: Path):
    (tmp_path / "mine.jsonl").write_text('{"video": "a.mp4", "caption": "a red screen"}\n')
    done = call("data", "check", tmp_path, "--json")
    assert done.code == 1  # the video is missing
    assert done.json["splits"][0]["missing"] == ["a.mp4"]
    assert "missing a.mp4" in call("data", "check", tmp_path).err


def test_interrupted_indexing_goes_on(library: Library, run: Run, tmp_path: Path):
    import signal
    import time

    for number in range(30):
        write_video(tmp_path / "v" / f"{number}.mp4", ["red", "blue"], seconds=6, seed=number)
    index = tmp_path / "index"
    arguments = ["index", str(tmp_path / "v"), "--index", str(index)]
    process = subprocess.Popen(
        [sys.executable, "-m", "finecut.cli.main", *arguments, "--bundle", str(library.bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # As soon as the index is there the run is under way.
    deadline = time.monotonic() + 60
    while not (index / "index.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (130, 0), err
    if process.returncode == 130:
        assert "goes on from here" in err
    assert run(*arguments, "--json").code == 0
    assert run("info", "--index", index, "--json").json["n_videos"] == 30


def test_odd_file_names_are_printed(library: Library, run: Run, tmp_path: Path):
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x8e\xac [red] \x1b[31m.mp4")
    write_video(tmp_path / "v" / "x.mp4", ["red"], seed=9).rename(tmp_path / "v" / name)
    index = tmp_path / "index"
    done = run("index", tmp_path / "v", "--index", index, "--bundle", library.bundle)
    assert done.code == 0, done.err
    listed = run("ls", "--index", index).out
    assert "caf" in listed and "\\x1b[31m" in listed and "\x1b" not in listed
    found = run("search", "red", "--index", index, "--json").json["results"]
    assert found[0]["video"].endswith("\x1b[31m.mp4")
    command = [sys.executable, "-m", "finecut", "search", "red", "--index", index, "-f"]
    piped = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    assert os.fsdecode(piped.stdout.rstrip(b"\n")) == str(tmp_path / "v" / name)


def test_weights_are_tuned_and_kept_only_when_told_to(library: Library, call: Run, tmp_path: Path):
    videos = tmp_path / "v"
    for seed, name in enumerate(("sunrise", "harbour")):
        write_video(videos / f"{name}.mp4", ["red"], seconds=3, seed=seed)
    index = tmp_path / "index"
    assert call("index", videos, "--index", index, "--bundle", library.bundle).code == 0
    queries = tmp_path / "queries.jsonl"
    lines = [{"query": name, "video": f"{name}.mp4"} for name in ("sunrise", "harbour")] * 6
    queries.write_text("\n".join(json.dumps(line) for line in lines))
    shown = call("search", "harbour", "--index", index, "-k", 1)
    assert 'named: "harbour"' in shown.out.splitlines()[1] and "picture 0." in shown.out
    measured = call("quality", queries, "--index", index)
    assert "fused   100.0" in measured.out
    tried = call("quality", queries, "--index", index, "--tune")
    assert tried.code == 0 and "12 queries, 12 of them answered by words" in tried.out
    assert "Nothing was changed" in tried.err and not (index / "fusion.json").exists()
    kept = call("quality", queries, "--index", index, "--tune", "--save", "--json").json
    assert kept["saved"] == str(index / "fusion.json")
    assert json.loads((index / "fusion.json").read_text())["weights"] == kept["weights"]
    assert call("quality", queries, "--index", index, "--save").code == 2
