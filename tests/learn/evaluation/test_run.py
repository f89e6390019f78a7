"""A run evaluated from its folder: caches, interruption, bank, standing, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import ones

from finecut.errors import FinecutError, UsageError
from finecut.learn.evaluation.cache import PartCache
from finecut.learn.evaluation.run import Options, evaluate_run, logit_scale, read_bank
from finecut.learn.evaluation.standing import standing
from finecut.learn.methods.laff_starter import LaffStarter, LaffStarterConfig
from index.clips import write_video
from learn.evaluation.small_run import make_run, make_videos

EVERYTHING = Options(dsl=True, qbnorm=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def parts_of(run: Path) -> dict[str, int]:
    """Cached files and when they were written."""
    return {str(p): p.stat().st_mtime_ns for p in (run / "evaluation-cache").rglob("*.safetensors")}


def test_every_block_is_there_when_asked_for(run: Path, videos: Path) -> None:
    found = evaluate_run(run, "test", root=videos, options=EVERYTHING).to_json()
    assert found["queries"] == 10 and found["gallery"] == 5 and found["protocol"] == "multi"
    assert found["reranked"]["recall_k"] == 3 and 0 <= found["reranked"]["recall_loss"] <= 100
    assert found["qbnorm"]["bank_size"] == 7 and found["qbnorm"]["beta"] == 20.0
    assert found["dsl"]["bank_size"] == 10
    # the recipe's temperature is of logits; ours, as reported, of similarities
    assert found["dsl"]["temperature"] == pytest.approx(0.07, rel=0.01)
    plain = evaluate_run(run, "test", root=videos, options=Options(rerank=False)).to_json()
    assert not {"reranked", "dsl", "qbnorm"} & plain.keys()
    assert plain["t2v"] == found["t2v"] and plain["v2t"] == found["v2t"]


def test_a_second_evaluation_encodes_nothing_and_says_the_same(run: Path, videos: Path) -> None:
    first = evaluate_run(run, "test", root=videos, options=EVERYTHING)
    before = parts_of(run)
    assert len(before) == 5 + 3  # sentences and videos, two a part
    again = evaluate_run(run, "test", root=videos, options=EVERYTHING)
    assert parts_of(run) == before
    assert again.ranks() == first.ranks()
    without = evaluate_run(run, "test", root=videos, options=Options(cache=False))
    assert without.ranks()["plain"] == first.ranks()["plain"]
    assert without.ranks()["reranked"] == first.ranks()["reranked"]


def test_a_damaged_part_is_made_again(run: Path, videos: Path) -> None:
    first = evaluate_run(run, "test", root=videos)
    part = sorted(Path(p) for p in parts_of(run))[-1]
    part.write_bytes(part.read_bytes()[:100])
    assert evaluate_run(run, "test", root=videos).ranks() == first.ranks()
    assert part.stat().st_size > 100
    for foreign in (
        {"other": ones(1, 3)},
        {"recall": ones(2, 3)},
        {"recall": ones(1), "x": ones(1)},
    ):
        save_file(foreign, part)
        assert evaluate_run(run, "test", root=videos).ranks() == first.ranks()


def test_other_videos_or_weights_are_other_parts(run: Path, tmp_path: Path, videos: Path) -> None:
    copy = Path(shutil.copytree(videos, tmp_path / "copy"))
    evaluate_run(run, "test", root=copy)
    before = parts_of(run)
    write_video(copy / "clip 0.mp4", ["white"], seconds=1.0, seed=9)  # the same name, other content
    changed = evaluate_run(run, "test", root=copy)
    assert len(parts_of(run)) == 2 * len(before)
    fresh = evaluate_run(run, "test", root=copy, options=Options(cache=False))
    assert changed.ranks() == fresh.ranks()
    other = make_run(tmp_path / "other", seed=5)
    for name in ("model.safetensors", "checkpoint.json"):
        shutil.copy(other / name, run / name)
    evaluate_run(run, "test", root=copy)
    assert len(parts_of(run)) == len(before)  # those of the old weights are gone


def test_a_killed_evaluation_goes_on_where_it_was(run: Path, videos: Path, tmp_path: Path) -> None:
    """The real program, killed between two parts, then run again."""
    whole = make_run(tmp_path / "whole")
    expected = evaluate_run(whole, "test", root=videos, options=EVERYTHING).to_json()
    arguments = ["evaluate", run, "--data", videos, "--split", "test", "--dsl", "--qbnorm"]
    slowly = (  # each part waits: the process is in the middle when it is killed
        "import sys, time\n"
        "from finecut.learn.evaluation.cache import PartCache\n"
        "save = PartCache.save\n"
        "def later(self, *args):\n"
        "    time.sleep(0.3)\n"
        "    return save(self, *args)\n"
        "PartCache.save = later\n"
        "from finecut.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    words = [str(word) for word in arguments]
    process = subprocess.Popen([sys.executable, "-c", slowly, *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(kept := parts_of(run)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = parts_of(run)
    assert 2 <= len(kept) < 8, "killed before the first part or after the last"
    done = subprocess.run(
        [sys.executable, "-m", "finecut.cli.main", *words, "--json"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout) == expected
    after = parts_of(run)
    assert len(after) == 8 and {path: after[path] for path in kept} == kept


def test_a_missing_video_makes_the_run_not_standard(
    run: Path, tmp_path: Path, videos: Path
) -> None:
    copy = Path(shutil.copytree(videos, tmp_path / "copy"))
    (copy / "clip 3.mp4").unlink()
    found = evaluate_run(run, "test", root=copy).to_json()
    assert (found["gallery"], found["queries"], found["missing"]) == (4, 8, 1)
    assert found["standard"] is False
    assert "1 videos are missing or cannot be read" in found["why_not"]


class _Split:
    def __init__(self, videos: int, sentences: int, published: tuple, missing: int = 0) -> None:
        self.video_ids = ["v"] * videos
        self.sentences = ["s"] * sentences
        self.published = published
        self.missing = ["m"] * missing
        self.split, self.protocol = "1k-A", "single"


@pytest.mark.parametrize(
    ("split", "why"),
    [
        (_Split(1000, 1000, (1000, 1000)), ""),
        (_Split(999, 999, (1000, 1000), 1), "1 videos are missing"),
        (_Split(999, 999, (1000, 1000)), "999 videos are annotated, published 1000"),
        (_Split(1000, 990, (1000, 1000)), "990 sentences, published 1000"),
        (_Split(3, 3, (None, None)), "no published size"),
    ],
)
def test_standard_is_the_whole_published_gallery_alone(split: _Split, why: str) -> None:
    facts = standing(split, published=split.published)  # type: ignore[arg-type]
    assert facts["standard"] is (why == "")
    assert why in facts["why_not"]


def test_a_checkpoint_chosen_on_the_test_split_says_so() -> None:
    split = _Split(1000, 1000, (1000, 1000))
    assert "chosen on this split" in standing(split, chosen_on="1k-A")["note"]  # type: ignore[arg-type]
    assert "note" not in standing(split, chosen_on="validation")  # type: ignore[arg-type]


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path, videos: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        evaluate_run(tmp_path / "nowhere", "test", root=videos)
    with pytest.raises(FinecutError, match="no split 'val'"):
        evaluate_run(run, "val", root=videos)
    with pytest.raises(UsageError, match="NOWHERE, which is not set"):
        evaluate_run(run, "test")
    with pytest.raises(UsageError, match="--device 'warp'"):
        evaluate_run(run, "test", root=videos, options=Options(device="warp"))
    (run / "query_bank.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has no query_bank\.safetensors"):
        evaluate_run(run, "test", root=videos, options=EVERYTHING)
    (run / "recipe.toml").unlink()
    with pytest.raises(UsageError, match="it lacks one of them"):
        evaluate_run(run, "test", root=videos)


def test_the_bank_is_recall_vectors(run: Path) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    assert read_bank(run).shape == (7, 64) and read_bank(run).dtype == np.float32
    save_file({"other": zeros(2, 3)}, run / "query_bank.safetensors")
    with pytest.raises(UsageError, match=r"expected a tensor recall \[N, R\], got .*\[2, 3\]"):
        read_bank(run)


def test_only_methods_that_scale_their_logits_have_a_scale() -> None:
    from learn.tiny_models import TINY_MODELS, tiny_clip

    clip = tiny_clip(0)
    model = TINY_MODELS["laff-clip"].build(clip)
    assert logit_scale("clip4clip", model) == pytest.approx(float(clip.logit_scale.exp()))
    assert logit_scale("laff-clip", model) == 1.0
    starter = LaffStarter(LaffStarterConfig(common_dim=32, scale=20.0))
    assert logit_scale("laff-starter", starter) == pytest.approx(20.0)


def test_parts_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import zeros

    cache = PartCache(tmp_path, "a" * 64, ["x"])

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        cache.save("videos", 0, {"recall": zeros(1, 2)})
    assert list(cache.folder.iterdir()) == []
    assert cache.load("videos", 0) is None


def test_a_video_that_breaks_midway_is_left_out_and_named(
    run: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finecut.errors import VideoError
    from finecut.learn.data import video_pairs

    read = video_pairs.read_frames

    def breaks(footage, *rest):
        if footage.files[0].name == "clip 2.mp4":
            raise VideoError("clip 2.mp4: damaged", reason="no frame decodes")
        return read(footage, *rest)

    monkeypatch.setattr(video_pairs, "read_frames", breaks)
    found = evaluate_run(run, "test", root=videos).to_json()
    assert (found["gallery"], found["queries"], found["missing"]) == (4, 8, 1)
    assert list(found["unreadable"]) == ["clip 2.mp4"] and found["standard"] is False
    assert "1 videos are missing or cannot be read" in found["why_not"]


def test_the_validation_split_is_named_as_the_one_chosen_on(run: Path, tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos")
    (root / "test.jsonl").rename(root / "train.jsonl")  # 5 % of it, one video, is held out
    found = evaluate_run(run, "validation", root=root, options=Options(cache=False)).to_json()
    assert found["gallery"] == 1 and "chosen on this split" in found["note"]
    rest = evaluate_run(run, "train", root=root, options=Options(cache=False)).to_json()
    assert rest["gallery"] == 4 and "note" not in rest
