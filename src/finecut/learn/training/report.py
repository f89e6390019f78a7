"""What a run says of itself: while it goes on, and at its end."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a run is, every ``log_every`` steps and after every epoch."""

    epoch: int  # from 1
    epochs: int
    step: int  # of the whole run, from 1
    steps: int
    loss: float | None  # mean since the last report; None where no step was made
    lr: float  # the largest of the groups
    pairs_per_s: float
    eta_s: float
    validation: dict[str, float] | None = None  # text to video, after an epoch
    best: bool = False  # this epoch's checkpoint is now the run's
    warning: str = ""


@dataclass
class RunReport:
    """What a run came to. ``stopped`` is empty when it is finished."""

    output: str
    epochs: int = 0  # done
    steps: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)  # validation of the best epoch
    loss: float | None = None  # mean of the last epoch
    seconds: float = 0.0
    stopped: str = ""  # why an unfinished run ended
    skipped: dict[str, str] = field(default_factory=dict)  # video -> why it could not be read
    notes: list[str] = field(default_factory=list)
    already_finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """As ``report.json`` and ``--json`` have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], **changes: Any) -> RunReport:
        """What ``to_json`` gave, with some fields changed."""
        return cls(**{**values, **changes})


class Window:
    """Means over the steps since it was made."""

    def __init__(self) -> None:
        self.sum, self.count, self.pairs = 0.0, 0, 0
        self.started = time.monotonic()

    def add(self, loss: float, pairs: int) -> None:
        """One more step."""
        self.sum += loss
        self.count += 1
        self.pairs += pairs

    @property
    def loss(self) -> float | None:
        """Mean; None without a step."""
        return self.sum / self.count if self.count else None

    @property
    def pairs_per_s(self) -> float:
        return self.pairs / self._seconds

    @property
    def seconds_per_step(self) -> float:
        return self._seconds / max(self.count, 1)

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)
