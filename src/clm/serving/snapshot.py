"""What is known of one series at one moment, whole and unchangeable: answers are read off it, never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp
from typing import Any

from clm.core.domain import Series
from clm.core.intervals import Interval, IntervalTracker
from clm.serving.loaded import Loaded

#: Reasons of a champion that gives no forecast: here only, or anywhere.
UNREADABLE_HERE, CHAMPION_UNFIT = "unreadable_here", "champion_unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One version's forecast of the newest candle.

    forecast: log return, None where there is none, and then `problem` says which reason, and `told` in words
    where there is more to say. state: healthy, guarded, unproven, worse_than_zero or unreadable.
    sha256: of the artifact; of an ensemble, over its members'. interval: None without a forecast; coverage:
    of the intervals before, measured. score, limit: how unlike training the candle is, and beyond what it
    counts as unlike. weights: of an ensemble's members.
    """

    model: str
    version: str
    sha256: str
    trained_at: datetime
    champion_since: datetime | None
    state: str
    forecast: float | None
    interval: Interval | None = None
    coverage: float | None = None
    coverage_candles: int = 0
    score: float | None = None
    limit: float | None = None
    weights: Mapping[str, float] | None = None
    problem: str | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The newest candle of a series and what everybody forecast of the next.

    close: its last price; variance: σ̂² known then. by_model: the champions', and the ensemble's where there
    is one; by_version: (model type, version) of whoever else is to answer. champions: who forecast, to be
    asked about other candles; tracker: of the ensemble, for the same. told: what answers of this snapshot
    have in common, made when first needed. known: whether it was looked at all who reigns.
    """

    series: Series
    open_time: datetime | None
    close: float | None
    variance: float | None
    by_model: Mapping[str, Served] = field(default_factory=dict)
    by_version: Mapping[tuple[str, str], Served] = field(default_factory=dict)
    champions: Mapping[str, Loaded] = field(default_factory=dict, repr=False)
    tracker: IntervalTracker = field(default_factory=IntervalTracker, repr=False)
    told: dict[tuple[str, str | None], Mapping[str, Any]] = field(default_factory=dict, repr=False)
    known: bool = False

    @property
    def made_at(self) -> datetime | None:
        """When the newest candle closed."""
        return self.open_time + self.series.step if self.open_time is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Beyond what an answer is not usable. model_age, data_age: since training, since the candle's close."""

    model_age: timedelta
    data_age: timedelta


def reasons(served: Served | None, snapshot: Snapshot, now: datetime | None, limits: Limits) -> list[str]:
    """Why an answer is not usable, in words for machines; empty when it is. now: the exchange's."""
    if served is None:
        return ["no_champion"] if snapshot.known else ["stale_data"]
    found = [served.problem] if served.problem is not None else []
    made_at = snapshot.made_at
    if now is None or made_at is None or now - made_at > limits.data_age:
        found.append("stale_data")
    if now is not None and made_at is not None and now - made_at >= snapshot.series.step:
        found.append("target_closed")
    if now is not None and now - served.trained_at > limits.model_age:
        found.append("stale_model")
    if served.score is not None and served.limit is not None and served.score > served.limit:
        found.append("out_of_distribution")
    if served.state == "worse_than_zero":
        found.append("worse_than_zero")
    return list(dict.fromkeys(found))


def oddest(answers: Iterable[Served]) -> Served:
    """Whose training the candle is least like: a mixture knows no more than that member."""
    return max(answers, key=lambda s: s.score / s.limit if s.score is not None and s.limit else 0.0)


def price(close: float | None, log_return: float | None) -> float | None:
    """The price that log return leads to."""
    return None if close is None or log_return is None else close * exp(log_return)
