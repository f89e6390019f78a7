"""Decoding processes and the bounded queue their clips come through."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from finecut.errors import FinecutError, ShapeError
from finecut.index.read_texts import ReadTexts, TextRequest, from_message
from finecut.index.wire import BrokenMessage, receive, send
from finecut.types import DecodedClip, VideoProbe

if TYPE_CHECKING:
    from finecut.video.spec import DecodeSpec, Limits

QUEUE_BYTES = 256 << 20  # of decoded frames waiting to be encoded
STALL_S = 120.0  # without a clip or an end from a decoder that is not being held back
POLL_S = 0.1

Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read of one file."""

    path: str
    clips: bool = True
    texts: TextRequest | None = None

    def to_json(self) -> dict[str, Any]:
        texts = self.texts.to_json() if self.texts else None
        return {"path": self.path, "clips": self.clips, "texts": texts}


@dataclass(frozen=True, slots=True)
class Probed:
    """The first message of a file that opens."""

    probe: VideoProbe


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message of a file that was read to its end."""

    frames_lost: int
    duration_s: float
    stages_s: tuple[float, ...]  # seconds spent reading, decoding, resizing, and on texts


@dataclass(frozen=True, slots=True)
class Failed:
    """The last message of a file that could not be read."""

    reason: str
    message: str


Message = Probed | DecodedClip | ReadTexts | Ended | Failed


class DecodePool(Generic[Job]):
    """Decodes files in processes of one decoder thread each. Use as a context manager.

    Args:
        jobs: each with what to read, taken one by one as decoders fall idle.
        spec: the frames to take.
        limits: guards against hostile files.
        workers: processes.
        stall_s: seconds after which a silent decoder is ended and its file given up.
    """

    def __init__(
        self,
        jobs: Iterable[tuple[Job, Request]],
        spec: DecodeSpec,
        limits: Limits,
        *,
        workers: int,
        stall_s: float = STALL_S,
    ) -> None:
        self._jobs: Iterator[tuple[Job, Request]] = iter(jobs)
        self._jobs_lock = threading.Lock()
        self._spec, self._limits = spec, limits
        self._stall_s = stall_s
        held = max(2 * workers, min(64, QUEUE_BYTES // max(1, spec.clip_bytes)))
        self._queue: queue.Queue[tuple[Job, Message] | BaseException | None] = queue.Queue(held)
        self._stopping = threading.Event()
        self._workers = [_Worker(self, number) for number in range(max(1, workers))]
        self._running = len(self._workers)

    def __enter__(self) -> DecodePool[Job]:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the decoders at once; clips that were not taken are lost."""
        self._stopping.set()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()

    def get(self, timeout_s: float) -> tuple[Job, Message] | None:
        """The next message of any job, or None after ``timeout_s`` without one.

        A job's messages come in order: ``Probed``, texts, clips, then ``Ended`` or ``Failed``.
        Where reading texts ends the process, the clips come without texts.

        Raises:
            StopIteration: all jobs have ended.
        """
        deadline = time.monotonic() + timeout_s
        while self._running:
            for worker in self._workers:
                worker.kill_if_stalled(self._stall_s)
            try:
                item = self._queue.get(timeout=max(0.0, min(POLL_S, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    return None
                continue
            if item is None:
                self._running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                return item
        raise StopIteration

    # -- for the workers' threads --------------------------------------------------------------

    def _next_job(self) -> tuple[Job, Request] | None:
        with self._jobs_lock:
            return None if self._stopping.is_set() else next(self._jobs, None)

    def _put(self, item: tuple[Job, Message] | BaseException | None) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=POLL_S)
                return


class _Worker(threading.Thread):
    """A thread that talks to one decoding process, and starts another when that one dies."""

    def __init__(self, pool: DecodePool[Any], number: int) -> None:
        super().__init__(name=f"finecut-decode-{number}", daemon=True)
        self._pool = pool
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting_since: float | None = None  # for the process, not for room in the queue
        self._stalled = False

    def run(self) -> None:
        try:
            while (item := self._pool._next_job()) is not None:
                for message in self._decode(item[1]):
                    self._pool._put((item[0], message))
        except BaseException as error:  # no thread may end without the main one knowing
            self._pool._put(error)
        finally:
            self.kill()
            self._pool._put(None)

    def kill(self) -> None:
        """End the process, if there is one."""
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(OSError):
                process.kill()
            process.wait()

    def kill_if_stalled(self, stall_s: float) -> None:
        """End a process that has been silent for too long."""
        since = self._waiting_since
        if since is not None and time.monotonic() - since > stall_s:
            self._stalled = True
            self.kill()

    def _decode(self, request: Request) -> Iterator[Message]:
        path = request.path
        n_silent = 0  # processes that died before their first word: perhaps of something else
        probed = False
        while True:
            self._stalled = False
            n_heard = 0
            texts_due = request.texts if request.clips else None
            try:
                process = self._running_process()
                assert process.stdin is not None
                send(process.stdin, request.to_json())
                while True:
                    plain = self._received(process)
                    if plain.get("kind") == "alive":
                        continue
                    n_heard += 1
                    message = _message(plain)
                    if isinstance(message, ReadTexts):
                        texts_due = None
                    if not (isinstance(message, Probed) and probed):
                        yield message
                    probed = True
                    if isinstance(message, (Ended, Failed)):
                        return
            except (BrokenMessage, BrokenPipeError) as error:
                self.kill()
                code = self._process.returncode if self._process else None
                self._process = None
                if self._pool._stopping.is_set():
                    return
                reason, what = "decoder crashed", f"crashed ({code}: {error})"
                if self._stalled:
                    reason = "timeout"
                    what = f"was silent for {self._pool._stall_s:g} s and was ended"
                elif not n_heard and not n_silent:
                    n_silent += 1
                    continue
                if n_heard and texts_due is not None:
                    # The video is worth more than its words: once more, without them.
                    note = f"the process that read the words {what}"
                    yield ReadTexts(notes=[note], unread=set(texts_due.parts))
                    request = replace(request, texts=None)
                    continue
                yield Failed(reason, f"{path}: the decoder {what}.")
                return

    def _running_process(self) -> subprocess.Popen[bytes]:
        """The process, started where there is none.

        Raises:
            FinecutError: it cannot be started, or ends at once: no file is to blame for that.
        """
        if self._process is not None and self._process.poll() is None:
            return self._process
        paths = os.pathsep.join(path for path in sys.path if path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "finecut.index.decode_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            )
            if self._pool._stopping.is_set():
                raise BrokenMessage("stopping")  # the process is ended where that is caught
            assert self._process.stdin is not None
            setup = {"spec": asdict(self._pool._spec), "limits": asdict(self._pool._limits)}
            send(self._process.stdin, setup)
            self._received(self._process)
        except (OSError, BrokenMessage) as error:
            if self._pool._stopping.is_set():
                raise BrokenMessage("stopping") from error
            raise FinecutError(
                f"A decoding process cannot be started ({error}). Is there memory left, and is "
                "PyAV installed? Try: finecut doctor"
            ) from error
        return self._process

    def _received(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        self._waiting_since = time.monotonic()
        try:
            return receive(process.stdout)
        finally:
            self._waiting_since = None


def _message(plain: dict[str, Any]) -> Message:
    try:
        return _parsed(plain)
    except (ShapeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMessage(f"not a message: {error}") from error


def _parsed(plain: dict[str, Any]) -> Message:
    kind = plain["kind"]
    if kind == "clip":
        return DecodedClip(
            number=int(plain["number"]),
            start_s=float(plain["start_s"]),
            end_s=float(plain["end_s"]),
            frames=plain["frames"],
            times=plain["times"].astype(np.float64, copy=False),
            strip=plain["strip"].tobytes(),
            strip_width=int(plain["strip_width"]),
            strip_height=int(plain["strip_height"]),
        )
    if kind == "probe":
        return Probed(VideoProbe(**plain["probe"]))
    if kind == "end":
        stats = plain["stats"]
        stages_s = (stats["read_s"], stats["decode_s"], stats["resize_s"], plain["texts_s"])
        return Ended(stats["frames_lost"], stats["duration_s"], stages_s)
    if kind == "texts":
        return from_message(plain)
    if kind == "failed":
        return Failed(str(plain["reason"]), str(plain["message"]))
    raise BrokenMessage(f"a message of kind {kind!r:.40}")
