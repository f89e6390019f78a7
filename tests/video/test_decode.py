"""Decoding on the corpus: true times, tiling, verdicts, shots, repeats, orientation, colours."""

from __future__ import annotations

import io
import itertools
import math
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from finecut.errors import LimitError, UsageError, VideoError
from finecut.video.decode import decode_clips
from finecut.video.frame import frame_at
from finecut.video.plan import SLACK
from finecut.video.probe import probe
from finecut.video.spec import DecodeSpec, Limits
from video_corpus import CASES, COLOURS, DAMAGED, GOOD, REFUSED, read_code, steps, write_video

SQUASH = DecodeSpec(resize="squash")
READABLE = GOOD + DAMAGED
# Long, or with frames so far apart that the slack may find one more or one less.
_UNEVEN = ("two-hours.mp4", "vfr.mp4")


def decode(path, spec=SQUASH, **more):
    stream = decode_clips(path, spec, **more)
    clips = list(stream)
    return clips, stream.stats


def test_the_corpus_has_not_shrunk():
    assert len(GOOD) >= 34 and len(DAMAGED) >= 7 and len(REFUSED) >= 10


@pytest.mark.parametrize("name", READABLE)
def test_clips_tile_the_video_and_hold_rising_true_times(corpus, name):
    case = CASES[name]
    clips, stats = decode(corpus(name))
    assert clips[0].start_s == 0
    assert [c.number for c in clips] == list(range(len(clips)))
    for clip, following in itertools.pairwise(clips):
        assert clip.end_s == following.start_s
    for clip in clips:
        assert clip.start_s < clip.end_s
        assert clip.start_s <= clip.times[0] and clip.times[-1] < clip.end_s
        assert (np.diff(clip.times) > 0).all()
        assert 1 <= len(clip.times) <= SQUASH.max_frames
        assert clip.frames.shape == (len(clip.times), 224, 224, 3)
    assert sum(len(c.times) for c in clips) + stats.frames_repeated == stats.frames_sampled
    if case.duration_s is not None:
        assert clips[-1].end_s == pytest.approx(case.duration_s, abs=0.05)
    if case.coded:
        for clip in clips:
            told = [read_code(frame, case) for frame in clip.frames]
            assert told == pytest.approx(clip.times * 1000, abs=case.code_tolerance_ms)


@pytest.mark.parametrize("name", [n for n in GOOD if CASES[n].coded and n not in _UNEVEN])
def test_planned_and_plain_decoding_answer_the_same_wanted_times(corpus, name):
    """The oracle decodes everything; the plan may take another frame within its slack only."""
    planned = np.concatenate([c.times for c in decode(corpus(name))[0]])
    plain_clips, plain_stats = decode(corpus(name), planned=False)
    plain = np.concatenate([c.times for c in plain_clips])
    assert len(planned) == len(plain)
    assert np.abs(planned - plain).max() <= SLACK + 1e-6
    assert plain_stats.packets_fed == plain_stats.packets


@pytest.mark.parametrize("name", GOOD)
def test_no_more_is_fed_than_by_plain_decoding(corpus, name):
    _, stats = decode(corpus(name))
    assert stats.packets_fed <= stats.packets
    assert stats.frames_lost == 0


def test_dense_key_frames_are_all_that_is_decoded(corpus):
    _, stats = decode(corpus("dense-keys.mp4"))
    assert (stats.packets, stats.packets_fed, stats.frames_sampled) == (150, 6, 6)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_files_say_why_in_a_word(corpus, name):
    case, path = CASES[name], corpus(name)
    with pytest.raises(VideoError) as caught:
        probe(path)
        list(decode_clips(path, SQUASH))
    assert caught.value.reason == case.verdict
    assert str(path) in str(caught.value)


def test_damage_is_counted(corpus):
    _, stats = decode(corpus("hole.mp4"))
    assert stats.frames_lost > 0


def test_truncated_file_yields_its_beginning(corpus):
    clips, _ = decode(corpus("truncated.mp4"))
    assert 2 < clips[-1].end_s < 6
    assert probe(corpus("truncated.mp4")).duration_s == pytest.approx(8)


@pytest.mark.parametrize("name", ["rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4"])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_rotated_frames_stand_upright(corpus, name, resize):
    clips, _ = decode(corpus(name), DecodeSpec(resize=resize))
    told = [read_code(f, CASES[name], resize) for f in clips[0].frames]
    assert told == pytest.approx(clips[0].times * 1000, abs=1)
    width, height = CASES[name].shown
    assert clips[0].strip_width / clips[0].strip_height == pytest.approx(width / height, rel=0.02)


