"""Sentences of the documentation that quote a benchmark: put right after each run.

A place is a regular expression that fits exactly once on its page; what stands there is written
anew from results/bench-*.json. A sentence that was reworded so that nothing fits is an error, not
a figure gone stale unseen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import ROOT

NUMBER = r"[\d.,]+"


@dataclass(frozen=True)
class Quote:
    """What a page says of one benchmark's figures."""

    page: str
    benchmark: str
    pattern: str
    say: Callable[[Mapping[str, Any]], str]  # from the file's `figures`


def _row(start: str, name: str) -> Quote:
    """A row of the table of docs/data.md."""

    def say(figures: Mapping[str, Any]) -> str:
        one = figures[name]
        cells = [f"{one['median_cpu_ms_a_video']:.1f} ms", "", "", ""]
        if "mib_per_video_hour" in one:
            made = f"{one['made_x_realtime_of_cpu']:.3g}x real time"
            cells[1:3] = [f"{one['mib_per_video_hour']:.0f}", made]
        if "rms_error_grey_levels" in one:
            cells[3] = f"{one['rms_error_grey_levels']} grey levels rms"
        return f"| {start} | " + " | ".join(cells).replace("  ", " ").rstrip() + " |"

    return Quote("docs/data.md", "data-cache", rf"^\| {re.escape(start)} \|.*\|$", say)


QUOTES = (
    Quote(
        "docs/evaluation.md", "evaluate",
        rf"takes {NUMBER} s of one core, against {NUMBER} s for",
        lambda f: f"takes {f['sides']['ours']['cpu_s']['all']:.1f} s of one core, "
        f"against {f['sides']['reference']['cpu_s']['all']:.1f} s for",
    ),
    Quote(
        "docs/evaluation.md", "evaluate", rf"{NUMBER} times less for matching",
        lambda f: f"{f['times_faster_match_and_rank']:.1f} times less for matching",
    ),
    Quote(
        "docs/methods/eercf.md", "eercf-stage2",
        rf"takes {NUMBER} s and {NUMBER} MiB beside the tokens",
        lambda f: f"takes {f['candidates_only']['median_s']:.1f} s and "
        f"{f['candidates_only']['peak_added_mib']:.0f} MiB beside the tokens",
    ),
    Quote(
        "docs/methods/eercf.md", "eercf-stage2",
        rf"takes {NUMBER} s and {NUMBER} MiB for the same scores: {NUMBER} times longer",
        lambda f: f"takes {f['exhaustive']['median_s']:.1f} s and "
        f"{f['exhaustive']['peak_added_mib']:.0f} MiB for the same scores: "
        f"{f['times_faster']:.0f} times longer",
    ),
    Quote(
        "docs/methods/eercf.md", "eercf-stage2", r"medians of \d+ \(",
        lambda f: f"medians of {f['candidates_only']['repeats']} (",
    ),
    Quote(
        "docs/training.md", "train-step",
        rf"{NUMBER} times its processor time and \d+ MiB of activations in one piece; "
        rf"{NUMBER} times and \d+ MiB with `micro_batch = 16`; {NUMBER} times and \d+ MiB with "
        rf"checkpoints; {NUMBER} times and \d+ MiB in bfloat16",
        lambda f: "{} times its processor time and {} MiB of activations in one piece; "
        "{} times and {} MiB with `micro_batch = 16`; {} times and {} MiB with checkpoints; "
        "{} times and {} MiB in bfloat16".format(
            *(
                said
                for kind in ("ours", "gradient_caching_16", "activation_checkpointing", "bfloat16")
                for said in (
                    f"{f[kind]['times_the_published_cpu']:.1f}",
                    f"{f[kind]['activations_mib']:.0f}",
                )
            )
        ),
    ),
    _row("decoding every frame, then choosing", "every_frame_decoded"),
    _row('decoding each time (`kind = "videos"`)', "decoded_each_time"),
    _row("cached JPEG, quality 95 (default)", "jpeg_95"),
    _row("cached JPEG, `--quality 85`", "jpeg_85"),
    _row("cached features, float16", "features_float16"),
    _row("cached features, `--dtype int8`", "features_int8"),
)  # fmt: skip


def rewritten(results: Path, root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Each page with a quote that is not true any more, and what it should be."""
    texts: dict[Path, str] = {}
    for quote in QUOTES:
        page, stored = root / quote.page, results / f"bench-{quote.benchmark}.json"
        text = texts.get(page) or page.read_text("utf-8")
        found = re.findall(quote.pattern, text, re.MULTILINE)
        if len(found) != 1:
            raise SystemExit(
                f"{quote.page}: {len(found)} places fit {quote.pattern!r}, expected one; "
                "change benchmarks/pages.py with the sentence."
            )
        figures = json.loads(stored.read_text("utf-8"))["figures"]
        said = quote.say(figures)
        texts[page] = re.sub(quote.pattern, lambda _, said=said: said, text, flags=re.MULTILINE)
    for page, text in texts.items():
        if text != page.read_text("utf-8"):
            yield page, text
