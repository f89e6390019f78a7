"""Which frames of a group of pictures to take, so that as little as possible is decoded.

A wanted time may be answered by any frame within ``slack``; the one soonest in decoding order is
the cheapest. A key frame costs nothing before it, so a wanted time just short of a key frame waits
for that key frame instead of having the whole group before it decoded.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

# A wanted time may be answered by a frame this share of the period earlier or later. At 0.4 and one
# frame a second, neighbours are 0.6 to 1.4 s apart, mostly 1.0; decoding falls by a fifth against
# 0.25 where key frames are two seconds apart.
SLACK = 0.4


@dataclass(slots=True)
class Grid:
    """The wanted times 0, period, 2 · period, …: the next one's number and the last time taken."""

    period_s: float
    number: int = 0
    last_s: float = -math.inf

    @property
    def wanted_s(self) -> float:
        return self.number * self.period_s

    @property
    def slack_s(self) -> float:
        return SLACK * self.period_s

    def skip_to(self, time_s: float) -> None:
        """Go on to the next wanted time, and at least to the first that a frame then can answer."""
        ahead = math.ceil((time_s - self.slack_s) / self.period_s - 1e-9)
        self.number = max(self.number + 1, ahead)


def plan(
    times: Sequence[float], grid: Grid, *, until_s: float, next_key_s: float | None
) -> list[int]:
    """Indices, in decoding order, of the packets whose frames are to be taken.

    Args:
        times: presentation times of the packets in decoding order; NaN for those that must not be
            taken (not shown, or not decodable from here).
        grid: the wanted times; moved on past those answered here.
        until_s: end of what this group can answer: no later packet holds an earlier time.
        next_key_s: time of the key frame that follows, if known.

    Returns: indices into ``times``; rising in presentation time, at most one per wanted time.

    >>> plan([0, 1, 2, 3, 4, 5], Grid(2.0), until_s=6, next_key_s=6)
    [0, 2, 4]
    >>> plan([0.0, 0.5, 0.9, 1.5], Grid(0.8), until_s=2, next_key_s=2)  # 0.5 answers 0.8
    [0, 1, 3]
    >>> plan([0, 30], Grid(1.0), until_s=31, next_key_s=None)  # one frame stands for half a minute
    [0, 1]
    """
    order = sorted((time, i) for i, time in enumerate(times) if not math.isnan(time))
    shown = [time for time, _ in order]
    picks: list[int] = []
    while grid.wanted_s < until_s:
        wanted, slack = grid.wanted_s, grid.slack_s
        low = max(bisect_left(shown, wanted - slack), bisect_right(shown, grid.last_s))
        high = bisect_right(shown, wanted + slack)
        if low < high:
            time, pick = min(order[low:high], key=lambda item: item[1])
            # The next key frame may do as well; it is cheaper unless this one is a key frame too.
            ahead_s = math.inf if next_key_s is None else abs(next_key_s - wanted)
            if ahead_s <= slack and (pick > 0 or ahead_s < abs(time - wanted)):
                break
        elif next_key_s is not None and wanted < next_key_s <= wanted + slack:
            break
        else:
            at = bisect_right(shown, wanted) - 1  # the frame on show at the wanted time
            if at < 0 or shown[at] <= grid.last_s:
                following = bisect_right(shown, max(wanted, grid.last_s))
                ahead = shown[following] if following < len(shown) else until_s
                grid.skip_to(min(ahead, until_s))
                continue
            time, pick = order[at]
        picks.append(pick)
        grid.last_s = time
        grid.number += 1
    return picks
