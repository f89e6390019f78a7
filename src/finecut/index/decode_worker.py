"""The program of a decoding process: requests in on stdin, clips and texts out on stdout.

A process of its own, so that a file that crashes or stalls a decoder costs that file and nothing
else; started with ``python -m``, so that the caller's main module is not run again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from finecut.errors import VideoError
from finecut.index.read_texts import TextRequest, read_texts, to_message
from finecut.index.wire import BrokenMessage, receive, send
from finecut.types import VideoProbe
from finecut.video.decode import decode_clips
from finecut.video.packets import DecodeStats
from finecut.video.spec import DecodeSpec, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEAT_S = 5.0  # between signs of life where a long stretch of a video makes no clip


class _Steps:
    """Steps of some work, counted as packets of a video are."""

    def __init__(self) -> None:
        self.packets = 0

    def step(self) -> None:
        self.packets += 1


class _Answers:
    """What goes back, from the decoding thread and from the one that says it is alive."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.at_work: DecodeStats | _Steps | None = None
        threading.Thread(target=self._beat, daemon=True).start()

    def send(
        self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        with self._lock:
            send(self._stream, header, arrays)

    def _beat(self) -> None:
        """Say so as long as packets are being read: an hour of one picture is one clip."""
        pause, before = threading.Event(), (None, 0)
        while not pause.wait(BEAT_S):
            at_work = self.at_work
            now = (at_work, at_work.packets if at_work else 0)
            if at_work is not None and now != before:
                try:
                    self.send({"kind": "alive"})
                except (OSError, ValueError):
                    return  # nobody listens any more: the decoding thread will notice
            before = now


def main() -> None:
    """Serve requests until stdin ends, which it does when the indexing process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = _Answers(os.fdopen(os.dup(1), "wb", buffering=1 << 16))
    # Whatever a library prints must not get between the messages.
    os.dup2(2, 1)
    try:
        setup = receive(requests)
        spec, limits = DecodeSpec(**setup["spec"]), Limits(**setup["limits"])
        answers.send({"kind": "ready"})
        while True:
            request = receive(requests)
            _serve(str(request["path"]), request, spec, limits, answers)
    except (BrokenMessage, BrokenPipeError):
        pass
    # Closing a pipe nobody reads would raise again while Python shuts down.
    sys.stderr.flush()
    os._exit(0)


def _serve(
    path: str, request: Mapping[str, Any], spec: DecodeSpec, limits: Limits, answers: _Answers
) -> None:
    """Answer one request: texts, clips or both, then an end; or that it failed."""
    asked = TextRequest.from_json(request["texts"]) if request["texts"] else None
    try:
        if request["clips"]:
            stats, texts_s = _decode(path, asked, spec, limits, answers)
        else:
            stats, texts_s = DecodeStats(), _read(path, asked, answers)
        answers.send({"kind": "end", "stats": asdict(stats), "texts_s": texts_s})
    except (BrokenPipeError, BrokenMessage):
        raise
    except VideoError as error:
        answers.send({"kind": "failed", "reason": error.reason, "message": str(error)})
    except MemoryError:
        message = f"{path}: decoding needs more memory than there is."
        answers.send({"kind": "failed", "reason": "too much memory", "message": message})
    except Exception as error:  # any error of any decoder is this file's failure, and is told
        message = f"{path}: {type(error).__name__}: {error}"
        answers.send({"kind": "failed", "reason": "unreadable", "message": message})
    finally:
        answers.at_work = None


def _read(path: str, asked: TextRequest | None, answers: _Answers) -> float:
    """Send the texts that are asked for; returns the seconds it took."""
    if asked is None:
        return 0.0
    started = time.perf_counter()
    steps, before = _Steps(), answers.at_work
    answers.at_work = steps
    answers.send(*to_message(read_texts(path, asked, alive=steps.step)))
    answers.at_work = before
    return time.perf_counter() - started


def _decode(
    path: str, asked: TextRequest | None, spec: DecodeSpec, limits: Limits, answers: _Answers
) -> tuple[DecodeStats, float]:
    texts_s = 0.0

    def begin(probe: VideoProbe) -> None:
        nonlocal texts_s
        answers.send({"kind": "probe", "probe": asdict(probe)})
        # Before the clips: should it crash, nothing has been sent that would come twice.
        texts_s = _read(path, asked, answers)

    stream = decode_clips(path, spec, limits=limits, on_probe=begin)
    answers.at_work = stream.stats
    for clip in stream:
        header = {
            "kind": "clip",
            "number": clip.number,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "strip_width": clip.strip_width,
            "strip_height": clip.strip_height,
        }
        strip = np.frombuffer(clip.strip, np.uint8)
        answers.send(header, {"frames": clip.frames, "times": clip.times, "strip": strip})
    return stream.stats, texts_s


if __name__ == "__main__":
    main()
