"""Results as lists: a table, a playlist, a TREC run, a submission to the Video Browser Showdown."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from finecut.errors import UsageError
from finecut.search.formats import Entry, file_url, label, one_line

COLUMNS = ("rank", "video", "start_s", "end_s", "best_s", "confidence", "score", "video_id")
_STEP = 1e-6  # between scores of a run, which readers order by


def csv_table(listed: Sequence[Entry]) -> bytes:
    """A table with a header (RFC 4180, UTF-8), times in seconds."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for entry in listed:
        plain = entry.moment.to_json()
        writer.writerow([entry.rank, *(plain[name] for name in COLUMNS[1:])])
    return text.getvalue().encode("utf-8", "surrogateescape")


def m3u(listed: Sequence[Entry], title: str) -> bytes:
    """An extended M3U playlist in UTF-8 that plays each moment alone, where a player can.

    Files are addresses, so that any name is safe. The options are VLC's; other players start at
    the beginning of each file.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{title}"]
    for entry in listed:
        moment = entry.moment
        lines += [
            f"#EXTINF:{max(1, round(moment.end_s - moment.start_s))},{label(entry)}",
            f"#EXTVLCOPT:start-time={moment.start_s:.3f}",
            f"#EXTVLCOPT:stop-time={moment.end_s:.3f}",
            file_url(moment.video),
        ]
    return ("\n".join(lines) + "\n").encode()


def trec(listed: Sequence[Entry], topic: str) -> bytes:
    """Lines ``topic Q0 document rank score tag`` of a run, as trec_eval reads them.

    A document is a video, named by its file without the ending (white space percent-encoded), and
    listed once, at its best moment. Scores fall strictly, since readers order by them.

    Raises:
        UsageError: the topic holds white space, or nothing.
    """
    if not re.fullmatch(r"\S+", topic):
        raise UsageError(f"A topic of a run is one word without spaces, got {topic!r}.")
    lines: list[str] = []
    seen: set[str] = set()
    last = float("inf")
    for entry in listed:
        name = _item(entry)
        if name in seen:
            continue
        seen.add(name)
        last = min(float(entry.moment.score), last - _STEP)
        lines.append(f"{topic} Q0 {name} {len(seen)} {last:.6f} finecut\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def vbs(listed: Sequence[Entry], task: str) -> bytes:
    """The body of a submission to DRES, the server of the Video Browser Showdown (API version 2).

    One answer set for each moment, so that each is judged by itself: the file's name without its
    ending, start and end in whole milliseconds. Without a task's name DRES takes the one that runs.
    Posted to ``/api/v2/submit/{evaluationId}``.
    """
    sets: list[dict[str, Any]] = []
    for entry in listed:
        answer = {
            "mediaItemName": one_line(os.path.splitext(entry.name)[0]),
            "start": round(entry.moment.start_s * 1000),
            "end": round(entry.moment.end_s * 1000),
        }
        sets.append({"taskName": task, "answers": [answer]} if task else {"answers": [answer]})
    return json.dumps({"answerSets": sets}, ensure_ascii=False).encode() + b"\n"


def _item(entry: Entry) -> str:
    stem = os.path.splitext(entry.name)[0]
    return re.sub(r"\s|[\x00-\x1f%]", lambda found: quote(found[0]), stem)
