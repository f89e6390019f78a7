"""Say what a benchmark's folder holds, and whether a number measured on it may be compared.

A missing test video leaves the gallery smaller, and a smaller gallery silently raises R@1: such a
run is not standard and is never called so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from finecut.learn.data.benchmark import AnnotationError, Benchmark
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import Footage, check_readable
from finecut.learn.data.procedures import has_coin, has_crosstask, read_coin, read_crosstask
from finecut.learn.data.readers import read, sniff


@dataclass(frozen=True)
class SplitReport:
    """One split against what was published and what is on disk."""

    format: str
    name: str
    split: str
    protocol: str
    n_videos: int
    n_captions: int
    n_pairs: int
    published_videos: int | None
    published_captions: int | None
    missing: tuple[str, ...]  # videos that are not in the folder
    undecodable: tuple[tuple[str, str], ...]  # (video, reason); looked for only when asked
    effective_gallery: int  # videos that are there and can be read
    standard: bool  # the published gallery, whole
    why_not: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def check(
    folder: Folder,
    *,
    probe: bool = False,
    on_video: Callable[[str, int, int], None] | None = None,
) -> list[SplitReport]:
    """A report on every split found in the folder.

    Args:
        folder: annotation files and, below it, the videos.
        probe: open every video that is there and read its first frames; slow on large sets.
        on_video: called with (video, done, total) while probing.

    Raises:
        AnnotationError: nothing known is there, or a file is broken (which file, where).
    """
    reports = [
        report(kind, read(folder, split, name=kind), folder, probe=probe, on_video=on_video)
        for kind, split in sniff(folder)
    ]
    reports += _procedures(folder)
    if not reports:
        raise AnnotationError(
            f"{folder.root} holds no annotation files of a known benchmark; "
            "`finecut data check --help` lists the formats."
        )
    return reports


def report(
    kind: str,
    benchmark: Benchmark,
    folder: Folder,
    *,
    probe: bool = False,
    on_video: Callable[[str, int, int], None] | None = None,
) -> SplitReport:
    """One split against the published counts and the videos on disk."""
    missing, bad = [], []
    for done, item in enumerate(benchmark.items, start=1):
        footage = Footage.of(item, folder)
        if footage is None:
            missing.append(item.video)
        elif probe:
            reason = check_readable(footage)
            if reason:
                bad.append((item.video, reason))
            if on_video:
                on_video(item.video, done, benchmark.n_videos)
    effective = benchmark.n_videos - len(missing) - len(bad)
    videos, captions = benchmark.published
    why = _why_not(benchmark, len(missing), len(bad))
    return SplitReport(
        format=kind,
        name=benchmark.name,
        split=benchmark.split,
        protocol=benchmark.protocol,
        n_videos=benchmark.n_videos,
        n_captions=benchmark.n_captions,
        n_pairs=len(benchmark.pairs()),
        published_videos=videos,
        published_captions=captions,
        missing=tuple(missing),
        undecodable=tuple(bad),
        effective_gallery=effective,
        standard=not why,
        why_not=why,
        notes=benchmark.notes,
    )


def _why_not(benchmark: Benchmark, missing: int, bad: int) -> str:
    videos, captions = benchmark.published
    reasons = []
    if videos is None and captions is None:
        reasons.append("no published size to compare with")
    if videos is not None and benchmark.n_videos != videos:
        reasons.append(f"{benchmark.n_videos} videos are annotated, published {videos}")
    if captions is not None and benchmark.n_captions != captions:
        reasons.append(f"{benchmark.n_captions} sentences, published {captions}")
    if missing:
        reasons.append(f"{missing} videos are missing")
    if bad:
        reasons.append(f"{bad} videos cannot be read")
    return "; ".join(reasons)


def _procedures(folder: Folder) -> list[SplitReport]:
    found = []
    if has_crosstask(folder):
        data = read_crosstask(folder)
        names = [video.video_id for video in data.videos]
        n_steps = sum(len(video.steps) for video in data.videos)
        found.append(_steps_report(folder, "crosstask", "primary", names, n_steps))
    if has_coin(folder):
        for split in ("training", "testing"):
            coin = read_coin(folder, split)
            names = [video.video_id for video in coin.videos]
            n_steps = sum(len(video.segments) for video in coin.videos)
            found.append(_steps_report(folder, "coin", split, names, n_steps))
    return found


def _steps_report(
    folder: Folder, kind: str, split: str, names: list[str], n_steps: int
) -> SplitReport:
    missing = tuple(folder.missing(names))
    return SplitReport(
        format=kind,
        name={"crosstask": "CrossTask", "coin": "COIN"}[kind],
        split=split,
        protocol="steps",
        n_videos=len(names),
        n_captions=n_steps,
        n_pairs=n_steps,
        published_videos=None,
        published_captions=None,
        missing=missing,
        undecodable=(),
        effective_gallery=len(names) - len(missing),
        standard=False,
        why_not="no published size to compare with"
        + (f"; {len(missing)} videos are missing" if missing else ""),
        notes=(),
    )
