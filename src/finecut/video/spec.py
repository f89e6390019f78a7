"""What is asked of the decoder, and the limits no file may pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.bundle.manifest import Manifest

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["bilinear", "bicubic", "area"]


@dataclass(frozen=True, slots=True)
class DecodeSpec:
    """Which frames to take from a video and what they must look like.

    Raises:
        UsageError: a number that cannot be meant.
    """

    frames_per_second: float = 1.0
    max_frames: int = 12  # distinct frames in one clip at most
    height: int = 224
    width: int = 224
    resize: Resize = "crop"
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if not 0 < self.frames_per_second <= 120:  # NaN fails too
            raise UsageError(
                f"`frames_per_second` must be above 0 and at most 120, "
                f"got {self.frames_per_second}."
            )
        for name in ("max_frames", "height", "width"):
            if not 1 <= getattr(self, name) <= 8192:
                raise UsageError(f"`{name}` must be from 1 to 8192, got {getattr(self, name)}.")
        if self.resize not in ("crop", "squash", "pad"):
            raise UsageError(f"`resize` must be crop, squash or pad, got {self.resize!r}.")
        if self.interpolation not in ("bilinear", "bicubic", "area"):
            raise UsageError(
                f"`interpolation` must be bilinear, bicubic or area, got {self.interpolation!r}."
            )

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> DecodeSpec:
        """What a bundle says about its frames."""
        return cls(
            frames_per_second=manifest.sampling.frames_per_second,
            max_frames=manifest.sampling.max_frames,
            height=manifest.frames.height,
            width=manifest.frames.width,
            resize=manifest.frames.resize,
            interpolation=manifest.frames.interpolation,
        )

    @property
    def period_s(self) -> float:
        """Seconds from one wanted time to the next."""
        return 1.0 / self.frames_per_second

    @property
    def clip_bytes(self) -> int:
        """Bytes of the frames of the longest clip."""
        return self.max_frames * self.height * self.width * 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Guards against files made, or damaged, to exhaust the machine."""

    max_pixels: int = 8192 * 8192  # of one decoded frame
    max_duration_s: float = 48 * 3600.0
    max_clip_bytes: int = 1 << 30  # frames held at once for one file, after resizing
    max_gop_bytes: int = 64 << 20  # packets held back to plan a group of pictures
    max_gop_packets: int = 4096
    max_idle_packets: int = 20_000  # packets fed to the decoder without one frame coming out
    max_read_errors: int = 200  # demuxing errors in a row


DEFAULT_LIMITS = Limits()
