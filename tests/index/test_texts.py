"""Words in an index: what is found, what is renewed, what a cut-off run leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from finecut.errors import MissingDependency, ShapeError, UsageError
from finecut.index import cache as cache_module
from finecut.index.build import build_index
from finecut.index.decode_pool import DecodePool, Ended, Request
from finecut.index.meta import HEAD_FILE
from finecut.index.postings import Postings, build_postings
from finecut.index.read_texts import ReadTexts, TextRequest, from_message, named_rows, to_message
from finecut.index.remove import remove
from finecut.index.store import Index
from finecut.index.text_lists import TextLists
from finecut.index.text_search import INDEX_NAME, TextTable
from finecut.index.texts import PARTS, TextRow, VideoTexts
from finecut.index.writer import IndexWriter
from finecut.text.terms import query_terms, row_terms, sequence
from finecut.types import DecodedClip
from finecut.video.spec import DecodeSpec, Limits
from index.clips import write_video
from index.stored import meta_of, put
from index.test_decode_pool import messages
from text.lines import LINES, srt
from video.test_embedded import write_with_words


def write_library(folder: Path) -> Path:
    """Four short videos with words of every kind that needs no extra."""
    write_video(folder / "Holiday" / "GoldenGate2019.mp4", ["red", "blue"], seconds=4, seed=1)
    beside = folder / "Holiday" / "GoldenGate2019"
    Path(f"{beside}.en.srt").write_text(srt(("The cat sits on the Café mat", "Never say never")))
    Path(f"{beside}.zh.srt").write_bytes(srt(LINES["zh-hans"]).encode("gb18030"))
    Path(f"{beside}.ru.srt").write_bytes(srt(LINES["ru"]).encode("cp1251"))
    write_video(folder / "talk.mp4", ["green"], seconds=4, seed=2)
    segments = [{"start": 1.0, "end": 3.0, "text": " quarterly revenue doubled"}]
    plain = {"language": "en", "segments": segments}
    (folder / "talk.json").write_text(json.dumps(plain))
    write_with_words(folder / "inside.mkv", "subrip", [(1.0, 2.0, "Bonjour tout le monde")])
    write_video(folder / "silent.mp4", ["white"], seconds=2, seed=4)
    return folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, bundle) -> Path:
    """The videos and their index, as they were built: to be copied from, not touched."""
    place = tmp_path_factory.mktemp("words")
    write_library(place / "live" / "videos")
    report = build_index([place / "live" / "videos"], place / "live" / "i", bundle, workers=1)
    assert (report.n_new, report.n_failed, report.text_notes) == (4, 0, [])
    shutil.copytree(place / "live", place / "kept")
    return place


@pytest.fixture
def built(pristine) -> Path:
    return pristine / "kept" / "i"


@pytest.fixture
def again(pristine, bundle):
    """The videos, their index, and a run over them. At the place they were built, stamps and all:
    nothing need be decoded again."""
    live = pristine / "live"
    shutil.rmtree(live)
    shutil.copytree(pristine / "kept", live)

    def run(**options):
        return build_index([live / "videos"], live / "i", bundle, workers=1, **options)

    return live / "videos", live / "i", run


def found(index: Index, words: str, **options) -> list[tuple[str, str, float]]:
    """Name of the video, source and start of what is found, best first."""
    return [
        (os.path.basename(index.videos[hit.video].paths[0]), hit.source, hit.start_s)
        for hit in index.search_text(words, **options)
    ]


# -- what is found ---------------------------------------------------------------------------------


def test_channels_and_what_they_say(built):
    index = Index.open(built)
    assert set(index.channels) == {"said", "told", "named"}
    assert index.channels["said"] == 2 + 4 + 3 + 1 + 1
    gate = "GoldenGate2019.mp4"
    assert found(index, "cat")[0] == (gate, "sidecar GoldenGate2019.en.srt", 0.0)
    assert found(index, "东京塔")[0] == (gate, "sidecar GoldenGate2019.zh.srt", 6.0)
    assert found(index, "塔")[0][2] == 6.0
    assert found(index, "ВРЕМЕНИ")[0] == (gate, "sidecar GoldenGate2019.ru.srt", 4.0)
    assert found(index, "revenue")[0] == ("talk.mp4", "transcript talk.json", 1.0)
    assert found(index, "bonjour")[0][:2] == ("inside.mkv", "stream 1")
    assert found(index, "tower")[0] == ("inside.mkv", "chapter", 3.0)
    assert found(index, "my holiday")[0] == ("inside.mkv", "title", 0.0)
    assert found(index, "golden gate")[0] == (gate, "file name", 0.0)
    assert found(index, "holiday", channels=["named"]) == [(gate, "folder", 0.0)]
    assert found(index, "nowhere") == [] and found(index, "  !? ") == []
    hit = index.search_text("东京塔")[0]
    assert hit.text == LINES["zh-hans"][3] and hit.language == "zh" and hit.score > 0


def test_phrases_channels_and_videos(built):
    index = Index.open(built)
    assert len(found(index, "never say", phrase=True)) == 1
    assert found(index, "say the never", phrase=True) == []
    assert found(index, "cat", channels=["told"]) == []
    (hit,) = index.search_text("cat")
    allowed = np.ones(len(index.videos), bool)
    allowed[hit.video] = False
    assert index.search_text("cat", allowed_videos=allowed) == []
    assert index.search_text("cat", allowed_videos=~allowed) == [hit]
    assert len(index.search_text("say never cat", k=1)) == 1
    with pytest.raises(UsageError, match="said, shown, told, named"):
        index.search_text("cat", channels=["seen"])
    with pytest.raises(UsageError, match="`k`"):
        index.search_text("cat", k=0)
    with pytest.raises(ShapeError, match="allowed_videos"):
        index.search_text("cat", allowed_videos=np.ones(1, bool))


def test_texts_of_a_video_are_in_order_and_within_it(built):
    index = Index.open(built)
    for number, row in enumerate(index.videos):
        texts = index.texts_of(number)
        assert texts and all(hit.video == number for hit in texts)
        assert [hit.start_s for hit in texts] == sorted(hit.start_s for hit in texts)
        assert all(0 <= hit.start_s < hit.end_s <= row.duration_s for hit in texts)
    with pytest.raises(UsageError):
        index.texts_of(len(index.videos))


def test_searching_words_loads_no_lance(built):
    import subprocess
    import sys

    code = (
        "import sys; from finecut.index.store import Index; i = Index.open(sys.argv[1]);"
        "assert i.search_text('cat') and i.channels and i.texts_of(0);"
        "print('lance' in sys.modules, 'pyarrow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(built)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "False"]


# -- lists and Lance answer alike ------------------------------------------------------------------

WORDS = ["cat", "dog", "the", "猫", "东京塔", "東京", "run", "Été", "x1"]


def random_index(place: Path, seed: int, n_videos: int = 12) -> Path:
    """An index of made-up texts, in several commits, with some taken away again."""
    rng = np.random.default_rng(seed)
    with IndexWriter(place, meta_of()) as writer:
        for number in range(n_videos):
            put(writer, f"{number:032x}", (1,), number)
            rows = [
                TextRow(
                    part := str(rng.choice(list(PARTS))),
                    PARTS[part],
                    float(at),
                    float(at + 1),
                    " ".join(rng.choice(WORDS, rng.integers(1, 7))),
                    "made up",
                )
                for at in range(rng.integers(0, 6))
            ]
            writer.commit(texts=[VideoTexts(f"{number:032x}", rows, frozenset(PARTS), "{}")])
            if number == n_videos // 2:
                writer.compact()
        writer.commit(removed=[f"{1:032x}"])
    return place


@pytest.mark.parametrize("seed", range(3))
def test_lists_and_lance_find_the_same(tmp_path, seed):
    place = random_index(tmp_path / "i", seed)
    fast = Index.open(place)
    lists = fast._text_table()
    slow = TextTable(fast._tables().dataset("texts"), fast.videos)
    assert isinstance(lists, TextLists)
    assert lists.channels() == slow.channels()
    rng = np.random.default_rng(seed)
    for _ in range(20):
        words = " ".join(rng.choice(WORDS, rng.integers(1, 3)))
        allowed = rng.random(len(fast.videos)) < 0.7
        for phrase in (False, True):
            for channels in (None, ["said"]):
                options = {"channels": channels, "k": 500, "phrase": phrase}
                keys = [
                    {(hit.video, hit.channel, hit.start_s, hit.text) for hit in hits}
                    for hits in (
                        lists.search(words, allowed_videos=allowed, **options),
                        slow.search(words, allowed_videos=allowed, **options),
                    )
                ]
                assert keys[0] == keys[1]
    for video in range(len(fast.videos)):
        one, other = lists.of_video(video), slow.of_video(video)
        assert sorted(map(repr, one)) == sorted(map(repr, other))


def test_without_a_cache_lance_answers(tmp_path, monkeypatch):
    place = random_index(tmp_path / "i", 7)
    expected = Index.open(place)
    monkeypatch.setattr(cache_module, "FEW_TEXTS", 0)
    shutil.rmtree(place / "cache")
    (place / "cache").write_text("in the way")
    plain = Index.open(place)
    assert isinstance(plain._text_table(), TextTable)
    assert plain.channels == expected.channels
    for words in WORDS:
        one = {(hit.video, hit.start_s, hit.text) for hit in plain.search_text(words)}
        assert one == {(hit.video, hit.start_s, hit.text) for hit in expected.search_text(words)}


def test_many_texts_get_their_lists_at_the_end_of_a_run(tmp_path):
    place = random_index(tmp_path / "i", 5)
    assert isinstance(Index.open(place, most_texts=3)._text_table(), TextTable)
    assert isinstance(Index.open(place)._text_table(), TextTable)  # what is kept is used
    more = cache_module.MANY_TEXTS
    assert isinstance(Index.open(place, most_texts=more)._text_table(), TextLists)


def test_damaged_lists_are_made_anew(tmp_path):
    place = random_index(tmp_path / "i", 3)
    expected = Index.open(place).search_text("cat")
    (folder,) = (place / "cache").glob("texts-*")
    for name in ("lists.json", "lists.bin"):
        (folder / name).write_bytes(b"{}")
        (place / "cache" / "snapshot.json").unlink()
        assert Index.open(place).search_text("cat") == expected


def test_the_full_text_index_is_kept_up_and_made_again(tmp_path):
    place = random_index(tmp_path / "i", 4)
    with IndexWriter(place) as writer:
        writer.compact()
        writer.dataset("texts").drop_index(INDEX_NAME)
    with IndexWriter(place) as writer:
        writer.compact()
        names = [one.name for one in writer.dataset("texts").describe_indices()]
    assert names == [INDEX_NAME]
    index = Index.open(place)
    slow = TextTable(index._tables().dataset("texts"), index.videos)
    every = {"channels": None, "k": 500, "phrase": False, "allowed_videos": None}
    assert len(slow.search("猫", **every)) == len(index.search_text("猫", k=500)) > 0


texts_of_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=12)


@given(texts_of_words, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join))
@settings(max_examples=60)
def test_postings_equal_a_plain_count(texts, words):
    import pyarrow as pa

    stored = [row_terms(text) for text in texts]
    lists = Postings(**build_postings(pa.chunked_array([stored], pa.string())))
    tokens = [[term for term in one.split() if term != "|"] for one in stored]
    mean = max(1.0, float(np.mean([len(one) for one in tokens])) if tokens else 0.0)

    def weight(term: str, row: int) -> float:
        n_with = sum(term in one for one in tokens)
        rarity = np.log1p((len(tokens) - n_with + 0.5) / (n_with + 0.5))
        times = tokens[row].count(term)
        return rarity * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(tokens[row]) / mean))

    terms = query_terms(words)
    expected = {
        row: sum(weight(term, row) for term in terms if term in one)
        for row, one in enumerate(tokens)
        if set(terms) & set(one)
    }
    rows, scores = lists.any_of(terms)
    assert dict(zip(rows.tolist(), scores.tolist(), strict=True)) == pytest.approx(expected)
    part = sequence(words)
    with_phrase = [
        row
        for row, one in enumerate(stored)
        if f" {' '.join(part)} " in f" {one.replace('|', '| |')} "
    ]
    assert lists.phrase(part)[0].tolist() == with_phrase


# -- what is renewed -------------------------------------------------------------------------------


def test_a_changed_sidecar_renews_only_words(again):
    videos, place, run = again
    report = run()
    assert report.nothing_to_do and report.n_texts == 0
    before = Index.open(place)
    tokens = before.tokens(range(len(before.clips))).frames.copy()
    sidecar = videos / "Holiday" / "GoldenGate2019.en.srt"
    sidecar.write_text(srt(("A dog instead", "of it all")))
    report = run()
    assert (report.n_texts, report.n_frames, report.n_new, report.n_changed) == (1, 0, 0, 0)
    index = Index.open(place)
    assert found(index, "cat") == [] and found(index, "dog")[0][1].endswith(".en.srt")
    assert found(index, "东京塔") and found(index, "golden")  # other words stay
    np.testing.assert_array_equal(index.tokens(range(len(index.clips))).frames, tokens)
    sidecar.unlink()
    assert run().n_texts == 1
    assert found(Index.open(place), "dog") == []
    (videos / "silent.vtt").write_text("WEBVTT\n\n00:00.500 --> 00:01.000\nnew words\n")
    assert run().n_texts == 1
    assert found(Index.open(place), "new words")[0][0] == "silent.mp4"
    assert run().nothing_to_do


def test_moving_a_video_renews_its_names(again):
    videos, place, run = again
    os.rename(videos / "silent.mp4", videos / "waterfall.mp4")
    report = run()
    assert (report.n_moved, report.n_texts, report.n_frames) == (1, 1, 0)
    index = Index.open(place)
    assert found(index, "silent") == [] and found(index, "waterfall")


def test_removed_videos_take_their_words_along(again):
    videos, place, _ = again
    remove(place, [str(videos / "talk.mp4")])
    index = Index.open(place)
    assert found(index, "revenue") == [] and found(index, "cat")
    with IndexWriter(place) as writer:
        left = writer.dataset("texts").to_table(columns=["video_id"])["video_id"].to_pylist()
        assert set(left) == set(writer.videos)


def test_channels_are_chosen_and_kept(again):
    _, place, run = again
    assert run(channels=["said"]).n_texts == 4
    assert set(Index.open(place).channels) == {"said"}
    assert run().nothing_to_do  # the choice is kept
    assert run(channels=[]).n_texts == 4
    assert Index.open(place).channels == {} and found(Index.open(place), "cat") == []
    run(channels=["said", "named", "told"])
    assert set(Index.open(place).channels) == {"said", "told", "named"}
    with pytest.raises(UsageError, match="shown"):
        run(channels=["seen"])


def test_what_extras_need_is_said_before_anything_is_done(again, monkeypatch, tmp_path):
    _, place, run = again
    with pytest.raises(UsageError, match=r"model\.bin.*CTranslate2"):
        run(speech=tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "rapidocr_onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"finecut\[ocr\]"):
        run(ocr=True)
    assert run().nothing_to_do and "shown" not in Index.open(place).channels


def test_an_index_from_before_there_were_texts_gains_them(again):
    _, place, run = again
    shutil.rmtree(place / "texts.lance")
    shutil.rmtree(place / "cache")
    head = json.loads((place / HEAD_FILE).read_text())
    for name in ("texts", "text_channels", "speech_model"):
        del head[name]
    (place / HEAD_FILE).write_text(json.dumps(head))
    index = Index.open(place)
    assert index.channels == {} and index.search_text("cat") == [] and index.texts_of(0) == []
    assert len(index.clips) > 0
    report = run()
    assert (report.n_texts, report.n_frames) == (4, 0)
    assert found(Index.open(place), "cat")


def test_a_table_of_another_layout_is_read_again(again):
    import lance
    import pyarrow as pa

    _, place, run = again
    shutil.rmtree(place / "texts.lance")
    table = pa.table({"video_id": ["x"], "words": ["y"]})
    lance.write_dataset(table, str(place / "texts.lance"))
    assert run().n_texts == 4 and found(Index.open(place), "cat")


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["_put_texts", "_put_videos", "_write_head", "_append"])
def test_a_run_cut_off_between_its_steps_loses_and_doubles_nothing(again, monkeypatch, step):
    videos, place, run = again
    (videos / "talk.json").write_text('{"segments": [{"start": 0, "end": 1, "text": "other"}]}')
    write_video(videos / "late.mp4", ["blue"], seconds=2, seed=9)
    real = getattr(IndexWriter, step)

    def cut_off(self, *values):
        real(self, *values)
        raise KeyboardInterrupt

    before = Index.open(place)
    monkeypatch.setattr(IndexWriter, step, cut_off)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    index = Index.open(place)
    if step in ("_put_texts", "_append"):  # the others may come after a commit of words alone
        assert found(index, "revenue") == found(before, "revenue") != []
    run()
    index = Index.open(place)
    assert found(index, "revenue") == [] and len(found(index, "other")) == 1
    assert len(found(index, "late")) == 1 and len(found(index, "cat")) == 1
    with IndexWriter(place) as writer:
        states = writer.dataset("texts").to_table(filter="part = 'state'")["video_id"].to_pylist()
        assert sorted(states) == sorted(writer.videos)
    assert run().nothing_to_do


def test_files_that_are_no_subtitles_are_noted_and_cost_nothing_else(bundle, tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "a.mp4", ["red"], seed=1)
    (folder / "a.srt").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "a.en.srt").write_text(srt(("fine",)) + "\nnan:00 --> 00:00:02,000\nlost\n")
    (folder / "a.late.srt").write_text(srt(("x",) * 9, seconds=10.0))
    (folder / "a.vtt").mkdir()
    os.mkfifo(folder / "a.ass")
    (folder / "a.json").write_text('{"version": 3}')
    os.symlink("/etc/hostname", folder / "a.ssa")
    report = build_index([folder], tmp_path / "i", bundle, workers=1)
    assert (report.n_new, report.n_failed) == (1, 0)
    notes = " ".join(note.message for note in report.text_notes)
    assert "a.srt: no subtitles" in notes and "1 cues are broken" in notes
    assert "8 cues begin after the end" in notes
    index = Index.open(tmp_path / "i")
    assert index.channels["said"] == 2
    assert report.to_json()["text_notes"][0]["path"].endswith("a.mp4")
    assert build_index([folder], tmp_path / "i", bundle, workers=1).nothing_to_do


def test_a_process_that_dies_of_words_still_gives_the_clips(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, finecut.index.read_texts as r\nr.read_texts = lambda *a, **k: os._exit(9)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    video = write_video(tmp_path / "a.mp4", ["red"])
    spec = DecodeSpec(frames_per_second=1.0, max_frames=8, height=32, width=32)
    texts = TextRequest(("container",))
    jobs = [(0, Request(str(video), True, texts)), (1, Request(str(video), False, texts))]
    with DecodePool(jobs, spec, Limits(), workers=1) as pool:
        answers = messages(pool)
    kinds = [type(message).__name__ for message in answers[0]]
    assert kinds[0] == "Probed" and kinds.count("Probed") == 1
    (read,) = [message for message in answers[0] if isinstance(message, ReadTexts)]
    assert read.unread == {"container"} and "crashed" in read.notes[0]
    assert any(isinstance(message, DecodedClip) for message in answers[0])
    assert isinstance(answers[0][-1], Ended)
    assert [type(message).__name__ for message in answers[1]] == ["Failed"]


def test_texts_cross_the_wire_and_lies_do_not():
    read = ReadTexts(
        rows=[
            TextRow("streams", "said", 1.0, 2.5, "猫 \U0001f600 \ud800", "stream 1", "ja"),
            TextRow("container", "told", 0.0, float("inf"), "whole", "title"),
        ],
        notes=["a note"],
        unread={"sidecars"},
        frames_seen=5,
        frames_read=2,
    )
    header, arrays = to_message(read)
    plain = json.loads(json.dumps(header)) | arrays
    again = from_message(plain)
    assert again.rows == read.rows and again.notes == read.notes
    assert (again.unread, again.frames_seen, again.frames_read) == ({"sidecars"}, 5, 2)
    for rows in ([["streams", 2, 1, "x", "", ""]], [["all", 0, 1, "x", "", ""]], [[1]], 7):
        lines = np.frombuffer(json.dumps(rows).encode(), np.uint8)
        with pytest.raises((ValueError, KeyError, TypeError)):
            from_message({**plain, "rows": lines})


def test_names_of_files_and_of_folders_below_the_root():
    rows = named_rows(["/home/me/Videos/2019/Paris trip/IMG_0042.mov"], ["/home/me/Videos"])
    assert [(row.text, row.source) for row in rows] == [
        ("IMG_0042", "file name"),
        ("Paris trip", "folder"),
        ("2019", "folder"),
        ("Videos", "folder"),
    ]
    (row,) = named_rows(["/v/GoldenGate2019.mp4"], ["/v/GoldenGate2019.mp4"])[:1]
    assert dataclasses.replace(row, also="") != row and "Golden Gate 2019" in row.also


# -- what extras read ------------------------------------------------------------------------------


def write_talk(path: Path, seconds: int = 6) -> Path:
    """Two slides, one after the other."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in range(seconds * 5):
            words = "Quarterly revenue" if number < seconds * 5 // 2 else "Tokyo Tower opens"
            picture = Image.new("RGB", (640, 360), (20, 40, 80))
            font = ImageFont.load_default(size=36)
            ImageDraw.Draw(picture).text((60, 120), words, font=font, fill="white")
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def test_the_screen_is_read_where_asked_for_and_given_up_where_not(bundle, tmp_path):
    pytest.importorskip("rapidocr_onnxruntime", reason="the extra ocr is not installed")
    (tmp_path / "videos").mkdir()
    write_talk(tmp_path / "videos" / "talk.mp4")

    def run(**options):
        return build_index([tmp_path / "videos"], tmp_path / "i", bundle, workers=1, **options)

    assert run().n_new == 1 and found(Index.open(tmp_path / "i"), "tokyo") == []
    report = run(ocr=True)
    assert (report.n_texts, report.n_frames) == (1, 0)
    assert report.screen_frames == 6 and report.screen_read == 2
    index = Index.open(tmp_path / "i")
    ((name, source, start_s),) = found(index, "Tokyo tower", phrase=True)
    assert (name, source) == (
        "talk.mp4",
        "ocr",
    ) and 3.0 <= start_s < 4.0  # of frames a second apart
    assert found(index, "revenue", channels=["shown"]) == [("talk.mp4", "ocr", 0.0)]
    assert run().nothing_to_do
    run(ocr=False)
    assert found(Index.open(tmp_path / "i"), "tokyo") == []