def test_wide_pixels_are_shown_wide(corpus):
    clips, _ = decode(corpus("wide-pixels.mp4"))
    assert clips[0].strip_width / clips[0].strip_height == pytest.approx(320 / 180, rel=0.02)
    assert (probe(corpus("wide-pixels.mp4")).width, probe(corpus("wide-pixels.mp4")).height) == (
        320,
        180,
    )


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_crop_and_pad_keep_the_code_readable(corpus, resize):
    clips, _ = decode(corpus("dense-keys.mp4"), DecodeSpec(resize=resize, height=160, width=200))
    told = [read_code(f, CASES["dense-keys.mp4"], resize) for f in clips[0].frames]
    assert told == pytest.approx(clips[0].times * 1000, abs=1)


def test_pad_is_black_outside_the_picture(corpus):
    clips, _ = decode(corpus("dense-keys.mp4"), DecodeSpec(resize="pad"))
    assert clips[0].frames[:, :48].max() == 0 and clips[0].frames[:, -48:].max() == 0
    assert clips[0].frames[:, 50:-50].mean() > 50


def test_very_wide_videos_are_cropped_without_growing(corpus):
    clips, _ = decode(corpus("very-wide.mp4"), DecodeSpec(resize="crop"))
    assert clips[0].frames.shape == (1, 224, 224, 3)
    assert clips[0].strip_width <= 320


def test_shots_become_clips_cut_at_the_change(corpus):
    clips, _ = decode(corpus("shots.mp4"))
    assert [c.end_s for c in clips] == pytest.approx([3.0, 7.0, 11.0], abs=0.15)
    for clip, colour in zip(clips, ("red", "blue", "green"), strict=True):
        mean = clip.frames[:, :100].mean((0, 1, 2))
        assert np.abs(mean - np.array(COLOURS[colour]) * 0.85).max() < 45


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(("name", "colour"), COLOURS.items())
def test_colours_come_through(tmp_path, pix_fmt, name, colour):
    path = write_video(
        tmp_path / "c.mkv",
        [0, 40],
        codec="ffv1",
        pix_fmt=pix_fmt,
        shots=((math.inf, name),),
        code=False,
    )
    clips, _ = decode(path)
    # The pattern's brightness swings between 0.7 and 1.
    brightest = clips[0].frames[0].reshape(-1, 3).max(0)
    assert np.abs(brightest.astype(int) - colour).max() <= 8


def test_a_still_hour_is_one_clip_of_one_frame(corpus):
    clips, stats = decode(corpus("static-hour.mp4"))
    assert len(clips) == 1 and len(clips[0].times) == 1
    assert clips[0].end_s == pytest.approx(3600)
    assert stats.frames_repeated == 3599


def test_hours_are_decoded_as_a_stream(corpus):
    stream = decode_clips(corpus("two-hours.mp4"), SQUASH)
    first = next(stream)
    assert first.end_s < 60
    assert stream.stats.packets < 400  # the rest of the file has not been read
    stream.close()


def test_from_s_leaves_the_beginning_out(corpus):
    clips, _ = decode(corpus("sparse-keys.mp4"), from_s=12.3)
    assert clips[0].start_s == 12.3
    assert 12.3 <= clips[0].times[0] <= 13.5
    told = [read_code(f, CASES["sparse-keys.mp4"]) for c in clips for f in c.frames]
    assert told == pytest.approx(np.concatenate([c.times for c in clips]) * 1000, abs=1)


@pytest.mark.parametrize(
    "name", ["dense-keys.mp4", "sparse-keys.mp4", "offset.ts", "mpeg4.avi", "hevc-10bit.mkv"]
)
def test_seeking_ahead_finds_the_same_frames_and_reads_less(corpus, name, monkeypatch):
    spec = DecodeSpec(frames_per_second=0.2, resize="squash")
    plain, all_read = decode(corpus(name), spec)
    monkeypatch.setattr("finecut.video.sample.SEEK_SAVES_BYTES", 1)
    sought, less_read = decode(corpus(name), spec)
    assert len(plain) == len(sought)
    for one, other in zip(plain, sought, strict=True):
        assert list(one.times) == list(other.times)
        assert (one.frames == other.frames).all()
        assert one.end_s == other.end_s
    assert less_read.packets <= all_read.packets
    if name == "dense-keys.mp4":
        assert less_read.packets < 0.8 * all_read.packets


