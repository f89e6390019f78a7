"""The frames that a recipe takes from a video, a still or several stills, as training sees them.

Frames are found by number in order of showing, as the published loaders do, but without decoding
all of them: the packets' times tell which pictures are wanted, and only the groups of pictures
that hold one are decoded.
"""

from __future__ import annotations

import itertools
import math
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from finecut.errors import VideoError
from finecut.learn.data.benchmark import CaptionedVideo
from finecut.learn.data.folder import IMAGE_SUFFIXES, Folder
from finecut.learn.data.sampling import Sampling
from finecut.learn.preprocess import crop_image, keep_frames
from finecut.video.container import check_pixels, open_video, tick
from finecut.video.image import open_picture
from finecut.video.packets import DecodeStats, read_packets
from finecut.video.pixels import FrameConverter
from finecut.video.probe import pixel_aspect
from finecut.video.seek import EARLIER_S, Timeline, seek_before
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec


@dataclass(frozen=True, slots=True)
class Footage:
    """Where the pictures of one item are: a video file and a stretch of it, or stills in order."""

    files: tuple[Path, ...]
    start_s: float = 0.0
    end_s: float | None = None

    @classmethod
    def of(cls, item: CaptionedVideo, folder: Folder) -> Footage | None:
        """The files of an annotated item below the folder; None where one of them is missing."""
        files = [folder.video(name) for name in item.frames or (item.video,)]
        present = tuple(file for file in files if file is not None)
        return cls(present, item.start_s, item.end_s) if len(present) == len(files) else None

    @property
    def stills(self) -> bool:
        return len(self.files) > 1 or self.files[0].suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Frames:
    """``pixels`` uint8 [F, size, size, 3] RGB, and the seconds of the video they stand for."""

    pixels: NDArray[np.uint8]
    duration_s: float  # of the video or the stretch; 0 for stills


def read_frames(footage: Footage, sampling: Sampling, size: int) -> Frames:
    """The sampled frames, upright, resized as CLIP's preprocessing does.

    Args:
        footage: what to read.
        sampling: which frames.
        size: pixels, square.

    Raises:
        VideoError: a file cannot be read, or not one of the wanted frames decodes.
    """
    if footage.stills:
        places = keep_frames(len(footage.files), sampling.max_frames, sampling.frame_position)
        images = [open_picture(footage.files[i], (2 * size, 2 * size)) for i in places]
        return Frames(np.stack([fit(image, size, sampling) for image in images]), 0.0)
    return _read_video(footage, sampling, size)


def fit(image: Image.Image, size: int, sampling: Sampling) -> NDArray[np.uint8]:
    """One picture as uint8 [size, size, 3] by the recipe's resize rule."""
    if sampling.resize == "squash":
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)
    return crop_image(image, size)


def check_readable(footage: Footage) -> str:
    """Why not one picture can be read; '' when the first one can. Decodes a frame, no more."""
    try:
        if footage.stills:
            for file in footage.files:
                open_picture(file, (32, 32))
            return ""
        with open_video(footage.files[0]) as (container, stream):
            for packet in _packets(container, stream):
                if _decode(stream, packet):
                    return ""
            return "" if _decode(stream, None) else "no frame decodes"
    except VideoError as error:
        return error.reason


def _read_video(footage: Footage, sampling: Sampling, size: int) -> Frames:
    path = footage.files[0]
    with open_video(path) as (container, stream):
        listed = _LISTED.get(path)
        if listed is None:  # a film cut into a hundred clips is listed once
            listed = _LISTED.put(path, list_frames(container, stream))
        times = listed.times
        if not times:
            raise VideoError(f"{path}: holds no picture.", reason="no frame decodes")
        numbers = sampling.numbers(times, listed.fps, footage.start_s, footage.end_s)
        found: dict[int, NDArray[np.uint8]] = {}
        convert = FrameConverter(DecodeSpec(), pixel_aspect(stream))
        for number, frame in decode_numbers(container, stream, listed, numbers):
            check_pixels(frame.width, frame.height, str(path), DEFAULT_LIMITS)
            width, height = map(round, convert.shown(frame))
            whole = Image.fromarray(convert.picture(frame, max(1, width), max(1, height)))
            found[number] = fit(whole, size, sampling)
    if not found:
        raise VideoError(
            f"{path}: not one of the {len(numbers)} wanted frames decodes. "
            "The file is damaged or incomplete.",
            reason="no frame decodes",
        )
    end = times[-1] + 1 / listed.fps if footage.end_s is None else footage.end_s
    pixels = np.stack([found[number] for number in sorted(found)])
    return Frames(pixels, max(0.0, end - footage.start_s))


# ---------------------------------------------------------------------- frames by number


