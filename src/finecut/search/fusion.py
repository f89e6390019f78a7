"""Pictures and words in one ranking: weighted reciprocal rank fusion.

    score(moment) = sum over channels of weight * share / (CONSTANT + rank in the channel)

(Cormack, Clarke and Buettcher, SIGIR 2009, with a weight per channel; ``share`` is 1 for pictures,
and for a text the cube of the share of the query's words that it holds, so that a text with some of
the words, as noise has them, moves nothing far.) Ranks can be compared where scores cannot: a
cosine and BM25 share no unit. Divided by what the first of every channel would get.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finecut.errors import UsageError
from finecut.search.places import Place
from finecut.storage.location import Location
from finecut.storage.objects import write_bytes
from finecut.storage.small_file import SmallFile
from finecut.types import Reason

CONSTANT = 10.0
FILE = "fusion.json"
MAX_WEIGHT = 100.0
DEFAULT_WEIGHTS = {"picture": 1.0, "said": 1.0, "shown": 1.0, "told": 1.0, "named": 1.0}
_SHARPNESS = 3.0
_SHOWN_TEXTS = 3  # texts of one moment that are shown as reasons


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each channel counts."""

    by_channel: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))

    def of(self, channel: str) -> float:
        """The weight of a channel; 1 of one this finecut does not know."""
        return self.by_channel.get(channel, 1.0)


class KeptWeights:
    """The weights kept beside an index, read anew when they change; safe from many threads."""

    def __init__(self, directory: Location) -> None:
        self._file = SmallFile[Weights](directory / FILE, self._parse, Weights())

    def now(self) -> Weights:
        """The weights; the usual ones where none are kept.

        Raises:
            UsageError: the file is no set of weights.
        """
        try:
            return self._file.value()
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{self._file.place} cannot be read ({error}); delete it to use the usual."
            ) from error

    def _parse(self, content: bytes) -> Weights:
        given = check_weights(json.loads(content), str(self._file.place))
        return Weights({**DEFAULT_WEIGHTS, **given})


def read_weights(directory: Location | str | Path) -> Weights:
    """The weights kept beside an index; the usual ones where there are none.

    Raises:
        UsageError: the file is no set of weights.
    """
    return KeptWeights(Location.parse(directory)).now()


def check_weights(plain: Any, where: str) -> dict[str, float]:
    """Weights out of ``{"weights": {channel: number}}``.

    Raises:
        UsageError: anything else.
    """
    given = plain.get("weights") if isinstance(plain, dict) else None
    good = isinstance(given, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_WEIGHT
        for value in given.values()
    )
    if not good or given is None:
        raise UsageError(
            f'{where} must hold {{"weights": {{"said": 1.0, …}}}} with numbers from 0 to '
            f"{MAX_WEIGHT:g}; delete it to use the usual ones."
        )
    return {str(name): float(value) for name, value in given.items()}


def save_weights(directory: Location | str | Path, weights: Weights) -> Location:
    """Keep weights beside an index, atomically; returns where."""
    place = Location.parse(directory) / FILE
    text = json.dumps({"weights": dict(weights.by_channel)}, indent=2) + "\n"
    write_bytes(place, text.encode())
    return place


def fused_scores(places: Sequence[Place], weights: Weights) -> list[float]:
    """The score of each place; ranks are those among these places."""
    total = [0.0] * len(places)
    if weights.of("picture"):
        seen = sorted(range(len(places)), key=lambda i: (-places[i].span.score, i))
        for rank, i in enumerate(seen, start=1):
            total[i] += weights.of("picture") / (CONSTANT + rank)
    channels = {item.channel for place in places for item in place.texts}
    for channel in sorted(channels):
        best = {
            i: max((item.share, item.score) for item in place.texts if item.channel == channel)
            for i, place in enumerate(places)
            if any(item.channel == channel for item in place.texts)
        }
        ranked = sorted(best, key=lambda i: (-best[i][0], -best[i][1], i))
        for rank, i in enumerate(ranked, start=1):
            share = best[i][0] ** _SHARPNESS
            total[i] += weights.of(channel) * share / (CONSTANT + rank)
    most = sum(weights.of(name) for name in {"picture", *channels}) / (CONSTANT + 1)
    return [score / most if most else 0.0 for score in total]


def reasons_of(place: Place, seen: float | None, weights: Weights) -> tuple[Reason, ...]:
    """Why a moment is answered: its texts by their share and weight, the picture among them.

    Args:
        place: the moment.
        seen: confidence of the picture; None where pictures were not looked at.
        weights: of the channels.
    """
    made = [
        (
            item.share * weights.of(item.channel),
            Reason(
                item.channel,
                item.share,
                item.text,
                None if item.whole else item.start_s,
                None if item.whole else item.end_s,
                item.source,
            ),
        )
        for item in place.texts[:_SHOWN_TEXTS]
    ]
    if seen is not None:
        made.append((seen * weights.of("picture"), Reason("picture", seen)))
    return tuple(reason for _, reason in sorted(made, key=lambda pair: -pair[0]))
