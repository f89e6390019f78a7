"""From a decoded frame to upright RGB at the size asked for, resized while converting colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.reformatter import Interpolation as SwsInterpolation
from PIL import Image

from finecut.video.spec import DecodeSpec
from finecut.video.strip import thumb_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SWS = {
    "bilinear": SwsInterpolation.BILINEAR,
    "bicubic": SwsInterpolation.BICUBIC,
    "area": SwsInterpolation.AREA,
}
_PIL = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
# Beyond this aspect ratio a centre cut is made before resizing, not after: 8192 x 2 pixels would
# otherwise become 917,504 x 224.
_MAX_ASPECT = 4.0
_UNSPECIFIED_COLORSPACE = 2  # AVCOL_SPC_UNSPECIFIED
_HD_HEIGHT = 720  # untagged video from here up is taken as BT.709, below as BT.601, as players do


class FrameConverter:
    """Turns the decoded frames of one video into arrays.

    Args:
        spec: size, resize rule and interpolation of the frames that go to a model.
        pixel_aspect: width of a pixel over its height.
    """

    def __init__(self, spec: DecodeSpec, pixel_aspect: float = 1.0) -> None:
        self.spec = spec
        self.pixel_aspect = pixel_aspect
        self._frames = VideoReformatter()  # each keeps its scaler as long as the sizes stay
        self._thumbs = VideoReformatter()
        self._scaled: VideoFrame | None = None  # the last frame, resized

    def shown(self, frame: VideoFrame) -> tuple[float, float]:
        """Width and height as shown, pixels made square."""
        width, height = frame.width * self.pixel_aspect, float(frame.height)
        return (height, width) if frame.rotation % 180 == 90 else (width, height)

    def model_frame(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """[height, width, 3] RGB as the spec asks."""
        spec = self.spec
        width, height = self.shown(frame)
        if spec.resize == "squash":
            return self._whole(frame, spec.width, spec.height)
        if spec.resize == "crop":
            scale = max(spec.width / width, spec.height / height)
        else:
            scale = min(spec.width / width, spec.height / height)
        inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
        if spec.resize == "pad":
            inner = self._whole(frame, min(inner_w, spec.width), min(inner_h, spec.height))
            return pad(inner, spec.width, spec.height)
        inner_w, inner_h = max(inner_w, spec.width), max(inner_h, spec.height)
        if inner_w > _MAX_ASPECT * spec.width or inner_h > _MAX_ASPECT * spec.height:
            self._scaled = None
            whole = Image.fromarray(_rgb(VideoReformatter(), frame, None, "bilinear"))
            return cover(whole, spec)
        inner = self._whole(frame, inner_w, inner_h)
        return centre(inner, spec.width, spec.height)

    def thumbnail(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """[height, width, 3] RGB, small, the whole picture, upright.

        Right after `model_frame` of the same frame it is made from that one's scaled picture, where
        that is no smaller: ten times cheaper than from the decoded frame.
        """
        width, height = thumb_size(*self.shown(frame))
        size = (height, width) if frame.rotation % 180 == 90 else (width, height)
        source = self._scaled
        if (
            source is None
            or source.pts != frame.pts
            or source.width < 0.9 * size[0]
            or source.height < 0.9 * size[1]
        ):
            source = frame
        turns = _turns(frame)
        return _rot(_rgb(self._thumbs, source, size, "bilinear"), turns)

    def picture(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """[height, width, 3] RGB, the whole picture, upright, at a size given as shown."""
        self._scaled = None
        return self._whole(frame, width, height)

    def _whole(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        size = (height, width) if frame.rotation % 180 == 90 else (width, height)
        self._scaled = _scale(self._frames, frame, size, self.spec.interpolation)
        return _rot(np.asarray(self._scaled.to_ndarray(), np.uint8), _turns(frame))


def _scale(
    scaler: VideoReformatter, frame: VideoFrame, size: tuple[int, int] | None, how: str
) -> VideoFrame:
    """The frame as RGB at (width, height), not yet turned upright."""
    width, height = size or (frame.width, frame.height)
    return scaler.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=_colorspace(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=_SWS[how],
        threads=1,
    )


def _rgb(
    scaler: VideoReformatter, frame: VideoFrame, size: tuple[int, int] | None, how: str
) -> NDArray[np.uint8]:
    return np.asarray(_scale(scaler, frame, size, how).to_ndarray(), np.uint8)


def _turns(frame: VideoFrame) -> int:
    """Quarter turns counter-clockwise, as FFmpeg and `numpy.rot90` count, that make it upright."""
    return round(frame.rotation / 90) % 4


def _rot(picture: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    return np.rot90(picture, turns) if turns else picture


def _colorspace(frame: VideoFrame) -> Colorspace | None:
    if frame.colorspace != _UNSPECIFIED_COLORSPACE:
        return None
    return Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601


def centre(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The middle of a picture at least that large."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def pad(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture no larger than that, in the middle of black."""
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return out


def cover(picture: Image.Image, spec: DecodeSpec) -> NDArray[np.uint8]:
    """[height, width, 3]: the largest middle part of a picture of the asked shape, resized."""
    width, height = picture.size
    scale = min(width / spec.width, height / spec.height)
    part_w, part_h = spec.width * scale, spec.height * scale
    left, top = (width - part_w) / 2, (height - part_h) / 2
    box = (left, top, left + part_w, top + part_h)
    resized = picture.resize((spec.width, spec.height), _PIL[spec.interpolation], box=box)
    return np.asarray(resized)


def fit_picture(picture: Image.Image, spec: DecodeSpec) -> NDArray[np.uint8]:
    """[height, width, 3]: an RGB picture by the spec's resize rule."""
    if spec.resize == "crop":
        return cover(picture, spec)
    width, height = spec.width, spec.height
    if spec.resize == "pad":
        scale = min(width / picture.width, height / picture.height)
        width = min(width, max(1, round(picture.width * scale)))
        height = min(height, max(1, round(picture.height * scale)))
    resized = np.asarray(picture.resize((width, height), _PIL[spec.interpolation]))
    return pad(resized, spec.width, spec.height) if spec.resize == "pad" else resized