@pytest.mark.parametrize("fps", [0.2, 0.5, 2.0, 5.0, 25.0, 60.0])
def test_other_rates(corpus, fps):
    spec = DecodeSpec(frames_per_second=fps, resize="squash", max_frames=16)
    clips, _ = decode(corpus("dense-keys.mp4"), spec)
    times = np.concatenate([c.times for c in clips])
    assert len(times) == pytest.approx(min(150, 6 * fps), abs=1)
    told = [read_code(f, CASES["dense-keys.mp4"]) for c in clips for f in c.frames]
    assert told == pytest.approx(times * 1000, abs=1)


def test_max_frames_holds_and_leaves_no_splinter(tmp_path):
    path = write_video(tmp_path / "long.mp4", steps(13, 10), options={"preset": "ultrafast"})
    clips, _ = decode(path, DecodeSpec(resize="squash", max_frames=12))
    assert [len(c.times) for c in clips] == [7, 6]


def test_the_strip_holds_every_frame(corpus):
    clips, _ = decode(corpus("shots.mp4"))
    for clip in clips:
        strip = Image.open(io.BytesIO(clip.strip))
        assert strip.format == "JPEG"
        assert strip.size == (clip.strip_width * len(clip.times), clip.strip_height)
        tile = np.asarray(strip)[:, -clip.strip_width :]
        assert read_code(tile, CASES["shots.mp4"]) == pytest.approx(clip.times[-1] * 1000, abs=1)


def test_small_model_frames_do_not_make_blurred_thumbnails(corpus):
    clips, _ = decode(corpus("dense-keys.mp4"), DecodeSpec(height=32, width=32, resize="squash"))
    tile = np.asarray(Image.open(io.BytesIO(clips[0].strip)))[:, -clips[0].strip_width :]
    assert clips[0].strip_height == 120
    assert np.abs(np.diff(tile.astype(int), axis=1)).max() > 100  # the code's edges stay sharp


def test_a_changing_picture_size_is_no_trouble(tmp_path):
    parts = []
    for number, (width, height) in enumerate(((320, 180), (160, 240))):
        part = write_video(
            tmp_path / f"{number}.ts",
            steps(3),
            width=width,
            height=height,
            options={"preset": "ultrafast", "g": "25"},
            offset_ms=3000 * number,
        )
        parts.append(part.read_bytes())
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    clips, _ = decode(path)
    assert clips[-1].end_s == pytest.approx(6, abs=0.2)
    assert all(c.frames.shape[1:] == (224, 224, 3) for c in clips)


def test_timestamps_that_leap_far_ahead_are_left_out(tmp_path):
    times = [*steps(3), *(1e9 + t for t in steps(1))]
    path = write_video(tmp_path / "leap.mkv", times, options={"preset": "ultrafast", "g": "10"})
    clips, _ = decode(path)
    assert len(clips[-1].times) and clips[-1].end_s < 48 * 3600


@pytest.mark.parametrize("planned", [True, False])
def test_time_begins_at_the_first_shown_frame_of_an_edit_list(tmp_path, planned):
    """The first 0.52 s are stored, and needed to decode the rest, but marked as not shown."""
    whole = write_video(tmp_path / "whole.mp4", steps(5), options={"preset": "veryfast", "g": "50"})
    path = tmp_path / "edited.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts -= round(0.52 / stream.time_base)
                packet.dts -= round(0.52 / stream.time_base)
                packet.stream = copy
                out.mux(packet)
    clips, _ = decode(path, planned=planned)
    told = [read_code(frame) for clip in clips for frame in clip.frames]
    times = np.concatenate([clip.times for clip in clips])
    assert times[0] == 0 and clips[-1].end_s == pytest.approx(4.48)
    assert told == pytest.approx(times * 1000 + 520, abs=1)
    jpeg, true_s = frame_at(path, 0.3)
    assert true_s == pytest.approx(0.28)
    assert read_code(np.asarray(Image.open(io.BytesIO(jpeg)))) == 800


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(max_pixels=1000), "too many pixels"), (Limits(max_duration_s=3), "too long")],
)
def test_limits(corpus, limits, reason):
    with pytest.raises(LimitError) as caught:
        probe(corpus("dense-keys.mp4"), limits=limits)
    assert caught.value.reason == reason


def test_memory_limit_counts_the_frames_held(corpus):
    spec = DecodeSpec(max_frames=1024, height=1024, width=1024)
    with pytest.raises(LimitError, match="MiB"):
        list(decode_clips(corpus("dense-keys.mp4"), spec))


