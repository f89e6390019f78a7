"""Scenes of coloured shapes, and drawing them at any moment and any size. NumPy alone.

Lengths are shares of the frame's side, times seconds; one scene drawn at twice the size shows the
same thing, which is how arrays for training and video files agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLOURS = {
    "red": (225, 30, 40),
    "green": (30, 170, 50),
    "blue": (40, 70, 235),
    "yellow": (240, 220, 30),
    "white": (240, 240, 240),
    "purple": (160, 50, 200),
    "cyan": (40, 215, 225),
    "orange": (245, 130, 20),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
GROUND = 24  # grey level of the background
NOISE = 6.0  # standard deviation of the background's grain, grey levels; a frame has its own
GRAIN = 32  # grains along a side, whatever the size in pixels

Manner = Literal["path", "blinks", "shakes"]
Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """A colour and a shape; its words are what captions call it."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Sprite:
    """A thing on its way: size and place go evenly from the first to the second over its time."""

    thing: Thing
    size0: float  # radius
    size1: float
    place0: Place  # x, y of the centre
    place1: Place
    start_s: float  # seen in [start_s, end_s)
    end_s: float
    manner: Manner = "path"  # blinks: away every other second; shakes: from side to side


@dataclass(frozen=True, slots=True)
class Scene:
    """What a clip shows, back to front, and the sentence that says so."""

    sprites: tuple[Sprite, ...]
    caption: str
    group: int
    duration_s: float
    noise_seed: int


def render(scene: Scene, times: ArrayLike, side: int) -> NDArray[np.uint8]:
    """Frames [F, side, side, 3] uint8 RGB of the scene at ``times`` [F], in seconds.

    The grain of the ground is a function of the scene and the whole second.

    >>> dot = Sprite(Thing("white", "square"), 0.4, 0.4, (0.5, 0.5), (0.5, 0.5), 1.0, 2.0)
    >>> frames = render(Scene((dot,), "", 0, 2.0, 0), [0.0, 1.0], 16)
    >>> frames[:, 8, 8].max(axis=1) > 200
    array([False,  True])
    """
    times = np.asarray(times, dtype=np.float64)
    axis = (np.arange(side) + 0.5) / side
    xs, ys = axis[None, :], axis[:, None]
    frames = np.stack([_ground(scene, int(t), side) for t in times])  # [F, side, side, 3]
    for sprite in scene.sprites:
        colour = np.array(COLOURS[sprite.thing.colour], dtype=np.float32)
        for frame, t in zip(frames, times, strict=True):
            if not _seen(sprite, t):
                continue
            size, (x, y) = _state(sprite, t)
            inside = _distance(sprite.thing.shape, (xs - x) / size, (ys - y) / size)
            cover = np.clip(inside * size * side + 0.5, 0.0, 1.0)[..., None]  # one soft pixel
            frame += cover.astype(np.float32) * (colour - frame)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _ground(scene: Scene, second: int, side: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([scene.noise_seed, second])
    grain = rng.normal(0.0, NOISE, (GRAIN, GRAIN)).astype(np.float32)
    rows = np.arange(side) * GRAIN // side
    grey = GROUND + grain[rows][:, rows]
    return np.repeat(grey[..., None], 3, axis=2)


def _seen(sprite: Sprite, t: float) -> bool:
    here = sprite.start_s <= t < sprite.end_s
    return here and not (sprite.manner == "blinks" and int(t) % 2 == 1)


def _state(sprite: Sprite, t: float) -> tuple[float, Place]:
    share = (t - sprite.start_s) / (sprite.end_s - sprite.start_s)
    size = sprite.size0 + (sprite.size1 - sprite.size0) * share
    (x0, y0), (x1, y1) = sprite.place0, sprite.place1
    x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
    if sprite.manner == "shakes":
        x += 0.1 if int(t) % 2 else -0.1
    return size, (x, y)


def _distance(shape: str, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """How far inside the shape of radius 1 a point is, negative outside; roughly, in radii."""
    square = np.maximum(np.abs(x), np.abs(y))
    round_ = np.hypot(x, y)
    if shape == "circle":
        return 1.0 - round_
    if shape == "square":
        return 0.85 - square
    if shape == "ring":
        return 0.28 - np.abs(round_ - 0.72)
    if shape == "diamond":
        return (1.15 - np.abs(x) - np.abs(y)) / np.sqrt(2)
    if shape == "cross":
        return np.minimum(1.0 - square, 0.33 - np.minimum(np.abs(x), np.abs(y)))
    # triangle, point up
    return np.minimum(0.8 - y, (0.9 + y - 1.9 * np.abs(x)) / 2.147)
