"""Which frames of a video a recipe takes, and at what size: ``[data.sampling]`` of a recipe."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finecut.errors import UsageError
from finecut.learn.preprocess import FramePosition, decoded_frame_indices, keep_frames

Rule = Literal["published", "time"]
Resize = Literal["crop", "squash"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Frames per second, how many are kept and where, as CLIP4Clip's loader has them.

    ``rule`` "published" counts frames (29.97 fps as 29, so times drift: ``preprocess.py``);
    "time" takes the frame on show at every 1/framerate second, as an index does.
    ``resize`` "crop" is CLIP's centre cut, "squash" what the built-in starter sees.
    """

    max_frames: int = 12
    framerate: int = 1  # frames decoded of each second
    frame_position: FramePosition = "uniform"
    rule: Rule = "published"
    resize: Resize = "crop"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("frame_position", ("head", "tail", "uniform")),
            ("rule", ("published", "time")),
            ("resize", ("crop", "squash")),
        ):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"sampling: {name} must be one of {', '.join(allowed)}, "
                    f"got {getattr(self, name)!r}."
                )
        for name in ("framerate", "max_frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not 1 <= value <= 1000:
                raise UsageError(f"sampling: {name} must be from 1 to 1000, got {value}.")

    def numbers(
        self,
        times: Sequence[float],
        fps: float,
        start_s: float = 0.0,
        end_s: float | None = None,
    ) -> list[int]:
        """Numbers of the frames to decode, rising, at most ``max_frames``, at least one.

        A stretch beyond the end, or between two frames, gives the last frame before its end.

        Args:
            times: seconds of every frame of the video, rising.
            fps: what the container says; below 1 (a slide show) the rule "time" is used, for the
                published one divides by zero.
            start_s: of the stretch; the published rule takes whole seconds around it.
            end_s: of the stretch; None: the video's end.

        >>> Sampling().numbers([i / 30 for i in range(75)], 30.0)
        [0, 30, 60]
        >>> Sampling(rule="time").numbers([0.0, 0.9, 1.1, 2.0], 1.5)
        [0, 1, 3]
        """
        if self.rule == "published" and fps >= 1:
            found = self._by_number(len(times), fps, start_s, end_s)
        else:
            found = self._by_time(times, start_s, end_s)
        if not found:
            last = len(times) if end_s is None else bisect_left(times, end_s)
            found = [max(0, min(last, len(times)) - 1)]
        return [found[i] for i in keep_frames(len(found), self.max_frames, self.frame_position)]

    def _by_number(self, count: int, fps: float, start_s: float, end_s: float | None) -> list[int]:
        rate = min(self.framerate, int(fps))  # the released loader refuses a higher one
        if start_s == 0 and end_s is None:
            return decoded_frame_indices(count, fps, rate)
        end = math.ceil(count / int(fps)) if end_s is None else math.ceil(end_s)
        return decoded_frame_indices(count, fps, rate, (int(start_s), end))

    def _by_time(self, times: Sequence[float], start_s: float, end_s: float | None) -> list[int]:
        end = (times[-1] + 1e-6 if times else 0.0) if end_s is None else end_s
        found: list[int] = []
        tick = 0
        while (wanted := start_s + tick / self.framerate) < end:
            number = bisect_left(times, wanted + 1e-4) - 1  # the frame on show
            if number >= 0 and (not found or number > found[-1]):
                found.append(number)
            if number >= len(times) - 1:
                break
            tick += 1
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a cache says it was made with."""
        return asdict(self)