class _Recent:
    """The frame lists of the files read last, as long as they do not change."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[tuple[Path, int, int], FrameList] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path) -> FrameList | None:
        with self._lock:
            found = self._held.get(_stamp(path))
            if found is not None:
                self._held.move_to_end(_stamp(path))
            return found

    def put(self, path: Path, listed: FrameList) -> FrameList:
        with self._lock:
            self._held[_stamp(path)] = listed
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return listed


def _stamp(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns


_LISTED = _Recent(8)  # 8 bytes a frame and some: a film has 200,000


@dataclass(frozen=True)
class FrameList:
    """Every shown frame of a stream, known from its packets."""

    pts: list[int]  # rising; empty where packets carry no times: then frames are counted
    keys: list[int]  # pts of the key frames, rising
    count: int
    fps: float
    line: Timeline

    @property
    def times(self) -> list[float]:
        if not self.pts:
            return [i / self.fps for i in range(self.count)]
        return [self.line.seconds(pts) for pts in self.pts]


def list_frames(container: InputContainer, stream: VideoStream) -> FrameList:
    """The frames of a stream by reading its packets, without decoding; then back to the start."""
    pts: list[int] = []
    keys: list[int] = []
    count = 0
    for packet in _packets(container, stream):
        if packet.is_discard:
            continue
        count += 1
        if packet.pts is not None:
            pts.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    timed = len(set(pts)) == count and bool(keys)
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    fps = rate if math.isfinite(rate) and 0 < rate <= 1000 else 25.0
    shown = sorted(p for p in pts if p >= min(keys)) if timed else []
    line = Timeline(shown[0] if shown else 0, float(tick(stream)), 1 / fps, timed)
    return FrameList(shown, sorted(keys), len(shown) if timed else count, fps, line)


def decode_numbers(
    container: InputContainer, stream: VideoStream, listed: FrameList, numbers: Sequence[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """(number, frame) of the wanted frames in order; those that do not decode are left out."""
    if not listed.pts:
        yield from _counted(container, stream, listed, set(numbers))
        return
    number_of = {listed.pts[number]: number for number in numbers}
    waiting = sorted(number_of)
    while waiting:
        key = listed.keys[max(0, bisect_right(listed.keys, waiting[0]) - 1)]
        run = _one_run(waiting, listed.keys, key)
        for pts, frame in _from_key(container, stream, listed, key, run):
            yield number_of[pts], frame
        waiting = waiting[len(run) :]  # damage: what was asked for and did not come is given up


def _one_run(waiting: list[int], keys: list[int], key: int) -> list[int]:
    """The wanted pts to take in one run from ``key``: those whose groups follow one another, so
    that there is nothing to leap over."""
    run: list[int] = []
    group = bisect_right(keys, key) - 1
    for pts in waiting:
        own = bisect_right(keys, pts) - 1
        if own > group + 1:
            break
        group = own
        run.append(pts)
    return run


def _from_key(
    container: InputContainer, stream: VideoStream, listed: FrameList, key: int, run: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """(pts, frame) of the wanted frames, decoded from a key frame on, and no further."""
    wanted, key_s = set(run), listed.line.seconds(key)
    context = stream.codec_context
    for early_s in EARLIER_S:
        seek_before(container, stream, listed.line, key_s - early_s)
        context.flush_buffers()
        landed = False
        beyond = 0  # key frames behind the last wanted frame
        for packet in _packets(container, stream):
            late = not landed and packet.pts is not None and packet.pts > key
            landed = True
            if late and early_s <= key_s:
                break  # a container without an index came down behind the key frame: try earlier
            beyond += packet.is_keyframe and packet.pts is not None and packet.pts > run[-1]
            if beyond > 1:
                break
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from _those(_decode(stream, packet), wanted)
            if not wanted:
                return
        else:
            late = False
        if not late:
            break
    yield from _those(_decode(stream, None), wanted)
    context.flush_buffers()


def _those(frames: list[VideoFrame], wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
    for frame in frames:
        if frame.pts is not None and frame.pts in wanted:
            wanted.discard(frame.pts)
            yield frame.pts, frame


def _counted(
    container: InputContainer, stream: VideoStream, listed: FrameList, numbers: set[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames of a stream whose packets carry no times: decoded from the start and counted."""
    seek_before(container, stream, listed.line, 0.0)
    stream.codec_context.flush_buffers()
    stream.codec_context.skip_frame = "DEFAULT"
    count = 0
    for packet in itertools.chain(_packets(container, stream), [None]):
        for frame in _decode(stream, packet):
            if count in numbers:
                yield count, frame
            count += 1
        if count > max(numbers):
            return


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    return read_packets(container, stream, DecodeStats(), DEFAULT_LIMITS)


def _decode(stream: VideoStream, packet: Packet | None) -> list[VideoFrame]:
    try:
        return stream.codec_context.decode(packet)
    except (FFmpegError, ValueError):
        return []
