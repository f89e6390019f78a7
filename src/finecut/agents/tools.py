"""What an agent may do with a library: search, look at a moment, save it, and ask how it stands.

Nothing here knows of a protocol; ``mcp_server.py`` offers these as MCP tools. Videos are named by
their ids in the index, never by paths, and files are written into one folder only.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finecut.errors import NotFound, UsageError
from finecut.search.filters import Filters
from finecut.server.library import Library, Snapshot
from finecut.server.media import FileChecker
from finecut.server.shown import shown_path

MAX_FRAMES = 8  # pictures of one moment: each costs an agent about a thousand tokens
FRAME_SIDE = 512  # pixels of a picture's longer side
MAX_TEXTS = 60  # words of one moment, by cue or line
MAX_CUT_S = 600.0
MAX_NAME = 120  # bytes of a file's name
MAX_STEM = 80  # bytes of a video's name in that of a cut


@dataclass(frozen=True)
class Picture:
    """A frame as JPEG, and the time it is first shown at."""

    time_s: float
    jpeg: bytes


class Tools:
    """The tools over one index, which is followed as it changes.

    Args:
        library: the index, opened when first asked for.
        output: where cuts are written; None: nothing may be written.
    """

    def __init__(self, library: Library, output: Path | None = None) -> None:
        self.library, self.output = library, output
        self._files = FileChecker()

    def search(
        self, query: str, limit: int, path_glob: str | None, min_duration_s: float | None
    ) -> dict[str, Any]:
        """The best moments for a query, as ``finecut search --json`` has them.

        Raises:
            UsageError: a query or filter that cannot be meant.
        """
        snapshot = self.library.snapshot()
        filters = None
        if path_glob is not None or min_duration_s is not None:
            filters = Filters(path_glob=path_glob, min_duration_s=min_duration_s)
        found = snapshot.searcher.search(query, k=limit, filters=filters, evidence=False)
        answer = found.to_json()
        for item in answer["results"]:
            item["video"] = shown_path(item["video"])
        return answer

    def describe(
        self, video_id: str, start_s: float, end_s: float, frames: int
    ) -> tuple[dict[str, Any], list[Picture]]:
        """What is known of a stretch: the video, the words with times, and pictures of it.

        Raises:
            NotFound: no such video, or its file is gone.
            UsageError: times that cannot be meant.
        """
        from finecut.video.frame import frame_at

        snapshot = self.library.snapshot()
        row = snapshot.video(video_id)
        _check_stretch(start_s, end_s, row.duration_s)
        file, path = self._files.open(video_id, row.paths)
        with file:
            middles = [start_s + (i + 0.5) * (end_s - start_s) / frames for i in range(frames)]
            pictures = [Picture(t, j) for j, t in (frame_at(path, m, FRAME_SIDE) for m in middles)]
        facts = {
            "video": shown_path(path),
            "video_id": video_id,
            "start_s": start_s,
            "end_s": end_s,
            "video_duration_s": round(row.duration_s, 3),
            "width": row.width,
            "height": row.height,
            "has_sound": row.has_audio,
            "words": _words(snapshot, video_id, start_s, end_s),
            "frame_times_s": [round(picture.time_s, 3) for picture in pictures],
        }
        return facts, pictures

    def cut(self, video_id: str, start_s: float, end_s: float, name: str | None) -> dict[str, Any]:
        """Save ``[start_s, end_s)`` of a video as a new file in the output folder.

        Raises:
            UsageError: no output folder, a name with a path in it, a file that is there already,
                or times that cannot be meant.
            NotFound: no such video, or its file is gone.
        """
        from finecut.video.cut import cut
        from finecut.video.cut_many import safe_stem

        if self.output is None:
            raise UsageError("Nothing may be written: start finecut mcp with --output DIR.")
        row = self.library.snapshot().video(video_id)
        _check_stretch(start_s, end_s, row.duration_s)
        if end_s - start_s > MAX_CUT_S:
            raise UsageError(f"A cut has at most {MAX_CUT_S:g} s, got {end_s - start_s:g} s.")
        file, path = self._files.open(video_id, row.paths)
        with file:
            if name is None:
                stem = _seen(safe_stem(Path(path).stem, MAX_STEM))
                name = f"{stem} {start_s:.1f}-{end_s:.1f}s.mp4"
            target = self.output / safe_name(name)
            self.output.mkdir(parents=True, exist_ok=True)
            report = cut(path, start_s, end_s, target)
        return {
            "file": str(target),
            "start_s": round(report.start_s, 3),
            "end_s": round(report.end_s, 3),
            "copied": report.copied,
        }

    def status(self) -> dict[str, Any]:
        """How the index stands: how much is in it, which model, what failed, which words."""
        snapshot = self.library.snapshot()
        index = snapshot.index
        failed = [row for row in index.videos if row.status == "failed"]
        manifest = snapshot.bundle.manifest
        return {
            "index": str(index.directory),
            "videos": len(snapshot.done),
            "clips": len(index.clips),
            "hours": round(sum(row.duration_s for row in snapshot.done) / 3600, 3),
            "bundle": index.meta.bundle_name,
            "languages": list(manifest.text.languages),
            "texts": dict(index.channels),
            "failed": dict(Counter(row.reason for row in failed)),
            "folders": [shown_path(root) for root in snapshot.roots],
            "may_write_to": None if self.output is None else str(self.output),
        }


def safe_name(name: str) -> str:
    """A file name that stays inside its folder, or an error.

    Raises:
        UsageError: empty, too long, hidden, or with a path or control characters in it.

    >>> safe_name("goal.mp4")
    'goal.mp4'
    """
    plain = unicodedata.normalize("NFC", name).strip()
    bad = any(c in '/\\:*?"<>|\0' for c in plain) or plain != _seen(plain)
    if not plain or bad or plain.startswith(".") or len(os.fsencode(plain)) > MAX_NAME:
        raise UsageError(
            f"A name is a plain file name like goal.mp4, at most {MAX_NAME} bytes, "
            f"got {name[:MAX_NAME]!r}."
        )
    return plain


def _seen(name: str) -> str:
    """Without control characters, joiners and the like, which nobody sees."""
    return "".join(c for c in name if unicodedata.category(c)[0] != "C")


def _check_stretch(start_s: float, end_s: float, duration_s: float) -> None:
    if not 0 <= start_s < end_s:
        raise UsageError(f"end_s must be after start_s, both from 0; got {start_s} and {end_s}.")
    if duration_s and start_s >= duration_s:
        raise UsageError(f"start_s is {start_s:g} s, but the video ends at {duration_s:g} s.")


def _words(snapshot: Snapshot, video_id: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
    place = next(
        (i for i, row in enumerate(snapshot.index.videos) if row.video_id == video_id), None
    )
    if place is None:
        raise NotFound(f"No video with the id {video_id!r:.80} is in this index.")
    found = [
        {
            "channel": text.channel,
            "start_s": round(text.start_s, 3),
            "end_s": round(text.end_s, 3),
            "text": text.text,
            "source": text.source,
        }
        for text in snapshot.index.texts_of(place)
        if text.start_s < end_s and text.end_s > start_s
    ]
    return found[:MAX_TEXTS]
