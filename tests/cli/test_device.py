"""`--device`: an index made by OpenVINO answers as one made by onnxruntime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.conftest import Library, Run


def answers(call: Run, library: Library, index: Path) -> list[tuple[str, float]]:
    found = call("search", "a yellow screen", "--index", index, "--json").json
    return [(Path(hit["video"]).name, hit["score"]) for hit in found["results"]]


def test_openvino_makes_an_index_that_onnxruntime_searches(
    library: Library, run: Run, call: Run, tmp_path: Path
):
    pytest.importorskip("openvino", reason='needs pip install "finecut[openvino]"')
    made = run(
        "index", library.videos, "--index", tmp_path, "--bundle", library.bundle,
        "--device", "openvino", "--json",
    )  # fmt: skip
    assert made.json["n_new"] == library.built.json["n_new"] == 3
    ours, theirs = (answers(call, library, place) for place in (tmp_path, library.index))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=0.02)


def test_what_is_not_installed_is_refused_before_any_work(
    library: Library, call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = tmp_path / "index"
    there = ("index", library.videos, "--index", index)
    done = call(*there, "--device", "abacus")
    assert done.code == 2 and "The provider 'abacus' is not in" in done.err
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = call(*there, "--device", "openvino")
    assert done.code == 2 and 'pip install "finecut[openvino]"' in done.err
    assert not index.exists()


def test_it_is_for_this_machine(library: Library, call: Run):
    done = call("index", library.videos, "--device", "cpu", "--cluster", "auto")
    assert done.code == 2 and "--device is for this machine" in done.err


def test_doctor_says_what_can_encode(call: Run, library: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    said = call("doctor", "--index", library.index).out
    assert 'OpenVINO is not installed (pip install "finecut[openvino]")' in said
