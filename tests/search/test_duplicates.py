"""Copies among real files are found and nothing else; what was compared is not compared again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.errors import UsageError
from finecut.index.build import build_index
from finecut.index.store import Index
from finecut.search import duplicates
from finecut.search.duplicates import Group, all_pairs, groups
from search.films import FPS, film, write_film


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(make_color_bundle(tmp_path_factory.mktemp("colors") / "b"), threads=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films, five copies of the first, one that is mirrored, and a third film's copy."""
    root = tmp_path_factory.mktemp("films")
    one, other, third = film(1, 14), film(2, 14), film(3, 10)
    write_film(root / "one.mp4", one)
    write_film(root / "other.mp4", other)
    write_film(root / "small.mkv", one, size=(96, 72), crf=33)
    write_film(root / "slow.mp4", one, fps=8)
    write_film(root / "late.mp4", one[round(4.4 * FPS) :])
    write_film(root / "early.mp4", one[: 9 * FPS])
    write_film(root / "barred.mp4", one, bars=20)
    write_film(root / "mirrored.mp4", one, mirrored=True)
    write_film(root / "third.mp4", third)
    write_film(root / "third-again.mp4", third, size=(320, 240))
    (root / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def index_dir(videos: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "index"
    build_index([videos], place, bundle, workers=1)
    return place


@pytest.fixture
def index(index_dir: Path, tmp_path: Path) -> Index:
    return Index.open(shutil.copytree(index_dir, tmp_path / "index"))


def names(index: Index, group: Group) -> list[str]:
    paths = {row.video_id: row.paths[0] for row in index.videos}
    return [Path(paths[video]).name for video in group.videos]


def test_copies_are_grouped_and_nothing_else(index: Index):
    found = groups(index)
    assert [set(names(index, group)) for group in found] == [
        {"one.mp4", "small.mkv", "slow.mp4", "late.mp4", "early.mp4", "barred.mp4"},
        {"third.mp4", "third-again.mp4"},
    ]
    # The likely original first: the longest, then the one of most pixels.
    assert names(index, found[0])[0] in ("one.mp4", "barred.mp4")
    assert names(index, found[1]) == ["third-again.mp4", "third.mp4"]


def test_the_evidence_is_true(index: Index):
    ids = {Path(row.paths[0]).name: row.video_id for row in index.videos}
    pairs = {frozenset((pair.first, pair.second)): pair for pair in all_pairs(index)}
    for name, offset, share in (
        ("late.mp4", -4.4, 0.8),
        ("early.mp4", 0.0, 0.8),
        ("slow.mp4", 0.0, 0.9),
        ("small.mkv", 0.0, 0.9),
        ("barred.mp4", 0.0, 0.9),
    ):
        pair = pairs[frozenset((ids["one.mp4"], ids[name]))]
        signed = pair.offset_s if pair.first == ids["one.mp4"] else -pair.offset_s
        assert signed == pytest.approx(offset, abs=0.5), name
        assert pair.share >= share and pair.similarity >= 0.85 and pair.motion >= 0.7, name
        plain = pair.to_json()
        assert plain["second_end_s"] - plain["second_start_s"] == pytest.approx(
            plain["end_s"] - plain["start_s"], abs=0.002
        )


def test_settings_choose_among_what_was_found(index: Index):
    everything = groups(index)
    strict = groups(index, threshold=0.999)
    assert len(strict) < len(everything) or len(strict[0].videos) < len(everything[0].videos)
    whole = groups(index, share=0.99)
    assert sum(len(group.videos) for group in whole) <= 8
    lasting = groups(index, share_of_longer=0.75)[0]  # early.mp4 and late.mp4 are 9 s of 14
    assert not {"early.mp4", "late.mp4"} & set(names(index, lasting))
    for options in ({"threshold": 1.5}, {"share": -0.1}, {"threshold": float("nan")}):
        with pytest.raises(UsageError, match="from 0 to 1"):
            groups(index, **options)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The pairs that are really compared."""
    seen: list[tuple[int, int]] = []
    true_pair: Callable = duplicates._pair

    def pair(pictures, first: int, second: int):
        seen.append((first, second))
        return true_pair(pictures, first, second)

    monkeypatch.setattr(duplicates, "_pair", pair)
    return seen


def test_only_what_is_new_is_compared(
    index: Index, videos: Path, bundle: Bundle, tmp_path: Path, compared: list[tuple[int, int]]
):
    first = groups(index)
    assert compared
    compared.clear()
    assert groups(index) == first and not compared
    library = tmp_path / "more"
    write_film(library / "again.mp4", film(2, 14), crf=30)
    build_index([library], index.directory, bundle, workers=1)
    index.refresh()
    assert groups(index, most_clips=0) == first and not compared  # answers from what is known
    found = groups(index)
    (new,) = [i for i, row in enumerate(index.videos) if Path(row.paths[0]).name == "again.mp4"]
    assert compared and all(new in pair for pair in compared)
    assert {"again.mp4", "other.mp4"} in [set(names(index, group)) for group in found]
    (library / "again.mp4").unlink()
    (library / "keep.mp4").write_bytes(b"no video")
    build_index([library], index.directory, bundle, workers=1)
    index.refresh()
    compared.clear()
    assert groups(index) == first and not compared


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"layout": 1}', '{"layout": 1, "index": "x", "compared": 3}']
)
def test_what_is_kept_is_disposable(index: Index, text: str):
    place = index.cache_folder / duplicates.FILE
    first = groups(index)
    assert json.loads(place.read_text())["layout"] == duplicates.LAYOUT
    place.write_text(text)
    assert groups(index) == first
    place.unlink()
    place.mkdir()  # cannot be written
    assert groups(index) == first


def test_an_index_of_whole_clips_alone_will_do(videos: Path, bundle: Bundle, tmp_path: Path):
    build_index([videos], tmp_path / "index", bundle, levels="video", workers=1)
    index = Index.open(tmp_path / "index")
    assert [len(group.videos) for group in groups(index)] == [6, 2]


def test_an_empty_index(bundle: Bundle, tmp_path: Path):
    (tmp_path / "none").mkdir()
    build_index([tmp_path / "none"], tmp_path / "index", bundle, workers=1)
    assert groups(Index.open(tmp_path / "index")) == []


@pytest.mark.slow
def test_real_clips_and_their_copies(shared: Path, tmp_path: Path):
    """Six real clips, each twice re-encoded and once trimmed, among others that look alike."""
    import numpy as np
    from PIL import Image

    from finecut.video.container import open_video

    library = tmp_path / "library"
    clips = sorted((shared / "data" / "panda70m_samples" / "clips").glob("*.mp4"))[::9][:6]
    signs = sorted((shared / "data" / "intel_sample_videos" / "clips").glob("asl_*.mkv"))
    for clip in [*clips, *signs]:
        library.mkdir(exist_ok=True)
        shutil.copy(clip, library)
    for clip in clips:
        with open_video(clip) as (container, stream):
            rate = float(stream.average_rate or 25)
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        step = [
            shown[min(len(shown) - 1, round(n * rate / FPS))]
            for n in range(int(len(shown) * FPS / rate))
        ]
        height, width = shown[0].shape[:2]
        half = (width // 4 * 2, height // 4 * 2)
        whole = [np.asarray(Image.fromarray(one)) for one in step]
        write_film(library / f"{clip.stem}-small.mp4", whole, size=half, crf=32)
        write_film(library / f"{clip.stem}-late.mp4", whole[2 * FPS + 4 :], size=half)
    bundle = Bundle.load("starter", threads=1)
    build_index([library], tmp_path / "index", bundle, workers=2)
    index = Index.open(tmp_path / "index")
    found = [set(names(index, group)) for group in groups(index)]
    right = [
        {f"{clip.stem}.mp4", f"{clip.stem}-small.mp4", f"{clip.stem}-late.mp4"} for clip in clips
    ]
    assert all(any(group <= one for one in right) for group in found)  # no two clips in one group
    assert sum(len(group) for group in found) >= 15  # of 18
