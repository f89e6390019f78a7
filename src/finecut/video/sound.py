"""The sound of a video as plain samples, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from av.stream import Discard, Disposition

from finecut.video.container import open_container, tick
from finecut.video.spec import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

RATE = 16_000  # samples per second, of one channel: what speech recognisers take
PIECE_S = 600.0
MOST_ERRORS = 200  # in a row


def sound_pieces(
    path: str | Path, *, piece_s: float = PIECE_S, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """The first sound track in pieces: the time of each from the first shown frame, in seconds,
    and its samples [N] in -1 to 1, at 16 kHz, of one channel. Nothing where there is no sound.

    Raises:
        VideoError: the file cannot be opened.
    """
    with open_container(path, limits) as container:
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if not streams:
            return
        chosen = max(
            streams,
            key=lambda stream: (bool(stream.disposition & Disposition.default), -stream.index),
        )
        for other in container.streams:
            if other.index != chosen.index:
                other.discard = Discard.all
        zero_s = 0.0
        for picture in container.streams.video:
            if picture.start_time is not None:
                zero_s = float(picture.start_time * tick(picture))
                break
        # To integers, which are mixed without going beyond full scale.
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        held: list[NDArray[np.float32]] = []
        n_held, first_s = 0, None
        errors = 0
        packets = container.demux(chosen)
        while errors < MOST_ERRORS:
            try:
                packet = next(packets)
                frames: list[AudioFrame] = list(chosen.decode(packet))
                errors = 0
            except (StopIteration, IndexError):
                break
            except (FFmpegError, OSError):
                errors += 1
                continue
            for frame in frames:
                if first_s is None:
                    first_s = (frame.time or 0.0) - zero_s
                for part in resampler.resample(frame):
                    samples = part.to_ndarray().reshape(-1).astype(np.float32) / 32768.0
                    held.append(samples)
                    n_held += len(samples)
            if n_held >= piece_s * RATE and first_s is not None:
                yield first_s, np.concatenate(held)
                held, n_held, first_s = [], 0, None
        if n_held and first_s is not None:
            yield first_s, np.concatenate(held)
