"""Encoding beside decoding and writing: batches of clips through a bundle, in threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from finecut.errors import BundleError, FinecutError, ShapeError
from finecut.types import DecodedClip, VideoTokens

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle

BATCHES = 2  # of the bundle's own batch size, put together: more clips of one length in each

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Encoded(Generic[Owner]):
    """One clip that went through: its tokens, or why there are none."""

    owner: Owner
    clip: DecodedClip
    tokens: VideoTokens | None
    error: str = ""


class Encoder(Generic[Owner]):
    """Encodes batches in the background; results come in the order they were put in.

    Use as a context manager.

    Args:
        bundle: the model. One run per thread at a time.
        threads: batches encoded side by side.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle = bundle
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="finecut-encode")
        self._under_way: deque[Future[tuple[list[Encoded[Owner]], float]]] = deque()
        self.busy_s = 0.0  # summed over threads

    def __enter__(self) -> Encoder[Owner]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def batch_frames(self) -> int:
        """Frames that are worth a batch."""
        return BATCHES * self._bundle.manifest.video.batch_frames

    @property
    def full(self) -> bool:
        """Every thread has work, and the next work waits already."""
        return len(self._under_way) > self._threads

    def put(self, batch: Sequence[tuple[Owner, DecodedClip]]) -> None:
        """Encode a batch; call `take` until it is not `full` first."""
        self._under_way.append(self._pool.submit(self._encode, list(batch)))

    def take(self, *, wait: bool) -> list[Encoded[Owner]]:
        """Clips that are through: with ``wait`` the next batch at least, if there is one.

        Raises:
            BundleError: the bundle does not run.
        """
        found: list[Encoded[Owner]] = []
        while self._under_way and (wait or self._under_way[0].done()):
            encoded, seconds = self._under_way.popleft().result()
            self.busy_s += seconds
            found += encoded
            wait = False
        return found

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._under_way

    def _encode(self, batch: list[tuple[Owner, DecodedClip]]) -> tuple[list[Encoded[Owner]], float]:
        started = time.perf_counter()
        try:
            tokens = self._bundle.encode_clips([clip.frames for _, clip in batch])
            for item in tokens:
                check_finite(item)
            encoded = [
                Encoded(owner, clip, item)
                for (owner, clip), item in zip(batch, tokens, strict=True)
            ]
        except BundleError:
            raise  # nothing else would encode either
        except FinecutError:  # one of them is at fault: found one by one
            encoded = [self._encode_one(owner, clip) for owner, clip in batch]
        return encoded, time.perf_counter() - started

    def _encode_one(self, owner: Owner, clip: DecodedClip) -> Encoded[Owner]:
        try:
            (tokens,) = self._bundle.encode_clips([clip.frames])
            check_finite(tokens)
        except BundleError:
            raise
        except FinecutError as error:
            return Encoded(owner, clip, None, f"clip {clip.number} does not encode: {error}")
        return Encoded(owner, clip, tokens)


def arrays_of(tokens: VideoTokens) -> list[np.ndarray]:
    """The arrays there are."""
    arrays = (tokens.recall, tokens.frames, tokens.patches, tokens.frame_values)
    return [array for array in arrays if array is not None]


def check_finite(tokens: VideoTokens) -> None:
    """Raise ShapeError where a token holds NaN or infinity: no search could order it."""
    if not all(bool(np.isfinite(array).all()) for array in arrays_of(tokens)):
        raise ShapeError("the bundle gave tokens that are not finite numbers.")
