"""A contact sheet: each search of the demo with the frames it found."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finecut.video.frame import frame_at

if TYPE_CHECKING:
    from finecut.types import Results

TILE_W, TILE_H = 240, 135
GAP, LINE_H = 12, 22
ACROSS = 4  # frames of one search
BACK, INK, DIM, GOOD = (250, 250, 248), (25, 25, 28), (120, 120, 124), (20, 110, 90)


def write_sheet(answers: Sequence[Results], out: Path) -> None:
    """Write the sheet as a JPEG: a line with the query, below it the best frames with times."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=15)
    small = ImageFont.load_default(size=12)
    row_h = LINE_H + TILE_H + LINE_H + GAP
    size = (GAP + ACROSS * (TILE_W + GAP), GAP + len(answers) * row_h)
    sheet = Image.new("RGB", size, BACK)
    draw = ImageDraw.Draw(sheet)
    for row, answer in enumerate(answers):
        top = GAP + row * row_h
        verdict = "" if answer.good_match else "   no good match; best guesses:"
        draw.text((GAP, top), f"“{answer.query}”{verdict}", fill=INK, font=font)
        for column, moment in enumerate(answer[:ACROSS]):
            left = GAP + column * (TILE_W + GAP)
            jpeg, _ = frame_at(moment.video, moment.best_s, max_side=2 * TILE_W)
            with Image.open(io.BytesIO(jpeg)) as picture:
                picture.thumbnail((TILE_W, TILE_H))
                x = left + (TILE_W - picture.width) // 2
                sheet.paste(picture, (x, top + LINE_H))
            text = f"{Path(moment.video).name}  {moment.best_s:.1f} s  {moment.confidence:.0%}"
            colour = GOOD if answer.good_match and not column else DIM
            draw.text((left, top + LINE_H + TILE_H + 2), text, fill=colour, font=small)
    part = out.with_suffix(".part.jpg")
    sheet.save(part, "JPEG", quality=88)
    part.replace(out)
