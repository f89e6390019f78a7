"""One's own videos, from a folder to a search, by the real command line and no download."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Run
from learn.data.small_set import write_set

RECIPE = Path(__file__).parents[2] / "recipes" / "finetune-starter.toml"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("own"), name="captions")


def test_train_export_index_and_search(videos: Path, tmp_path: Path, call: Run):
    run, bundle, index = tmp_path / "run", tmp_path / "bundle", tmp_path / "index"
    settings = ("epochs=6", "lr=3e-3", "batch_size=8", "early_stop=0")
    trained = call(
        "train", RECIPE, "--data", videos, "--output", run, "--json",
        *(word for value in settings for word in ("--set", f"train.{value}")),
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.json["epochs"] == 6 and trained.json["best"]
    measured = call("evaluate", run, "--data", videos, "--split", "captions", "--json")
    assert measured.code == 0, measured.err
    assert measured.json["t2v"]["r_at_5"] == 100
    exported = call("export", run, bundle, "--json")
    assert exported.code == 0, exported.err
    assert exported.json["method"] == "laff-starter"
    assert max(exported.json["largest_difference"].values()) < 1e-4
    indexed = call("index", videos, "--index", index, "--bundle", bundle, "--json")
    assert indexed.code == 0, indexed.err
    held_out = {"red", "green", "blue", "yellow", "white"}
    found = {
        colour: call("search", f"a {colour} screen glows", "--index", index, "--json", "-k", "1")
        for colour in sorted(held_out)
    }
    right = [c for c, ran in found.items() if Path(ran.json["results"][0]["video"]).stem == c]
    assert len(right) >= 4  # all but the one that was held out for validation
    assert call("bundle", "verify", bundle).code == 0
