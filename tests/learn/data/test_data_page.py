"""Figures on docs/data.md are those of the stored measurement."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_shows_what_was_measured():
    measured = json.loads((ROOT / "results/bench-data-cache.json").read_text(encoding="utf-8"))[
        "figures"
    ]
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and " ms |" in line]
    names = (
        "every_frame_decoded",
        "decoded_each_time",
        "jpeg_95",
        "jpeg_85",
        "features_float16",
        "features_int8",
    )
    assert len(rows) == len(names)
    for row, name in zip(rows, names, strict=True):
        figures = measured[name]
        assert f"| {figures['median_cpu_ms_a_video']:.1f} ms |" in row
        if "mib_per_video_hour" in figures:
            assert f"| {figures['mib_per_video_hour']:.0f} |" in row
        if "rms_error_grey_levels" in figures:
            assert f"{figures['rms_error_grey_levels']} grey levels" in row
    assert f"Measured on {measured['videos']['count']} real clips" in page
