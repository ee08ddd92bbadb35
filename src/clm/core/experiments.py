"""Experiments: two versions side by side, callers divided between them, evidence weighed both ways. Pure.

Who gets which arm follows from the experiment and the caller alone, so that all replicas agree unasked. What
is weighed is what both arms forecast in shadow, candle by candle; who was served by which plays no part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from clm.core.book import Kind, LedgerKey
from clm.core.domain import Series, fingerprint, utc
from clm.core.errors import BadInput

#: Both directions are weighed, so each needs twice the evidence.
DIRECTIONS = 2
LONGEST = timedelta(days=3653)
#: Evidence of two over this can still be reached, and be told in JSON.
LEAST_ALPHA = 1e-9
LONGEST_CALLER = 200
#: What a caller's name is made of, to Python and to JSON Schema, whatever the edition of Unicode: anything
#: but controls, line ends and what turns the direction of reading.
CALLER = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]+$"


class Arm(StrEnum):
    """The two sides. A is usually what answers now."""

    A = "A"
    B = "B"

    @property
    def other(self) -> Arm:
        return Arm.B if self is Arm.A else Arm.A


class State(StrEnum):
    """OPEN from its creation to its end, whether or not it has started."""

    OPEN = "open"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Times are the exchange's. split: share of callers that get B. alpha: chance to call equals unequal.

    ended_at, result: see `clm.core.verdicts`; None while it is open.
    """

    experiment_id: str
    series: Series
    model_type: str
    version_a: str
    version_b: str
    split: float
    alpha: float
    starts_at: datetime
    ends_at: datetime
    created_by: str
    created_at: datetime
    state: State = State.OPEN
    ended_at: datetime | None = None
    result: Mapping[str, Any] | None = field(default=None, compare=False)

    def version_of(self, arm: Arm) -> str:
        return self.version_a if arm is Arm.A else self.version_b

    def arm_with(self, version: str) -> Arm:
        """The arm that answers by this version."""
        return Arm.B if version == self.version_b else Arm.A

    def runs_at(self, now: datetime) -> bool:
        """Whether callers are divided at that moment."""
        return self.state is State.OPEN and self.starts_at <= now < self.ends_at

    def ledger(self, better: Arm) -> LedgerKey:
        """The ledger of the evidence that this arm is better than the other."""
        return LedgerKey(
            model_type=self.model_type, kind=Kind.EXPERIMENT, reign=self.starts_at,
            champion_version=self.version_of(better.other), recipe_id=f"{self.experiment_id}:{better}",
        )  # fmt: skip

    @property
    def first_candle(self) -> datetime:
        """No candle that opened before is bet on: what it says was known before the start."""
        return self.starts_at - self.series.step

    def counts(self, open_time: datetime, horizon: int) -> bool:
        """Whether a forecast at the close of that candle was made, and its outcome known, within the time."""
        known = open_time + (1 + horizon) * self.series.step
        return self.first_candle <= open_time and known <= self.ends_at


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a caller is answered by while an experiment runs."""

    experiment_id: str
    version: str
    arm: Arm


def drawn(experiment_id: str, caller: str) -> float:
    """A caller's lot, uniform in [0, 1): 53 bits of SHA-256, the same on every machine and for ever."""
    return (int(fingerprint(experiment_id, caller)[:16], 16) >> 11) / 2**53


def arm_drawn(experiment: Experiment, caller: str) -> Arm:
    """The arm a caller is given at first sight."""
    return Arm.B if drawn(experiment.experiment_id, caller) < experiment.split else Arm.A


def check_caller(caller: str) -> str:
    """`caller` where it can be kept. Raises BadInput."""
    fits = 0 < len(caller) <= LONGEST_CALLER and re.fullmatch(CALLER, caller)
    # Half a surrogate pair is no character: no database takes it.
    if not fits or any("\ud800" <= letter <= "\udfff" for letter in caller):
        raise BadInput("caller", caller[:50], f"1 to {LONGEST_CALLER} printable characters")
    return caller


def planned(
    *,
    experiment_id: str,
    series: Series,
    model_type: str,
    versions: tuple[str, str],
    split: float,
    alpha: float,
    start: datetime | None,
    end: datetime | None,
    days: float | None,
    by: str,
    now: datetime,
) -> Experiment:
    """An experiment that makes sense at `now`, the exchange's time. Raises BadInput.

    start None: now. Of `end` and `days` (after the start) exactly one is given.
    """
    if versions[0] == versions[1]:
        raise BadInput("versions", list(versions), "two different versions")
    if not 0 <= split <= 1:
        raise BadInput("split", split, "a share from 0 to 1: of the callers that get the second version")
    if not LEAST_ALPHA <= alpha < 0.5:
        raise BadInput("alpha", alpha, f"a probability above 0 (from {LEAST_ALPHA:g} on) and below 0.5")
    if (end is None) == (days is None):
        raise BadInput("end, days", (end, days), "one of the two")
    if days is not None and not 0 < days <= LONGEST.days:
        raise BadInput("days", days, f"above 0, at most {LONGEST.days}")
    begin = utc(start) if start is not None else now
    if begin < now:
        # Of candles that have closed it is known which version did better on them.
        allowed = f"now ({now:%Y-%m-%d %H:%M:%S} UTC by the exchange's clock) or later"
        raise BadInput("start", begin.isoformat(), allowed)
    if begin - now > LONGEST:
        raise BadInput("start", begin.isoformat(), f"within {LONGEST.days} days")
    stop = utc(end) if end is not None else begin + timedelta(days=days or 0)
    least, most = begin + 2 * series.step, begin + LONGEST
    if not least <= stop <= most:
        allowed = f"from {least:%Y-%m-%d %H:%M} UTC (two candles) to {most:%Y-%m-%d} UTC"
        raise BadInput("end" if end is not None else "days", str(stop if end is not None else days), allowed)
    return Experiment(
        experiment_id=experiment_id, series=series, model_type=model_type, version_a=versions[0],
        version_b=versions[1], split=split, alpha=alpha, starts_at=begin, ends_at=stop, created_by=by,
        created_at=now,
    )  # fmt: skip
