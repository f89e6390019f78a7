"""Videos to measure with: real pictures of the demo's packages, filmed, with the shares stated.

Hours cannot be shipped, and noise is not like a video: these are scenes of eight seconds with hard
cuts. Half of `mixed` is a hand-held camera that pans and zooms over photographs, a quarter is film
(a cartoon of 720p, a ride through a street), a quarter somebody who talks before a camera at rest
(small real film in front of a photograph). All of `moving` is camera and film: the worst case. All
pictures have a sensor's grain, so nothing is quite still. Coded by x264 at about its usual quality
(CRF 22), with key frames where they are due and nowhere else, cuts or not.

Videos are made once and kept in build/bench-videos.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from finecut.demo import material

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench-videos"
FPS = 30
SCENE_S = 8
GRAIN = 3.0  # of 255, standard deviation: a telephone indoors
SHARES = "1/2 camera over photographs, 1/4 film, 1/4 somebody talking before a camera at rest"
PHOTOS = (
    material.TEMPLE,
    material.CAT,
    material.COFFEE,
    material.FLOWER,
    material.ROCKET,
    material.ASTRONAUT,
    material.GALAXIES,
    material.COINS,
)
SCENES = {
    "mixed": ("camera", "talk", "camera", "film"),
    "moving": ("camera", "film", "camera", "camera"),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A way of coding."""

    width: int = 1280
    height: int = 720
    keys_s: float = 2.0  # between key frames
    codec: str = "libx264"
    preset: str = "veryfast"
    b_frames: bool = True

    @property
    def options(self) -> dict[str, str]:
        keys = round(self.keys_s * FPS)
        if self.codec == "libx264":
            params = f"keyint={keys}:min-keyint=1:scenecut=0"
            found = {"preset": self.preset, "crf": "22", "x264-params": params}
            return found if self.b_frames else {**found, "bf": "0"}
        if self.codec == "libx265":
            return {"preset": "ultrafast", "x265-params": f"log-level=none:keyint={keys}"}
        return {"deadline": "realtime", "cpu-used": "8", "g": str(keys), "b": "2M"}


def film(what: str, kinds: Sequence[Kind], seconds: float, seed: int = 0) -> list[Path]:
    """Videos of the same pictures, one of each kind; made where they are not there yet.

    Args:
        what: "mixed" or "moving".
        kinds: of one width and height.
        seconds: length.
        seed: other pictures.
    """
    here = inspect.getsource(sys.modules[__name__])  # other code, other videos
    made = hashlib.sha256(here.encode()).hexdigest()[:8]
    FOLDER.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        asked = f"{made}{what}{kind}{seconds}{seed}"
        paths.append(FOLDER / f"{what}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.mp4")
    missing = {path: kind for path, kind in zip(paths, kinds, strict=True) if not path.exists()}
    if not missing:
        return paths
    parts = {path.with_suffix(".part.mp4"): (path, kind) for path, kind in missing.items()}
    outs = [_Out(part, kind) for part, (_, kind) in parts.items()]
    shown = pictures(kinds[0], round(seconds * FPS), SCENES[what], seed)
    for number, planes in enumerate(shown):
        for out in outs:
            out.add(number, planes)
    for out in outs:
        out.close()
    for part, (path, _) in parts.items():
        part.replace(path)
    return paths


class _Out:
    """A file being coded."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._file = av.open(str(path), "w")
        stream = self._file.add_stream(kind.codec, rate=FPS, options=kind.options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        self._stream = stream

    def add(self, number: int, planes: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()


def pictures(kind: Kind, count: int, scenes: Sequence[str], seed: int) -> Iterator[np.ndarray]:
    """Planes of YUV 4:2:0, one array [height * 3 / 2, width] a frame."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, GRAIN, (12, kind.height, kind.width)).astype(np.int8)
    for number in range(count):
        scene, at = divmod(number, SCENE_S * FPS)
        if at == 0:
            what = scenes[scene % len(scenes)]
            shots = {"camera": _camera, "film": _film, "talk": _talk}[what](kind, rng, scene + seed)
        planes = next(shots)
        luma = planes[: kind.height]
        noisy = luma.astype(np.int16) + grain[number % len(grain)]
        planes[: kind.height] = np.clip(noisy, 0, 255)
        yield planes


