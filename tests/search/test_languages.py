"""A query the bundle cannot read is told, and not answered with noise."""

from __future__ import annotations

from pathlib import Path

from finecut.bundle.load import Bundle
from finecut.index.build import build_index
from finecut.search.engine import Searcher
from index.clips import write_video

SRT = """1
00:00:01,000 --> 00:00:02,000
欢迎回来,今天我们做面条
"""


def test_nothing_is_searched_in_a_script_the_bundle_cannot_read(searcher: Searcher) -> None:
    found = searcher.search("红色的屏幕")
    assert list(found) == [] and not found.good_match
    assert found.gallery == 9
    (note,) = found.notes
    assert "The query is in Chinese" in note and "understands English" in note
    assert "nothing was searched" in note


def test_a_guess_by_words_changes_only_the_note(searcher: Searcher) -> None:
    found = searcher.search("ein roter Hund und eine Katze")
    assert len(found) > 0
    assert found.notes == (
        f"This looks like German; the bundle {searcher.bundle.name} understands English.",
    )
    assert searcher.search("a red screen").notes == ()


def test_words_are_searched_in_any_language(bundle: Bundle, tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "kitchen.mp4", ["red"], seconds=3.0)
    write_video(tmp_path / "videos" / "garden.mp4", ["green"], seconds=3.0)
    (tmp_path / "videos" / "kitchen.zh.srt").write_text(SRT, encoding="gb18030")
    build_index([tmp_path / "videos"], tmp_path / "index", bundle, workers=1)
    found = Searcher.open(tmp_path / "index", bundle=bundle).search("面条")
    assert [Path(moment.video).name for moment in found] == ["kitchen.mp4"]
    assert [reason.channel for reason in found[0].reasons] == ["said"]
    assert "words were searched, pictures were not" in found.notes[0]


def test_a_bundle_that_knows_the_language_says_nothing(library: Path, bundle: Bundle) -> None:
    text = bundle.manifest.text.model_copy(update={"languages": ("en", "zh-Hans")})
    manifest = bundle.manifest.model_copy(update={"text": text})
    speaker = Bundle.load(bundle.ref, threads=1)
    speaker.manifest = manifest
    assert Searcher.open(library, bundle=speaker).search("红色的屏幕").notes == ()
