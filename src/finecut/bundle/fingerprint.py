"""The fingerprint of a bundle: one hash over everything that changes an embedding.

Two bundles with the same fingerprint may share an index. The re-ranker and the calibration are
left out on purpose: they read stored tokens, so changing them needs no new index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finecut.bundle.manifest import Frames, Sampling, Text, Video

_RECIPE = "finecut-fingerprint-1"


def sha256(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 hex digits.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def fingerprint(
    sampling: Sampling, frames: Frames, video: Video, text: Text, hashes: Mapping[str, str]
) -> str:
    """SHA-256 over the two encoder graphs, the tokenizer, and what is done before and between.

    Args:
        sampling: how frames are taken.
        frames: how they are resized.
        video: the video section; ``batch_frames`` only changes speed and is left out.
        text: the text section; ``languages`` only informs and is left out.
        hashes: SHA-256 by file name, of at least the two graphs and the tokenizer.
    """
    parts = {
        "recipe": _RECIPE,
        "sampling": sampling.model_dump(mode="json"),
        "frames": frames.model_dump(mode="json"),
        "video": video.model_dump(mode="json", exclude={"graph", "batch_frames"}),
        "text": text.model_dump(mode="json", exclude={"graph", "tokenizer", "languages"}),
        "video_graph": hashes[video.graph],
        "text_graph": hashes[text.graph],
        "tokenizer": hashes[text.tokenizer],
    }
    return sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())