def _planes(picture: Image.Image | av.VideoFrame, kind: Kind) -> np.ndarray:
    frame = av.VideoFrame.from_image(picture) if isinstance(picture, Image.Image) else picture
    return frame.reformat(kind.width, kind.height, "yuv420p", threads=1).to_ndarray()


def _photo(number: int) -> Image.Image:
    with Image.open(material.find(PHOTOS[number % len(PHOTOS)])) as opened:
        return opened.convert("RGB")


def _camera(kind: Kind, rng: np.random.Generator, number: int) -> Iterator[np.ndarray]:
    """A hand-held camera over a wall of photographs: it pans, zooms and trembles."""
    size = (kind.width * 5 // 6, kind.height * 5 // 6)
    wall = Image.new("RGB", (3 * size[0], 3 * size[1]))
    for i in range(9):
        place = (i % 3 * size[0], i // 3 * size[1])
        wall.paste(_photo(number * 3 + i).resize(size, Image.Resampling.LANCZOS), place)
    start, end = rng.uniform(0.1, 0.9, 2), rng.uniform(0.1, 0.9, 2)
    zoom = rng.uniform(0.6, 1.0, 2)
    for i in range(SCENE_S * FPS):
        share = i / (SCENE_S * FPS)
        wide = kind.width * (zoom[0] + (zoom[1] - zoom[0]) * share) * 1.2
        high = wide * kind.height / kind.width
        shake = [math.sin(i / 7) * 3 + rng.normal(0, 0.6), math.cos(i / 5) * 3]
        x, y = start + (end - start) * share
        left = x * (wall.width - wide - 12) + 6 + shake[0]
        top = y * (wall.height - high - 12) + 6 + shake[1]
        box = (left, top, left + wide, top + high)
        view = wall.resize((kind.width, kind.height), Image.Resampling.BILINEAR, box=box)
        yield _planes(view, kind)


def _frames(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of a film, forwards and backwards, without end."""
    with av.open(str(path)) as opened:
        frames = list(opened.decode(video=0))
    while True:
        yield from frames
        yield from reversed(frames)


def _film(kind: Kind, rng: np.random.Generator, number: int) -> Iterator[np.ndarray]:
    source = (material.BUNNY, material.BIKES)[number // 2 % 2]
    for frame in _frames(material.find(source)):
        yield _planes(frame, kind)


def _talk(kind: Kind, rng: np.random.Generator, number: int) -> Iterator[np.ndarray]:
    """Somebody in a window of half the height before a photograph that rests."""
    resting = _photo(number).resize((kind.width, kind.height), Image.Resampling.BICUBIC)
    size = (kind.height * 11 // 18 // 2 * 2, kind.height // 2)
    place = (kind.width - size[0] - kind.width // 16, kind.height - size[1])
    for frame in _frames(material.find(material.CARPHONE)):
        view = resting.copy()
        view.paste(frame.to_image().resize(size, Image.Resampling.BILINEAR), place)
        yield _planes(view, kind)


def pieces(source: Path, folder: Path, count: int) -> list[Path]:
    """Copies of a video that begin at different key frames: other files, with other contents.

    Where there are more copies than key frames, a few frames are left out at the end.
    """
    with av.open(str(source)) as opened:
        stream = opened.streams.video[0]
        packets = [packet for packet in opened.demux(stream) if packet.size]
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        made = []
        for number in range(count):
            turn, key = divmod(number, len(keys))
            first = keys[key]
            # The end joined before the beginning: every piece is as long as the source.
            parts = [packets[first:], packets[:first]] if first else [packets]
            parts[-1] = parts[-1][: len(parts[-1]) - turn]
            path = folder / f"{source.stem}-{number:03}.mp4"
            _join(path, stream, parts)
            made.append(path)
    return made


def _join(path: Path, stream: av.VideoStream, parts: Sequence[Sequence[av.Packet]]) -> None:
    with av.open(str(path), "w") as out:
        target = out.add_stream_from_template(stream)
        shift = 0
        for part in parts:
            first = min(packet.pts for packet in part)
            end = max(packet.pts + (packet.duration or 1) for packet in part)
            for packet in part:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts - first + shift, packet.dts - first + shift
                copy.time_base, copy.duration = packet.time_base, packet.duration
                copy.is_keyframe = packet.is_keyframe
                copy.stream = target
                out.mux(copy)
            shift += end - first
