"""Opening a video safely: a local file or an object of a store, known containers only, the best
video stream."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from finecut.errors import LimitError, VideoError
from finecut.storage.location import is_url
from finecut.video.spec import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from finecut.storage.media import MediaFile

# FFmpeg writes warnings about damaged files to stderr; our errors say what matters.
av.logging.set_level(None)

# Demuxers that read one local file. Left out are those that follow references to other files or
# addresses (hls, dash, concat, sdp, image sequences) and those that take any text for a picture.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,"
    "flv,live_flv,asf,asf_o,gif,ogg,rm,nut,mxf,gxf,dv,wtv,yuv4mpegpipe,apng,mjpeg,dhav,nsv,nuv,"
    "vc1,vc1test,cavsvideo,h261,h263,dirac,ipmovie,roq,bink,smk,flic,lmlm4,mv,pva,ty,swf,avs2,avs3,"
    "mp3,wav,w64,flac,aac,ac3,eac3,aiff,amr,caf,ape,wv,tta,au,mka"
)
_WHOLE_IMAGES = {"png", "bmp", "tiff", "webp"}


@contextmanager
def open_container(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[InputContainer]:
    """A file's container, whatever it holds, closed at the end.

    Args:
        path: of a local file, or the URL of an object, of which only what is needed is fetched.
        limits: guards.

    Raises:
        VideoError: ``reason`` is "missing", "not a file", "no permission", "empty" or "unreadable";
            of an object also "permission", "network" or "changed", and the last two at any time.
    """
    path = os.fspath(path)
    if is_url(path):
        with _open_object(path, limits) as container:
            yield container
        return
    _check_file(path)
    container = _open(path, "file:" + path, limits)
    try:
        yield container
    finally:
        container.close()


@contextmanager
def _open_object(path: str, limits: Limits) -> Iterator[InputContainer]:
    from finecut.storage.media import open_media

    with open_media(path) as media:
        if not media.size:
            raise VideoError(f"{path}: the object is empty.", reason="empty")
        try:
            container = _open(path, media, limits)
            try:
                yield container
            finally:
                container.close()
        except Exception as error:
            # What a decoder makes of a file that ends too soon says less than why it does.
            if media.failure is not None and media.failure is not error:
                raise media.failure from error
            raise
        media.check()


def _open(path: str, source: str | MediaFile, limits: Limits) -> InputContainer:
    try:
        return av.open(
            source,
            "r",
            metadata_errors="replace",
            options={
                # No container may have anything opened but itself.
                "protocol_whitelist": "file" if isinstance(source, str) else "none",
                "format_whitelist": CONTAINERS,
                "max_pixels": str(limits.max_pixels),
            },
        )
    except PermissionError as error:
        raise VideoError(f"{path}: no permission to read it.", reason="no permission") from error
    except (FFmpegError, OSError, ValueError, UnicodeError) as error:
        raise VideoError(
            f"{path}: not a video that can be read ({_short(error)}). "
            "The file is damaged, incomplete or of another kind.",
            reason="unreadable",
        ) from error


@contextmanager
def open_video(
    path: str | Path, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, with one decoder thread, closed at the end.

    Raises:
        VideoError: as `open_container`; ``reason`` may also be "no video stream", "unknown codec"
            or "no picture".
        LimitError: the frames are larger than the limits allow.
    """
    with open_container(path, limits) as container:
        stream = _best_stream(container, os.fspath(path))
        _check_size(stream, os.fspath(path), limits)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        context = stream.codec_context
        context.thread_type = "NONE"
        context.thread_count = 1
        context.options = {"max_pixels": str(limits.max_pixels)}
        yield container, stream


def tick(stream: Stream) -> Fraction:
    """Seconds of one step of a stream's clock."""
    return stream.time_base or Fraction(1, av.time_base)


def _check_file(path: str) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: there is no such file.", reason="missing") from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be read ({_short(error)}).") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device would block for ever
        raise VideoError(f"{path}: not a regular file.", reason="not a file")
    if status.st_size == 0:
        raise VideoError(f"{path}: the file is empty.", reason="empty")


def _best_stream(container: InputContainer, path: str) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & (Disposition.attached_pic)
    ]
    # Cover art that a tagger did not mark as such: one whole image beside sound.
    if container.streams.audio:
        streams = [
            s
            for s in streams
            if not (s.codec_context and s.codec_context.name in _WHOLE_IMAGES and s.frames <= 1)
        ]
    if not streams:
        raise VideoError(f"{path}: holds no video stream.", reason="no video stream")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{path}: its video codec is not known.", reason="unknown codec")

    def rank(stream: VideoStream) -> tuple[bool, int, bool, int]:
        context = stream.codec_context
        default = bool(stream.disposition & Disposition.default)
        return (stream.frames != 1, context.width * context.height, default, -stream.index)

    return max(known, key=rank)


def _check_size(stream: VideoStream, path: str, limits: Limits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width <= 0 or height <= 0:
        raise VideoError(
            f"{path}: its video stream holds no picture, or one of more than "
            f"{limits.max_pixels} pixels.",
            reason="no picture",
        )
    check_pixels(width, height, path, limits)


def check_pixels(width: int, height: int, path: str, limits: Limits) -> None:
    """Raise LimitError where a frame has more pixels than allowed."""
    if width * height > limits.max_pixels:
        raise LimitError(
            f"{path}: frames of {width} x {height} pixels, "
            f"at most {limits.max_pixels} are allowed.",
            reason="too many pixels",
        )


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.split("\n")[0][:120].rstrip(".")