def test_overlong_groups_are_decoded_in_parts(corpus):
    limits = Limits(max_gop_packets=40)
    clips, stats = decode(corpus("sparse-keys.mp4"), limits=limits)
    told = [read_code(f, CASES["sparse-keys.mp4"]) for c in clips for f in c.frames]
    assert told == pytest.approx(np.concatenate([c.times for c in clips]) * 1000, abs=1)
    assert stats.frames_sampled == 25


def test_a_file_without_progress_in_time_is_given_up(tmp_path):
    options = {"preset": "ultrafast", "g": "10"}
    path = write_video(tmp_path / "fast.mp4", steps(0.4, 1000), rate=1000, options=options)
    _, stats = decode(path, limits=Limits(max_idle_packets=100))
    assert 100 < stats.packets < 130
    assert decode(path)[1].packets == 400


@pytest.mark.parametrize("bad", [0, -1, math.nan, 1000])
def test_spec_refuses_what_cannot_be_meant(bad):
    with pytest.raises(UsageError, match="frames_per_second"):
        DecodeSpec(frames_per_second=bad)


@pytest.mark.parametrize("field", ["max_frames", "height", "width"])
def test_spec_names_the_wrong_number(field):
    with pytest.raises(UsageError, match=field):
        DecodeSpec(**{field: 0})


def test_missing_file_folder_and_pipe(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    for path, reason in (
        (tmp_path / "none.mp4", "missing"),
        (tmp_path, "not a file"),
        (tmp_path / "pipe.mp4", "not a file"),
    ):
        with pytest.raises(VideoError) as caught:
            probe(path)
        assert caught.value.reason == reason


def test_file_names_that_are_no_text(tmp_path, corpus):
    import os

    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 %d:?.mp4")
    with open(odd, "wb") as file:
        file.write(corpus("dense-keys.mp4").read_bytes())
    assert probe(odd).duration_s == 6
    assert len(decode(odd)[0]) == 1


def test_nothing_is_printed(corpus, capfd):
    for name in ("flipped-bytes.mp4", "hole.ts", "random.mp4", "truncated.mkv"):
        try:
            decode(corpus(name))
        except VideoError:
            continue
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [
        ("shots.mp4", "h264", True),
        ("hevc.mp4", "hevc", False),
        ("vp9.webm", "vp9", False),
        ("av1.mp4", "av1", False),
        ("mpeg4.avi", "mpeg4", False),
        ("moving.gif", "gif", False),
        ("offset.ts", "h264", True),
    ],
)
def test_probe(corpus, name, codec, audio):
    case, found = CASES[name], probe(corpus(name))
    assert (found.codec, found.has_audio, found.rotation) == (codec, audio, 0)
    assert (found.width, found.height) == (case.width, case.height)
    assert found.duration_s == pytest.approx(case.duration_s, abs=0.1)
    assert found.fps == pytest.approx(10 if codec == "gif" else 25)
    assert found.size_bytes == corpus(name).stat().st_size


def test_probe_of_a_rotated_file(corpus):
    found = probe(corpus("rotated-90.mp4"))
    assert (found.width, found.height, found.rotation) == (180, 320, 90)


def test_probe_reads_when_it_was_recorded(tmp_path):
    path = tmp_path / "dated.mp4"
    with av.open(str(path), "w") as out:
        out.metadata["creation_time"] = "2024-05-06T07:08:09.000000Z"
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux([*stream.encode(frame), *stream.encode()])
    assert probe(path).recorded_at == 1714979289.0


def test_the_largest_of_several_streams_is_taken(corpus):
    assert probe(corpus("two-streams.mkv")).width == 320


@pytest.mark.slow
def test_shared_clips_decode(shared):
    paths = sorted((shared / "data").glob("*/clips/*.m[pk][4v]"))
    assert len(paths) > 100
    for path in paths:
        clips, stats = decode(path, DecodeSpec())
        assert stats.frames_lost == 0
        assert clips[-1].end_s == pytest.approx(probe(path).duration_s, abs=0.1)
        assert stats.frames_sampled == pytest.approx(clips[-1].end_s, abs=1.01)


@pytest.mark.parametrize("name", READABLE)
def test_a_file_is_told_as_probing_it_tells(corpus, name):
    told = []
    stream = decode_clips(corpus(name), SQUASH, on_probe=told.append)
    next(stream)
    assert told == [probe(corpus(name))]
    stream.close()


def test_a_file_without_a_frame_is_told_before_it_fails(corpus):
    path = corpus("hollow.y4m")
    told = []
    with pytest.raises(VideoError, match="not one frame decodes"):
        list(decode_clips(path, SQUASH, on_probe=told.append))
    assert told == [probe(path)]
