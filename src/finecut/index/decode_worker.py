"""The program of a decoding process: paths in on stdin, clips out on stdout.

A process of its own, so that a file that crashes or stalls a decoder costs that file and nothing
else; started with ``python -m``, so that the caller's main module is not run again.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from typing import IO

import numpy as np

from finecut.errors import VideoError
from finecut.index.wire import BrokenMessage, receive, send
from finecut.video.decode import decode_clips
from finecut.video.probe import probe
from finecut.video.spec import DecodeSpec, Limits


def main() -> None:
    """Serve requests until stdin ends, which it does when the indexing process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    # Whatever a library prints must not get between the messages.
    os.dup2(2, 1)
    try:
        setup = receive(requests)
        spec, limits = DecodeSpec(**setup["spec"]), Limits(**setup["limits"])
        send(answers, {"kind": "ready"})
        while True:
            _decode(str(receive(requests)["path"]), spec, limits, answers)
    except (BrokenMessage, BrokenPipeError):
        pass
    # Closing a pipe nobody reads would raise again while Python shuts down.
    sys.stderr.flush()
    os._exit(0)


def _decode(path: str, spec: DecodeSpec, limits: Limits, answers: IO[bytes]) -> None:
    try:
        send(answers, {"kind": "probe", "probe": asdict(probe(path, limits=limits))})
        stream = decode_clips(path, spec, limits=limits)
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
            send(answers, header, {"frames": clip.frames, "times": clip.times, "strip": strip})
        send(answers, {"kind": "end", "stats": asdict(stream.stats)})
    except (BrokenPipeError, BrokenMessage):
        raise
    except VideoError as error:
        send(answers, {"kind": "failed", "reason": error.reason, "message": str(error)})
    except MemoryError:
        message = f"{path}: decoding needs more memory than there is."
        send(answers, {"kind": "failed", "reason": "too much memory", "message": message})
    except Exception as error:  # any error of any decoder is this file's failure, and is told
        message = f"{path}: {type(error).__name__}: {error}"
        send(answers, {"kind": "failed", "reason": "unreadable", "message": message})


if __name__ == "__main__":
    main()
