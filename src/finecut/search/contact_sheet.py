"""A page of thumbnails with times, from the strips an index stores: no video is opened."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import UsageError
from finecut.search.formats import file_url, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from finecut.index.store import Index
    from finecut.types import Moment, Results

COLUMNS = 5
BOX_W, BOX_H = 216, 122  # of a thumbnail: those of an index are 120 pixels high
GAP, LINE_H, HEAD_H = 12, 17, 30
BACK, INK, DIM = (250, 250, 248), (25, 25, 28), (110, 110, 114)
NAME_LETTERS = 32  # of a file's name below its thumbnail


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A moment and its best frame, small."""

    moment: Moment
    rank: int
    picture: Image


def contact_sheet(results: Results, index: Index, ending: str) -> bytes:
    """The best frame of every moment with rank, times, confidence and the file's name.

    Args:
        results: what a search of this index answered.
        index: where the thumbnails are.
        ending: ".jpg" or ".jpeg", or ".html" for a page that needs no other file, whose
            thumbnails lead to their videos.

    Raises:
        UsageError: another ending.
    """
    if ending not in (".jpg", ".jpeg", ".html", ".htm"):
        raise UsageError(f"A contact sheet is written as .jpg or .html, got {ending!r}.")
    small = [
        Thumbnail(moment, rank, best_picture(index, moment))
        for rank, moment in enumerate(results, start=1)
    ]
    title = one_line(results.query) or "finecut"
    return as_html(small, title) if ending.startswith(".htm") else as_jpeg(small, title)


def best_picture(index: Index, moment: Moment) -> Image:
    """The stored thumbnail next to a moment's best time.

    Raises:
        UsageError: the index does not hold the video.
    """
    from PIL import Image

    clips = index.clips
    rows = np.searchsorted(clips.clip_id, moment.clip_ids)
    found = [
        int(row)
        for row, clip_id in zip(rows, moment.clip_ids, strict=True)
        if row < len(clips) and clips.clip_id[row] == clip_id
    ]
    if not found:  # found by words alone
        places = [n for n, row in enumerate(index.videos) if row.video_id == moment.video_id]
        found = np.flatnonzero(np.isin(clips.video, places)).tolist()
    if not found:
        raise UsageError(
            f"The index at {index.directory} does not hold {moment.video}: was it changed since "
            "the search? Search again."
        )
    row = min(
        found,
        key=lambda row: max(clips.start_s[row] - moment.best_s, moment.best_s - clips.end_s[row]),
    )
    strip = index.strip(row)
    number = int(np.abs(strip.times - moment.best_s).argmin())
    with Image.open(io.BytesIO(strip.jpeg)) as whole:
        left = number * strip.tile_width
        return whole.convert("RGB").crop((left, 0, left + strip.tile_width, strip.tile_height))


def as_jpeg(small: Sequence[Thumbnail], title: str) -> bytes:
    """The sheet as one picture, five thumbnails across."""
    from PIL import Image, ImageDraw, ImageFont

    across = min(COLUMNS, max(1, len(small)))
    cell_w, cell_h = BOX_W + GAP, BOX_H + 2 * LINE_H + GAP
    rows = -(-len(small) // across)
    sheet = Image.new("RGB", (GAP + across * cell_w, HEAD_H + GAP + rows * cell_h), BACK)
    draw = ImageDraw.Draw(sheet)
    head, plain = ImageFont.load_default(size=16), ImageFont.load_default(size=12)
    draw.text((GAP, 8), _drawable(title), fill=INK, font=head)
    for place, one in enumerate(small):
        left = GAP + place % across * cell_w
        top = HEAD_H + GAP + place // across * cell_h
        picture = one.picture.copy()
        picture.thumbnail((BOX_W, BOX_H))
        sheet.paste(picture, (left, top + BOX_H - picture.height))
        draw.text((left, top + BOX_H + 2), _caption(one), fill=INK, font=plain)
        name = _drawable(_short(one.moment.video))
        draw.text((left, top + BOX_H + LINE_H + 1), name, fill=DIM, font=plain)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def as_html(small: Sequence[Thumbnail], title: str) -> bytes:
    """The sheet as a page with its pictures inside; nothing is loaded from elsewhere."""
    figures = []
    for one in small:
        buffer = io.BytesIO()
        one.picture.save(buffer, "JPEG", quality=80)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        address = f"{file_url(one.moment.video)}#t={one.moment.start_s:.2f},{one.moment.end_s:.2f}"
        figures.append(
            f'<figure><a href="{html.escape(address)}">'
            f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(_caption(one))}"></a>'
            f"<figcaption>{html.escape(_caption(one))}<br><small>"
            f"{html.escape(one_line(one.moment.video))}</small></figcaption></figure>\n"
        )
    name = html.escape(title)
    return _PAGE.format(title=name, figures="".join(figures)).encode()


_PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px sans-serif; margin: 1.5em; background: #fafaf8; color: #19191c }}
main {{ display: flex; flex-wrap: wrap; gap: 1em }}
figure {{ margin: 0; width: 216px; overflow-wrap: anywhere }}
img {{ max-width: 216px }}
small {{ color: #6e6e72 }}
</style></head><body><h1>{title}</h1><main>
{figures}</main></body></html>
"""


def _caption(one: Thumbnail) -> str:
    moment = one.moment
    return f"{one.rank}.  {_clock(moment.start_s)}-{_clock(moment.end_s)}  {moment.confidence:.0%}"


def _clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> _clock(75.04), _clock(3600)
    ('1:15.0', '60:00.0')
    """
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _short(path: str) -> str:
    name = one_line(path.replace("\\", "/").rpartition("/")[2])
    return name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"


def _drawable(text: str) -> str:
    """What the built-in font has signs for: the rest is a question mark, and whole in the HTML."""
    return text.encode("latin-1", "replace").decode("latin-1").replace("\x85", "...")
