"""Words inside containers: subtitle streams of every plain kind, chapters, titles."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from finecut.errors import VideoError
from finecut.video.embedded import TimedText, embedded_texts
from finecut.video.sound import RATE, sound_pieces

MS = Fraction(1, 1000)
CHAPTERS = ((0.0, 3.0, "Opening"), (3.0, 6.0, "The tower"))
FRAMED = {
    "subrip": lambda text: text,
    "webvtt": lambda text: text,
    "ass": lambda text: b"0,0,Default,,0,0,0,," + text,
    "mov_text": lambda text: len(text).to_bytes(2, "big") + text + b"\0\0\0\x0cstyl\0\0\0\0",
}


def write_with_words(
    path: Path,
    codec: str,
    cues: Sequence[tuple[float, float, str]],
    *,
    first_s: float = 0.0,
) -> Path:
    """Six seconds of grey that begin at ``first_s`` on the file's clock, with a subtitle stream."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        words = out.add_mux_stream(codec)
        words.time_base = MS
        words.metadata["language"] = "fre"
        out.metadata.update({"title": "My holiday", "comment": "by hand", "encoder": "x"})
        chapters = [
            {
                "id": number,
                "start": round((first_s + start) * 1000),
                "end": round((first_s + end) * 1000),
                "time_base": MS,
                "metadata": {"title": title},
            }
            for number, (start, end, title) in enumerate(CHAPTERS)
        ]
        out.set_chapters(chapters)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), number * 8, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(first_s * 5) + number, Fraction(1, 5)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for start, end, text in cues:
            packet = av.Packet(FRAMED[codec](text.encode()))
            packet.stream, packet.time_base = words, MS
            packet.pts = packet.dts = round((first_s + start) * 1000)
            packet.duration = round((end - start) * 1000)
            out.mux(packet)
    return path


@pytest.mark.parametrize(
    ("codec", "suffix"), [("subrip", "mkv"), ("ass", "mkv"), ("webvtt", "mkv"), ("mov_text", "mp4")]
)
def test_subtitle_streams_chapters_and_titles(tmp_path, codec, suffix):
    cues = [(1.0, 2.0, "Où est l'été ?"), (3.0, 4.5, "猫")]
    found = embedded_texts(write_with_words(tmp_path / f"a.{suffix}", codec, cues))
    (stream,) = found.streams
    assert stream.number == 1 and stream.language == "fre"
    assert [(round(text.start_s, 3), round(text.end_s, 3), text.text) for text in stream.texts] == [
        (1.0, 2.0, "Où est l'été ?"),
        (3.0, 4.5, "猫"),
    ]
    assert found.chapters == [TimedText(*chapter) for chapter in CHAPTERS]
    assert sorted(found.told) == [("comment", "by hand"), ("title", "My holiday")]
    assert found.notes == []


def test_times_count_from_the_first_picture(tmp_path):
    path = write_with_words(tmp_path / "a.mkv", "subrip", [(1.0, 2.0, "a")], first_s=10.0)
    found = embedded_texts(path)
    assert [(text.start_s, text.end_s) for text in found.streams[0].texts] == [(1.0, 2.0)]
    assert found.chapters[1].start_s == pytest.approx(3.0)


def test_a_cut_off_file_gives_what_is_there(tmp_path):
    path = write_with_words(tmp_path / "a.mkv", "subrip", [(1.0, 2.0, "a"), (5.0, 6.0, "b")])
    whole = path.read_bytes()
    counts = []
    for part in (0.4, 0.6, 0.95, 1.0):
        path.write_bytes(whole[: int(part * len(whole))])
        found = embedded_texts(path)
        texts = [text.text for stream in found.streams for text in stream.texts]
        assert texts == ["a", "b"][: len(texts)]
        counts.append(len(texts))
    assert counts[0] < 2 and counts[-1] == 2


def test_what_is_no_container_is_refused(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    with pytest.raises(VideoError, match=r"a\.mkv"):
        embedded_texts(tmp_path / "a.mkv")


def write_tone(path: Path, seconds: float, rate: int) -> Path:
    """A video whose sound is a tone of 440 Hz on both channels."""
    with av.open(str(path), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=rate, layout="stereo")
        time = np.arange(round(seconds * rate)) / rate
        wave = (np.sin(2 * np.pi * 440 * time) * 20_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
        frame.rate = rate
        frame.pts = 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return path


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sound_comes_in_pieces_at_one_rate(tmp_path, rate):
    path = write_tone(tmp_path / "a.mkv", 2.5, rate)
    pieces = list(sound_pieces(path, piece_s=0.5))
    assert pieces[0][0] == 0.0
    samples = np.concatenate([samples for _, samples in pieces])
    assert samples.dtype == np.float32 and abs(len(samples) / RATE - 2.5) < 0.05
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert 0.5 < np.abs(samples).max() < 0.7  # 20,000 of 32,768


def test_no_sound_is_nothing(tmp_path):
    path = write_with_words(tmp_path / "a.mkv", "subrip", [(1.0, 2.0, "a")])
    assert list(sound_pieces(path)) == []
