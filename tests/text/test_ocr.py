"""Words on the screen: read when they change, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from finecut.text.ocr import Screen, ScreenReader, rapid_reader

FONT = ImageFont.load_default(size=40)


def slide(*lines: str, shade: int = 40, noise: int = 0, seed: int = 0) -> np.ndarray:
    """A picture [540, 960, 3] with lines of text, like a frame of a recorded talk."""
    picture = Image.new("RGB", (960, 540), (shade, shade + 20, shade + 40))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((80, 80 + 90 * number), line, font=FONT, fill="white")
    array = np.asarray(picture).astype(np.int16)
    if noise:
        array = array + np.random.default_rng(seed).integers(-noise, noise + 1, array.shape)
    return np.clip(array, 0, 255).astype(np.uint8)


class Teller:
    """Says what was drawn, and counts how often it was asked."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.asked = 0

    def __call__(self, picture: np.ndarray) -> list[tuple[str, float]]:
        self.asked += 1
        return [(word, 0.9) for word in self.words]


def read(shows: list[tuple[list[str], np.ndarray]]) -> tuple[list[Screen], Teller, ScreenReader]:
    teller = Teller()
    reader = ScreenReader(teller)
    for second, (words, picture) in enumerate(shows):
        teller.words = words
        reader.add(float(second), picture)
    return reader.finish(float(len(shows))), teller, reader


def test_a_slide_is_read_once_for_as_long_as_it_stands():
    one, two = ["Quarterly revenue"], ["Tokyo Tower", "333 m"]
    shows = [(one, slide(*one, noise=6, seed=n)) for n in range(20)]
    shows += [(two, slide(*two, noise=6, seed=n)) for n in range(10)]
    screens, teller, reader = read(shows)
    assert screens == [
        Screen(0.0, 20.0, "Quarterly revenue"),
        Screen(20.0, 30.0, "Tokyo Tower / 333 m"),
    ]
    assert teller.asked == reader.stats.read == 2 and reader.stats.frames == 30


def test_one_more_line_is_a_change():
    shows = [(["first"], slide("first"))] * 4 + [(["first", "second"], slide("first", "second"))]
    screens, teller, _ = read(shows)
    assert [screen.text for screen in screens] == ["first", "first / second"]
    assert teller.asked == 2


def test_a_slow_change_of_light_is_none():
    shows = [(["words"], slide("words", shade=40 + 2 * n)) for n in range(12)]
    assert read(shows)[1].asked == 1


def test_words_end_when_they_go():
    shows = [(["here"], slide("here"))] * 3 + [([], slide())] * 3 + [(["here"], slide("here"))] * 2
    screens, _, _ = read(shows)
    assert screens == [Screen(0.0, 3.0, "here"), Screen(6.0, 8.0, "here")]


def test_readings_that_differ_a_little_are_one_screen():
    shows = [
        (["the golden gate bridge at dawn"], slide("a b c", shade=40)),
        (["the golden gate bridge at down"], slide("x y z", shade=90)),
    ]
    screens, teller, _ = read(shows)
    assert teller.asked == 2 and len(screens) == 1 and screens[0].end_s == 2.0


def test_moving_pictures_without_words_are_looked_at_half_as_often():
    rng = np.random.default_rng(0)
    shows = [([], rng.integers(0, 256, (540, 960, 3)).astype(np.uint8)) for _ in range(40)]
    screens, teller, _ = read(shows)
    assert screens == [] and 20 <= teller.asked <= 25


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 2000, 3), (2000, 5, 3), (13, 12, 3)])
def test_any_size_of_picture(shape):
    black, white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    read([(["a"], black), (["b"], white), (["c"], black[:1, :1])])


def test_unsure_lines_and_signs_are_left_out():
    reader = ScreenReader(lambda picture: [("sure", 0.9), ("unsure", 0.3), ("--", 0.99)])
    reader.add(0.0, slide("x"))
    assert reader.finish(1.0) == [Screen(0.0, 1.0, "sure")]


def test_rapidocr_reads_what_was_drawn():
    pytest.importorskip("rapidocr_onnxruntime", reason="the extra ocr is not installed")
    lines = rapid_reader()(slide("Quarterly revenue 2019", "Tokyo Tower opens"))
    assert [text for text, _ in lines] == ["Quarterly revenue 2019", "Tokyo Tower opens"]
    assert min(confidence for _, confidence in lines) > 0.9
    small = np.asarray(Image.fromarray(slide("Quarterly revenue")).resize((640, 360)))
    assert [text for text, _ in rapid_reader()(small)] == ["Quarterly revenue"]
