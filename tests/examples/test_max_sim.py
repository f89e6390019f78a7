"""The example plugin: found by its entry point, trained, saved, exported, indexed and searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from finecut.errors import UsageError
from finecut.learn.checkpoint import load_checkpoint, method_name, save_checkpoint
from finecut.learn.encoders.tiny import TINY
from finecut.learn.methods.protocol import Method

SOURCE = Path(__file__).parents[2] / "examples" / "max-sim"
COLOURS = {"red": (200, 30, 30), "green": (30, 170, 40), "blue": (30, 50, 200)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What installing the package leaves in site-packages: its file, and its entry points."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    (site / "max_sim.py").write_text((SOURCE / "max_sim.py").read_text())
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "max_sim", raising=False)
    import max_sim

    yield max_sim
    sys.modules.pop("max_sim", None)


def build(plugin):
    from finecut.learn.encoders.tiny import tiny_clip

    return plugin.MaxSim(plugin.MaxSimConfig(TINY, max_frames=4, max_words=12), tiny_clip(1))


def batch():
    from finecut.learn.encoders.tiny import tiny_tokenizer
    from finecut.learn.methods.protocol import Batch
    from finecut.learn.preprocess import normalise

    colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    pixels = normalise(colours.view(3, 1, 1, 1, 3).expand(-1, 2, 32, 32, -1))
    ids, _ = tiny_tokenizer()([f"a {colour} screen" for colour in COLOURS], max_words=12)
    mask = torch.ones(3, 2, dtype=torch.bool)
    return Batch({"pixels": pixels, "frame_mask": mask}, {"input_ids": ids})


def test_it_is_short_and_a_method(plugin) -> None:
    code = [line for line in (SOURCE / "max_sim.py").read_text().splitlines() if line.strip()]
    assert len(code) < 100
    assert isinstance(build(plugin), Method)


def test_a_checkpoint_finds_it_by_its_entry_point(plugin, tmp_path: Path) -> None:
    model = build(plugin).eval()
    assert method_name(model) == "max-sim"
    again = load_checkpoint(save_checkpoint(model, tmp_path / "checkpoint"))
    text, video = batch().text, batch().video
    with torch.no_grad():
        want = model.rerank(model.encode_text(**text), model.encode_video(**video)).scores
        got = again.rerank(again.encode_text(**text), again.encode_video(**video)).scores
    torch.testing.assert_close(got, want)


def test_without_the_package_its_checkpoints_say_who_is_missing(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(installed))
        import max_sim

        folder = save_checkpoint(build(max_sim), tmp_path / "checkpoint")
        sys.modules.pop("max_sim")
    with pytest.raises(UsageError, match="No method is called 'max-sim'; available"):
        load_checkpoint(folder)


@pytest.mark.slow
def test_trained_exported_indexed_and_searched(plugin, installed: Path, tmp_path: Path) -> None:
    model, data = build(plugin).train(), batch()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(30):
        optimiser.zero_grad()
        model.loss(data)["loss"].backward()
        optimiser.step()
    folder = save_checkpoint(model.eval(), tmp_path / "checkpoint")
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, colour in COLOURS.items():
        with av.open(str(videos / f"{name}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            picture = np.full((48, 64, 3), colour, np.uint8)
            for _ in range(10):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode())

    def finecut(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "finecut.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=os.environ | {"PYTHONPATH": str(installed)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    bundle, index = tmp_path / "bundle", tmp_path / "index"
    finecut("export", folder, bundle)
    finecut("index", videos, "--index", index, "--bundle", bundle)
    for colour in COLOURS:
        answer = finecut("search", f"a {colour} screen", "--index", index, "--json")
        best = json.loads(answer)["results"][0]
        assert Path(best["video"]).stem == colour
        assert best["rerank_score"] is not None
