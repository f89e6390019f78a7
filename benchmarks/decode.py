"""How fast videos are sampled, against decoding every frame with the same decoder on one core.

By turns, in one process with one decoder thread: FFmpeg's decoder through PyAV with nothing kept
(the limit of any method that decodes all), sampling by plain decoding, sampling as planned. Videos
are those of benchmarks/videos.py. Figures are of processor time, which a busy machine disturbs
less; how many frames were decoded does not depend on the machine at all.

    python benchmarks/decode.py [--quick]

Writes results/bench-decode.json and results/plots/bench-decode.svg.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import record
import videos
from finecut.bundle.load import Bundle
from finecut.video.container import open_video
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec
from record import Entry
from videos import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS, ROUNDS = 32, 5
# name: (pictures, ways of coding); pictures are filmed once for all kinds in a row
FILMS: tuple[tuple[str, dict[str, Kind]], ...] = (
    ("mixed", {"h264 720p, keys 2 s": Kind(), "h264 720p, keys 10 s": Kind(keys_s=10)}),
    ("moving", {"h264 720p, keys 2 s, everything moves": Kind()}),
    ("mixed", {"h264 1080p, keys 2 s": Kind(1920, 1080)}),
)
SHORT: dict[str, Kind] = {  # other encoders and settings, half as long
    "h264 720p, P frames lean on three": Kind(preset="medium"),
    "h264 720p, no B frames": Kind(b_frames=False),
    "hevc 720p, keys 2 s": Kind(codec="libx265"),
    "vp9 720p, keys 2 s": Kind(codec="libvpx-vp9"),
}
ALL, PLAIN, PLANNED = "every frame, none kept", "sampled, plain", "sampled, planned"


def decode_all(path: Path) -> int:
    with open_video(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def sample(path: Path, spec: DecodeSpec, planned: bool = True) -> dict[str, int]:
    stream = decode_clips(path, spec, planned=planned)
    for _ in stream:
        pass
    stats = stream.stats
    return {
        "packets": stats.packets,
        "frames_decoded": stats.frames_decoded,
        "frames_sampled": stats.frames_sampled,
        "frames_repeated": stats.frames_repeated,
    }


def measure(name: str, path: Path, seconds: float, rounds: int) -> tuple[Entry, dict[str, Any]]:
    spec = DecodeSpec.from_manifest(Bundle.load().manifest)
    taken = record.by_turns(
        {
            ALL: partial(decode_all, path),
            PLAIN: partial(sample, path, spec, planned=False),
            PLANNED: partial(sample, path, spec),
        },
        rounds,
    )
    speeds = sorted(seconds / cpu_s for cpu_s in taken[PLANNED].cpu)
    entry = Entry(
        name,
        seconds / taken[PLANNED].cpu_s,
        "x real time on one core",
        "higher",
        limit_or_rival="every frame decoded by the same decoder, nothing resized or kept",
        limit_value=seconds / taken[ALL].cpu_s,
        spread=(speeds[0], speeds[-1]),
    )
    figures = {
        "megabits_per_s": path.stat().st_size * 8e-6 / seconds,
        "cpu_s": {way: rounds.cpu_s for way, rounds in taken.items()},
        **sample(path, spec),
    }
    return entry, figures


def main() -> None:
    options = record.arguments(__doc__).parse_args()
    started = time.time()
    seconds, rounds = (8.0, 1) if options.quick else (float(SECONDS), ROUNDS)
    entries: list[Entry] = []
    figures: dict[str, Any] = {"seconds_of_video": seconds, "mixed": videos.SHARES}
    films: Sequence[tuple[str, dict[str, Kind], float]] = [
        *((what, kinds, seconds) for what, kinds in FILMS),
        ("mixed", SHORT, seconds / 2),
    ]
    for what, kinds, length in films:
        paths = videos.film(what, list(kinds.values()), length)
        for name, path in zip(kinds, paths, strict=True):
            entry, more = measure(name, path, length, rounds)
            entries.append(entry)
            figures[name] = more
    record.save("decode", entries, figures, started)
    record.plot("decode", lambda axes: draw(axes, entries))


def draw(axes: Axes, entries: Sequence[Entry]) -> None:
    """Two bars a film: all frames decoded, and sampled as planned."""
    rows = range(len(entries))
    limits = [entry.limit_value or 0.0 for entry in entries]
    axes.barh([row - 0.2 for row in rows], limits, 0.4, label=ALL)
    axes.barh([row + 0.2 for row in rows], [e.value for e in entries], 0.4, label=PLANNED)
    axes.set_yticks(list(rows), [entry.name for entry in entries], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("x real time on one core")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
