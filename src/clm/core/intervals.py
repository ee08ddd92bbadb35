"""How sure is a forecast? Prediction intervals that learn from their own misses: adaptive conformal.

The width at time t is q·f[h]·σ̂: σ̂ the volatility known beforehand, f[h] how much wider than usual returns are
at this hour of the day, q a quantile that is raised a little after every miss and lowered a little less after
every hit (Gibbs & Candès 2021; the quantile tracker of Angelopoulos, Candès & Tibshirani 2023). Whatever the
market does, the share of misses over T candles differs from the nominal one by at most (q_max + η)/(η·T).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import erf, sqrt
from typing import Any

from clm.core.book import Forecast
from clm.core.errors import BadInput

#: Step of the quantile after a candle; memory of an hour's factor, in days: 1/(1 − 0.97) = 33.
STEP, MEMORY = 0.05, 0.97
#: Where q starts: the nominal quantile of a normal distribution, in mean absolute deviations.
_MEAN_ABSOLUTE = sqrt(2 / 3.141592653589793)
#: Scores count up to so much, so that one crash does not widen a month.
_SCORE_CAP = 4.0
_LEAST_QUANTILE = 0.1
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Interval:
    """lower, upper: log returns; level: nominal coverage, 0.9 = 90 %."""

    lower: float
    upper: float
    level: float


@dataclass(frozen=True, slots=True)
class IntervalTracker:
    """Knows how wide to be; immutable, every outcome makes a new one.

    level: nominal coverage. quantile: q; factors: f, by the hour of the day (UTC) at which the forecast is
    made. candles, covered: outcomes so far, and how many lay inside. last: the newest candle learnt from.
    """

    level: float = 0.9
    quantile: float = 0.0
    factors: tuple[float, ...] = (_MEAN_ABSOLUTE,) * _HOURS
    candles: int = 0
    covered: int = 0
    last: datetime | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise BadInput("level", self.level, "a share from 0.5 to below 1, such as 0.9")
        if len(self.factors) != _HOURS:
            raise BadInput("factors", len(self.factors), f"one for each of {_HOURS} hours")
        if not self.quantile > 0:
            object.__setattr__(self, "quantile", _normal_quantile(self.level) / _MEAN_ABSOLUTE)

    def around(self, forecast: float, sigma: float, made_at: datetime) -> Interval:
        """The interval of a forecast made at that moment. sigma: σ̂, of a log return."""
        half = self.quantile * self.factors[made_at.hour] * sigma
        return Interval(forecast - half, forecast + half, self.level)

    def after(self, forecast: float, sigma: float, made_at: datetime, actual: float) -> IntervalTracker:
        """Once the outcome is known; outcomes come in the order of time, others change nothing."""
        if self.last is not None and made_at <= self.last:
            return self
        score, hour = abs(actual - forecast) / sigma, made_at.hour
        missed = score > self.quantile * self.factors[hour]
        quantile = self.quantile + STEP * (float(missed) - (1 - self.level))
        learnt = MEMORY * self.factors[hour] + (1 - MEMORY) * min(score, _SCORE_CAP)
        return replace(
            self,
            quantile=max(_LEAST_QUANTILE, quantile),
            factors=(*self.factors[:hour], learnt, *self.factors[hour + 1 :]),
            candles=self.candles + 1,
            covered=self.covered + (not missed),
            last=made_at,
        )

    def through(self, scored: Iterable[Forecast], step: timedelta) -> IntervalTracker:
        """After all these forecasts whose outcome is known, oldest first. step: length of a candle."""
        tracker = self
        for forecast in scored:
            if forecast.actual is not None and forecast.variance > 0:
                made_at = forecast.open_time + step
                sigma = sqrt(forecast.variance)
                tracker = tracker.after(forecast.forecast, sigma, made_at, forecast.actual)
        return tracker

    @property
    def coverage(self) -> float | None:
        """Share of outcomes that lay inside; None before the first."""
        return self.covered / self.candles if self.candles else None

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal tracker."""
        return {
            "level": self.level, "quantile": self.quantile, "factors": list(self.factors),
            "candles": self.candles, "covered": self.covered,
            "last": self.last.isoformat() if self.last else None,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IntervalTracker:
        """The inverse of `to_json`."""
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        return cls(
            data["level"], data["quantile"], tuple(data["factors"]), data["candles"], data["covered"], last
        )


def _normal_quantile(level: float) -> float:
    """z with P(|Z| ≤ z) = level, by bisection: it is needed once."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if erf(middle / sqrt(2)) < level else (low, middle)
    return (low + high) / 2
