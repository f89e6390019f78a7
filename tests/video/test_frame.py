"""Single frames and pictures from outside."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from finecut.errors import LimitError, UsageError, VideoError
from finecut.video.frame import frame_at
from finecut.video.image import load_image
from finecut.video.spec import DecodeSpec, Limits
from video_corpus import CASES, GOOD, read_code

SPEC = DecodeSpec(height=64, width=64, resize="squash")


@pytest.mark.parametrize(
    "name", [n for n in GOOD if CASES[n].coded and n not in ("two-hours.mp4", "vfr.mp4")]
)
@pytest.mark.parametrize("time_s", [0.0, 0.7, 1.234, 1e6])
def test_the_frame_on_show_is_returned_with_its_time(corpus, name, time_s):
    jpeg, true_s = frame_at(corpus(name), time_s)
    picture = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert picture.shape[1::-1] == CASES[name].shown
    assert read_code(picture, CASES[name]) == pytest.approx(true_s * 1000, abs=1)
    assert true_s <= time_s + 0.001
    if name in ("dense-keys.mp4", "sparse-keys.mp4", "vp9.webm", "offset.ts") and time_s < 2:
        assert true_s > time_s - 0.041


def test_between_far_apart_frames_the_earlier_is_on_show(corpus):
    assert frame_at(corpus("vfr.mp4"), 4.9)[1] == pytest.approx(2.04)


def test_frames_are_made_smaller_never_larger(corpus):
    for side, size in ((160, (160, 90)), (960, (320, 180))):
        jpeg, _ = frame_at(corpus("dense-keys.mp4"), 0, max_side=side)
        assert Image.open(io.BytesIO(jpeg)).size == size


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_times_that_cannot_be_meant(corpus, time_s):
    with pytest.raises(UsageError, match="time_s"):
        frame_at(corpus("dense-keys.mp4"), time_s)


def test_frame_of_a_broken_file(corpus):
    with pytest.raises(VideoError) as caught:
        frame_at(corpus("text.mp4"), 0)
    assert caught.value.reason == "unreadable"


def saved(picture: Image.Image, kind: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def test_a_picture_becomes_one_frame(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(saved(Image.new("RGB", (100, 50), (200, 100, 50))))
    for source in (path, str(path), path.read_bytes()):
        frame = load_image(source, SPEC)
        assert frame.shape == (1, 64, 64, 3) and frame.dtype == np.uint8
        assert (frame == (200, 100, 50)).all()


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_pictures_obey_the_resize_rule(resize):
    picture = Image.new("RGB", (200, 100), "red")
    picture.paste("blue", (0, 0, 50, 100))
    frame = load_image(saved(picture), DecodeSpec(height=64, width=64, resize=resize))[0]
    blue = float((frame[32, :, 2] > 128).mean())
    black = float((frame.max((1, 2)) == 0).mean())
    assert blue == pytest.approx({"crop": 0.0, "squash": 0.25, "pad": 0.25}[resize], abs=0.03)
    assert black == pytest.approx(0.5 if resize == "pad" else 0.0, abs=0.02)


def test_camera_rotation_is_applied():
    picture = Image.new("RGB", (80, 40), "red")
    picture.paste("blue", (40, 0, 80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    frame = load_image(saved(picture, "JPEG", exif=exif, quality=95), SPEC)[0]
    assert frame[10, 32, 0] > 200 and frame[54, 32, 2] > 200


def test_what_is_transparent_becomes_white():
    assert (load_image(saved(Image.new("RGBA", (20, 20), (0, 0, 0, 0))), SPEC) == 255).all()
    palette = Image.new("P", (20, 20), 0)
    assert (load_image(saved(palette, transparency=0), SPEC) == 255).all()


def test_other_depths_and_modes():
    grey = Image.fromarray(np.full((20, 20), 32768, np.uint16))
    assert np.abs(load_image(saved(grey), SPEC).astype(int) - 127).max() <= 1
    for mode in ("1", "L", "LA", "P", "CMYK"):
        kind = "TIFF" if mode == "CMYK" else "PNG"
        assert load_image(saved(Image.new(mode, (9, 9)), kind), SPEC).shape == (1, 64, 64, 3)


def test_the_first_picture_of_an_animation():
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data, SPEC)[0, 0, 0, 0] > 200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no image", "unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unreadable"),
        (saved(Image.effect_noise((300, 300), 50))[:4000], "unreadable"),
    ],
)
def test_what_is_no_picture(data, reason):
    with pytest.raises(VideoError) as caught:
        load_image(data, SPEC)
    assert caught.value.reason == reason


def test_pictures_too_large_are_refused_before_decoding():
    bomb = saved(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000
    with pytest.raises(LimitError, match="pixels"):
        load_image(bomb, SPEC)
    with pytest.raises(LimitError):
        load_image(saved(Image.new("L", (64, 64))), SPEC, limits=Limits(max_pixels=1000))


def test_a_missing_picture(tmp_path):
    with pytest.raises(VideoError) as caught:
        load_image(tmp_path / "none.png", SPEC)
    assert caught.value.reason == "missing"
