"""B frames left out of H.264: never seen in the pixels, and left out where the headers allow it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.video.container import open_video
from finecut.video.packets import DecodeStats
from finecut.video.references import BFrames, _Bits, _Unknown
from finecut.video.sample import Sampler
from video_corpus import steps, write_video

# P frames refer to one frame
ONE = {"preset": "veryfast", "g": "50", "sc_threshold": "0", "b_strategy": "0"}
# and to three, B frames among them
MANY = {"preset": "medium", "g": "50", "sc_threshold": "0"}
SLICED = {**ONE, "x264-params": "slices=4"}
STRICT = {**MANY, "x264-params": "b-pyramid=strict:bframes=5:b-adapt=0"}
NO_B = {**ONE, "bf": "0"}


def film(path, options):
    shots = [(1500, "blue"), (9000, "red")]
    return write_video(path, steps(5), width=160, height=96, options=options, shots=shots, rate=25)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Name -> path; made once."""
    folder = tmp_path_factory.mktemp("films")
    kinds = {"one": ONE, "many": MANY, "sliced": SLICED, "strict": STRICT, "none": NO_B}
    made = {}

    def make(name):
        if name not in made:
            made[name] = film(folder / name, kinds[name.split(".")[0]])
        return made[name]

    return make


def samples(path, period_s, *, look=True, planned=True):
    stats = DecodeStats()
    with open_video(path) as (container, stream):
        sampler = Sampler(container, stream, period_s, stats=stats, planned=planned)
        if not look:
            sampler.b_frames = BFrames(
                SimpleNamespace(codec_context=SimpleNamespace(name="unknown"))  # type: ignore[arg-type]
            )
        found = [(sample.time_s, sample.frame.to_ndarray()) for sample in sampler]
    return found, stats


@pytest.mark.parametrize("period_s", [1.0, 0.3, 0.04])
@pytest.mark.parametrize("name", ["one.mp4", "many.mp4", "one.ts", "sliced.mkv", "strict.mp4"])
def test_frames_are_the_same_to_the_last_bit(films, name, period_s):
    path = films(name)
    found, _ = samples(path, period_s)
    expected, _ = samples(path, period_s, look=False)
    assert [time_s for time_s, _ in found] == [time_s for time_s, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["one.mp4", "one.ts", "one.mkv", "sliced.mp4"])
def test_b_frames_are_left_out_where_nothing_refers_to_them(films, name):
    path = films(name)
    _, stats = samples(path, 1.0)
    _, all_references = samples(path, 1.0, look=False)
    assert stats.frames_decoded <= 0.8 * all_references.frames_decoded


@pytest.mark.parametrize("name", ["many.mp4", "none.mp4"])
def test_without_such_b_frames_nothing_more_is_left_out(films, name):
    path = films(name)
    _, stats = samples(path, 1.0)
    _, all_references = samples(path, 1.0, look=False)
    assert stats.frames_decoded == all_references.frames_decoded


def test_a_wanted_b_frame_keeps_all_that_it_may_lean_on(films):
    with open_video(films("one.mp4")) as (container, stream):
        b_frames = BFrames(stream)
        packets = [packet for packet in container.demux(stream) if packet.size][:12]
    kinds = [b_frames._frame(packet).kind for packet in packets]
    assert kinds[0] == 2 and {0, 1} <= set(kinds)
    last_p = max(i for i, kind in enumerate(kinds) if kind == 0)
    assert b_frames.unneeded(packets, [0, last_p])
    assert not b_frames.unneeded(packets, [0, kinds.index(1), last_p])


def test_other_codecs_say_nothing(tmp_path):
    path = write_video(tmp_path / "film.mp4", steps(2), codec="mpeg4", options={})
    with open_video(path) as (container, stream):
        b_frames = BFrames(stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert not b_frames.unneeded(packets, [len(packets) - 1])


def test_codes_of_exponential_golomb():
    """Table 9-1 of the standard: 1, 010, 011, 00100 are 0, 1, 2, 3."""
    bits = _Bits(bytes([0b10100110, 0b01000000]))
    assert [bits.golomb() for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(_Unknown):
        _Bits(b"").take(1)


def fake(extra, name="h264"):
    return SimpleNamespace(codec_context=SimpleNamespace(name=name, extradata=extra))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.lists(st.binary(min_size=1, max_size=60), min_size=2, max_size=6))
def test_any_bytes_are_answered(extra, packets):
    for head in (b"", b"\1\x64\0\x1e\xff\xe1", b"\0\0\0\1\x67", b"\0\0\1\x68"):
        answer = BFrames(fake(head + extra)).unneeded(packets, [len(packets) - 1])
        assert answer in (True, False)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 79), value=st.integers(0, 255), which=st.integers(0, 11))
def test_damaged_headers_are_answered(one_film, place, value, which):
    extra, packets = one_film
    damaged = [bytearray(packet) for packet in packets]
    damaged[which][place % len(damaged[which])] = value
    assert BFrames(fake(extra)).unneeded(damaged, [11]) in (True, False)


@pytest.fixture(scope="module")
def one_film(films):
    with open_video(films("one.mp4")) as (container, stream):
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return bytes(stream.codec_context.extradata), packets[:12]
