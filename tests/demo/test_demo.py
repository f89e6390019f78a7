"""The demo makes its library, finds what it should, and says so; a second run reuses it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.demo import material
from finecut.demo.camera import RATE, Shot, film
from finecut.demo.library import QUESTIONS, TOUR, TOUR_SCENES, licences, write_queries
from finecut.demo.run import _build
from finecut.errors import IndexMismatch, MissingDependency
from finecut.index.build import build_index
from finecut.index.store import Index
from finecut.video.probe import probe
from index.clips import write_video

needs_material = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("skimage", "sklearn", "skvideo")),
    reason='the extra "demo" is not installed',
)


def test_a_shot_is_a_video_that_moves(tmp_path: Path):
    gradient = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
    gradient.save(tmp_path / "photo.png")
    shot = Shot(tmp_path / "photo.png", 2.0, (0.5, 0.2, 0.5), (0.5, 0.8, 0.5))
    film([shot, shot], tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4")
    assert (found.width, found.height, found.fps) == (640, 360, RATE)
    assert found.duration_s == pytest.approx(4.0, abs=0.1)
    assert not list(tmp_path.glob("*.part*"))


def test_every_source_states_a_licence():
    text = licences()
    sources = [value for value in vars(material).values() if isinstance(value, material.Source)]
    assert len(sources) == 12
    assert all(source.file in text for source in sources)
    assert all(source.licence for source in sources)


def test_missing_material_says_what_to_install():
    source = material.Source("no_such_package", "no-such-package", "x.png", "none")
    with pytest.raises(MissingDependency, match=r'pip install "finecut\[demo\]"'):
        material.find(source)


def test_the_questions_cover_what_they_should():
    assert len(QUESTIONS) == 4
    assert sum(question.video is None for question in QUESTIONS) == 1
    inside = next(question for question in QUESTIONS if question.video == TOUR)
    assert inside.scene is not None and inside.scene[1] <= 12.0 * len(TOUR_SCENES)


def test_questions_become_labelled_queries(tmp_path: Path):
    write_queries(tmp_path / "q.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [line["query"] for line in lines] == [q.query for q in QUESTIONS if q.video]
    assert [(line["start_s"], line["end_s"]) for line in lines if line["video"] == TOUR] == [
        question.scene for question in QUESTIONS if question.video == TOUR
    ]


def test_an_index_of_an_older_bundle_is_made_anew(tmp_path: Path):
    library, index = tmp_path / "library", tmp_path / "index"
    write_video(library / "red.mp4", ["red"], seed=1)
    older = Bundle.load(make_color_bundle(tmp_path / "colors"))
    assert build_index([library], index, older).n_new == 1
    said: list[str] = []
    assert _build(library, index, said.append).n_new == 1
    assert Index.open(index).meta.bundle_ref == "starter"
    assert len(said) == 1


def test_an_index_of_somebody_elses_videos_is_left_alone(tmp_path: Path):
    videos, index = tmp_path / "videos", tmp_path / "index"
    write_video(videos / "red.mp4", ["red"], seed=1)
    write_video(tmp_path / "library" / "red.mp4", ["blue"], seed=1)
    build_index([videos], index, Bundle.load(make_color_bundle(tmp_path / "colors")))
    with pytest.raises(IndexMismatch):
        _build(tmp_path / "library", index, print)
    assert len(Index.open(index).videos) == 1


@needs_material
@pytest.mark.slow
def test_demo_end_to_end(tmp_path: Path):
    def demo() -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "finecut.cli.main", "demo", "--dir", str(tmp_path), "--json"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = demo()
    assert all(answer["right"] for answer in first["answers"])
    assert first["video_s"] > 60
    with Image.open(first["contact_sheet"]) as sheet:
        assert sheet.width > 900
    second = demo()
    assert second["video_s"] == 0
    assert [a["video"] for a in second["answers"]] == [a["video"] for a in first["answers"]]
