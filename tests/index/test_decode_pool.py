"""Decoding processes that die, stall or are ended cost one file and never the run."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from finecut.errors import FinecutError
from finecut.index.decode_pool import DecodePool, Ended, Failed, Probed, Request
from finecut.index.wire import BrokenMessage, receive, send
from finecut.types import DecodedClip
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec, Limits
from index.clips import write_video
from index.test_kill import children_of
from video_corpus import write_case

SPEC = DecodeSpec(frames_per_second=1.0, max_frames=8, height=32, width=32, resize="squash")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return [write_video(folder / f"{n}.mp4", ["red", "blue"], seed=n) for n in range(4)]


def messages(pool):
    found = {}
    while True:
        try:
            item = pool.get(60.0)
        except StopIteration:
            return found
        assert item is not None, "nothing came for a minute"
        found.setdefault(item[0], []).append(item[1])


def jobs_of(paths):
    return [(number, Request(str(path))) for number, path in enumerate(paths)]


@pytest.mark.parametrize("workers", [1, 3])
def test_clips_come_whole_and_in_order(paths, workers):
    with DecodePool(jobs_of(paths), SPEC, Limits(), workers=workers) as pool:
        found = messages(pool)
    assert sorted(found) == [0, 1, 2, 3]
    for number, path in enumerate(paths):
        first, *clips, last = found[number]
        assert isinstance(first, Probed) and first.probe.width == 64
        assert isinstance(last, Ended) and last.duration_s == pytest.approx(4.0, abs=0.3)
        plain = list(decode_clips(path, SPEC))
        assert len(clips) == len(plain)
        for clip, expected in zip(clips, plain, strict=True):
            assert isinstance(clip, DecodedClip) and clip.strip.startswith(b"\xff\xd8")
            assert (clip.strip_width, clip.strip_height) == (
                expected.strip_width,
                expected.strip_height,
            )
            assert (clip.number, clip.start_s, clip.end_s) == (
                expected.number,
                expected.start_s,
                expected.end_s,
            )
            np.testing.assert_array_equal(clip.frames, expected.frames)
            np.testing.assert_array_equal(clip.times, expected.times)


def test_a_file_that_does_not_open_fails_alone(paths, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing like it" * 99)
    with DecodePool(
        jobs_of([tmp_path / "bad.mp4", tmp_path / "none.mp4", paths[0]]), SPEC, Limits(), workers=1
    ) as pool:
        found = messages(pool)
    assert isinstance(found[0][-1], Failed) and "bad.mp4" in found[0][-1].message
    assert isinstance(found[1][-1], Failed) and isinstance(found[2][-1], Ended)


@pytest.mark.parametrize(
    ("sign", "reason"), [(signal.SIGKILL, "decoder crashed"), (signal.SIGSTOP, "timeout")]
)
def test_a_dead_or_silent_decoder_costs_its_file_and_is_replaced(paths, sign, reason):
    def jobs():
        yield 0, Request(str(paths[0]))
        (pid,) = children_of(os.getpid())  # asked for the next job, the first decoder is idle
        os.kill(pid, sign)
        if sign == signal.SIGKILL:
            time.sleep(0.2)  # dead before it is asked
        else:
            pool._stall_s = 1.0  # only now: starting a process takes its time on a busy machine
        yield 1, Request(str(paths[1]))
        pool._stall_s = 60.0
        yield 2, Request(str(paths[2]))

    with DecodePool(jobs(), SPEC, Limits(), workers=1, stall_s=60.0) as pool:
        found = messages(pool)
    assert isinstance(found[0][-1], Ended) and isinstance(found[2][-1], Ended)
    if sign == signal.SIGSTOP:
        assert found[1] == [Failed(reason, found[1][-1].message)]
        assert str(paths[1]) in found[1][-1].message
    else:  # a process that is dead before the request is simply replaced
        assert isinstance(found[1][-1], Ended)
    assert children_of(os.getpid()) == []


def test_a_decoder_that_dies_at_work_costs_its_file(tmp_path):
    long = write_video(tmp_path / "long.mp4", ["red", "blue"] * 40, seed=9)
    with DecodePool(jobs_of([long, long]), SPEC, Limits(), workers=1) as pool:
        item = pool.get(20.0)
        assert item is not None and isinstance(item[1], Probed)
        (pid,) = children_of(os.getpid())
        os.kill(pid, signal.SIGKILL)
        found = messages(pool)
    assert isinstance(found[0][-1], Failed) and found[0][-1].reason == "decoder crashed"
    assert isinstance(found[1][-1], Ended)


def test_a_long_stretch_without_a_clip_is_no_stall(corpus_folder):
    path = write_case("static-hour.mp4", corpus_folder)  # one picture for an hour
    code = (
        "import finecut.index.decode_worker as w, finecut.video.decode as d;"
        "w.BEAT_S = 0.001; plain = d.decode_clips;"
        "w.decode_clips = lambda *a, **k: plain(*a, planned=False, **k); w.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    send(process.stdin, {"spec": asdict(SPEC), "limits": asdict(Limits())})
    send(process.stdin, Request(str(path)).to_json())
    kinds = []
    while not kinds or kinds[-1] not in ("end", "failed"):
        kinds.append(receive(process.stdout)["kind"])
    process.stdin.close()
    process.wait()
    assert [kind for kind in kinds if kind != "alive"] == ["ready", "probe", "clip", "end"]
    assert kinds.index("probe") < len(kinds) - 1 - kinds[::-1].index("alive")  # and after it too


def test_decoders_that_cannot_start_blame_no_file(paths, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        DecodePool(jobs_of(paths), SPEC, Limits(), workers=1) as pool,
        pytest.raises(FinecutError, match="cannot be started"),
    ):
        messages(pool)


def test_leaving_ends_the_decoders_at_once(paths):
    with DecodePool(jobs_of(paths * 5), SPEC, Limits(), workers=2) as pool:
        assert pool.get(20.0) is not None
    assert children_of(os.getpid()) == []


def test_messages_survive_the_wire():
    stream = io.BytesIO()
    arrays = {
        "frames": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        "times": np.array([0.5, np.inf]),
        "none": np.zeros((0, 3), np.float32),
    }
    send(stream, {"kind": "clip", "path": "caf\udce9 żółw"}, arrays)
    stream.seek(0)
    message = receive(stream)
    assert message["kind"] == "clip" and message["path"] == "caf\udce9 żółw"
    for name, array in arrays.items():
        np.testing.assert_array_equal(message[name], array)
        assert message[name].dtype == array.dtype


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x00\x00\x00{}",
        b"\xff\xff\xff\xff",
        b"\x02\x00\x00\x00[]",
        b"\x02\x00\x00\x00{}",
        b"\x0d\x00\x00\x00" + b'{"arrays":[1]',
        b'\x21\x00\x00\x00{"arrays": [["a", "|O", [1, 1]]]}' + b"\0" * 64,
        b'\x21\x00\x00\x00{"arrays": [["a", "|u1", [-1,1]]]' + b"}" + b"\0" * 64,
        b'\x26\x00\x00\x00{"arrays": [["a", "<f8", [9999999999]]]}',
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(BrokenMessage):
        receive(io.BytesIO(data))
