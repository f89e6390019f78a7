"""The stages of the pipeline one by one, without Ray: rows in, rows out."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest

from cluster.ray_nodes import descendants
from color_bundle import make_color_bundle
from finecut import __version__
from finecut.bundle.load import Bundle
from finecut.cluster.connect import Node
from finecut.cluster.decode import Decode
from finecut.cluster.encode import Encode
from finecut.cluster.machines import problems_here
from finecut.cluster.sizes import sizes_for
from finecut.cluster.travel import WORDS, JobRow, Verdict, clips_of, jobs_to_arrow
from finecut.cluster.write import write_rows
from finecut.errors import IndexMismatch, IndexNotFound, UsageError
from finecut.index import decode_pool
from finecut.index.build import build_index
from finecut.index.decode_pool import Request
from finecut.index.meta import read_meta
from finecut.index.read_texts import TextRequest
from finecut.index.tables import CLIPS, TOKENS, open_table
from finecut.storage.location import Location
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec, Limits
from index.clips import write_video

SPEC = DecodeSpec(frames_per_second=1.0, max_frames=8, height=32, width=32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    write_video(folder / "videos" / "a.mp4", ["red", "blue"], seconds=5, seed=1)
    (folder / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    make_color_bundle(folder / "colors")
    build_index([folder / "videos"], folder / "index", Bundle.load(folder / "colors", threads=1))
    return folder


def job(path, number=0, **asked) -> JobRow:
    return JobRow(number, "v" * 32, 3, 1000, Request(str(path), **asked))


def words(tables) -> list[dict]:
    texts = [text for table in tables for text in table.column(WORDS).to_pylist() if text]
    return [json.loads(text) for text in texts]


def test_a_video_becomes_rows_and_a_verdict(place):
    texts = TextRequest(parts=("sidecars",), sidecars=((str(place / "a.srt"), "en"),))
    path = place / "videos" / "a.mp4"
    with closing(Decode(SPEC, Limits())) as decode:
        parts = list(decode(jobs_to_arrow([job(path, texts=texts)])))
    (plain,) = words(parts)
    verdict = Verdict.from_words(plain)
    wanted = list(decode_clips(path, SPEC))
    assert verdict.n_clips == len(wanted) == len(parts) - 1
    assert verdict.ended is not None and verdict.failed is None and not verdict.missing_on
    assert [row.text for row in verdict.texts.rows] == ["hello"]
    clips = clips_of(pa.concat_tables(parts[:-1]), 32, 32)
    for (row, clip), expected in zip(clips, wanted, strict=True):
        assert row["clip_id"] == 1000 + expected.number and row["video_id"] == "v" * 32
        np.testing.assert_array_equal(clip.frames, expected.frames)
        np.testing.assert_array_equal(clip.times, expected.times)
        assert clip.strip == expected.strip


def test_a_job_travels_whole(place):
    texts = TextRequest(parts=("speech",), sidecars=(("/a\udcff.srt", ""),), speech="/m", said=True)
    one = job("/films/a\udcff.mp4", 7, clips=False, texts=texts)
    assert JobRow.from_json(jobs_to_arrow([one]).column("job")[0].as_py()) == one


def test_a_poisoned_file_is_its_own_failure(place, monkeypatch):
    """Broken, missing, and one that kills the decoder: the actor goes on after each."""
    monkeypatch.setattr(decode_pool, "QUEUE_BYTES", 1)  # so that it is not done before it is killed
    others = set(descendants(os.getpid()))  # servers and browsers of other tests
    (place / "broken.mp4").write_bytes(b"no video" * 100)
    good = place / "videos" / "a.mp4"
    long = write_video(place / "long.mp4", ["red", "blue"] * 60, seconds=2, seed=9)
    paths = [place / "broken.mp4", place / "missing.mp4", good]
    jobs = jobs_to_arrow([job(path, number) for number, path in enumerate(paths)])
    with closing(Decode(SPEC, Limits())) as decode:
        broken, missing, fine = words(decode(jobs))
        assert broken["failed"]["reason"] == "unreadable" and not broken["missing_on"]
        assert missing["failed"] and missing["missing_on"]
        assert fine["ended"]

        stream = decode(jobs_to_arrow([job(long)]))
        first = next(stream)
        for pid in set(descendants(os.getpid())) - others:
            os.kill(pid, signal.SIGKILL)
        (verdict,) = words([first, *stream])
        assert verdict["failed"]["reason"] == "decoder crashed"
        (fine,) = words(decode(jobs_to_arrow([job(good)])))
        assert fine["ended"]
    assert set(descendants(os.getpid())) <= others


def encoded(place, **changes) -> pa.Table:
    meta = replace(read_meta(place / "index"), **changes)
    with closing(Decode(SPEC, Limits())) as decode:
        parts = list(decode(jobs_to_arrow([job(place / "videos" / "a.mp4")])))
    return Encode(str(place / "colors"), meta)(pa.concat_tables(parts))


def test_encoded_rows_are_those_of_the_tables(place):
    table = encoded(place)
    clips = table.filter(pa.compute.is_null(table.column(WORDS)))
    stored = open_table(Location.parse(place / "index"), TOKENS).to_table()
    assert clips.num_rows == stored.num_rows
    for name in ("frames", "patches", "times", "strip"):
        assert clips.column(name).to_pylist() == stored.column(name).to_pylist()
    (verdict,) = words([table])
    assert verdict["n_clips"] == clips.num_rows


def test_another_bundle_of_the_name_is_refused(place):
    table = encoded(place, fingerprint="0" * 64)
    said = words([table])
    assert "another one on this machine" in said[-1]["broken"]
    assert not table.filter(pa.compute.is_null(table.column(WORDS))).num_rows


def test_files_are_written_beside_the_tables_and_reported_once(place):
    index = place / "index"
    meta = read_meta(index)
    rows = open_table(Location.parse(index), CLIPS).count_rows()
    said = words([write_rows(encoded(place), directory=str(index), meta=meta)])
    (written,) = [one for one in said if "tokens" in one]
    assert [row["number"] for row in written["rows"]] == list(range(rows))
    assert len(written["tokens"]) == len(written["clips"]) == 1
    assert open_table(Location.parse(index), CLIPS).count_rows() == rows  # nobody sees them yet
    (verdict,) = [one for one in said if "n_clips" in one]
    assert verdict["job"] == 0


def test_a_machine_that_sees_another_index_writes_nothing(place, tmp_path):
    meta = read_meta(place / "index")
    with pytest.raises(IndexMismatch, match="another one on this machine"):
        write_rows(
            encoded(place), directory=str(place / "index"), meta=replace(meta, uuid="0" * 32)
        )
    with pytest.raises(IndexNotFound):
        write_rows(encoded(place), directory=str(tmp_path), meta=meta)
    assert not list(tmp_path.iterdir())


def test_a_machine_says_what_it_lacks(place, tmp_path):
    index, meta = place / "index", read_meta(place / "index")
    video, bundle = str(place / "videos" / "a.mp4"), str(place / "colors")
    far = ["s3://films/a.mp4"]  # seen from everywhere
    assert problems_here(__version__, str(index), meta, bundle, [video, *far]) == []
    problems = problems_here("9.9", str(tmp_path), meta, str(tmp_path), ["/no/such.mp4", video])
    assert [text for text in problems if "the run is of 9.9" in text]
    assert [text for text in problems if "There is no index" in text]
    assert [text for text in problems if "/no/such.mp4 cannot be read" in text]
    assert len(problems) == 4


def nodes(*cpus: float, gpus: float = 0.0) -> list[Node]:
    return [Node(str(place), "host", "1", count, gpus) for place, count in enumerate(cpus)]


@pytest.mark.parametrize("cpus", [(1,), (2,), (0, 1, 1, 1), (64,) * 100, (1.5, 2.7)])
@pytest.mark.parametrize("workers", [None, 1, 7, 300])
def test_all_stages_find_room(cpus, workers):
    sizes = sizes_for(nodes(*cpus), n_jobs=10**6, clip_bytes=300_000, workers=workers)
    assert sizes.decoders >= 1 and sizes.encoders >= 1 and sizes.writers >= 1
    assert sizes.cpus <= sum(cpus)
    assert workers is None or sizes.decoders == workers
    assert 16 <= sizes.write_rows <= 256


def test_too_small_a_cluster_is_told_what_it_lacks():
    with pytest.raises(UsageError, match=r"has 0\.5 CPUs.*one whole CPU"):
        sizes_for(nodes(0, 0.5), n_jobs=1, clip_bytes=1)
    with pytest.raises(UsageError, match=r"has 0 GPUs; --encoder-gpus 0\.5"):
        sizes_for(nodes(4), n_jobs=1, clip_bytes=1, encoder_gpus=0.5)


def test_encoders_on_gpus_are_as_many_as_fit():
    sizes = sizes_for(nodes(8, 8, gpus=2), n_jobs=99, clip_bytes=1, encoder_gpus=0.5)
    assert sizes.encoders == 8 and sizes.gpus == 4 and sizes.decoders == 16
