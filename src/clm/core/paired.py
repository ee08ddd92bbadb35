"""Champion and challenger on the same candles: what the gates of a promotion are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from clm.core.book import Forecast, Source
from clm.core.domain import FloatArray
from clm.core.evidence import CLIP, Bet, gains
from clm.core.scoring import directional_accuracy, long_run_variance

#: Fewer candles than this and a bound on a mean is a guess.
MIN_CANDLES = 30


@dataclass(frozen=True, slots=True)
class Paired:
    """Arrays of shape (n,), oldest candle first. All log returns; variance: σ̂² known at forecast time.

    shadow: True where the candle was replayed or live, False on the holdout.
    """

    times: tuple[datetime, ...]
    actual: FloatArray
    champion: FloatArray
    challenger: FloatArray
    variance: FloatArray
    shadow: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, champion: Iterable[Forecast], challenger: Iterable[Forecast]) -> Paired:
        """The candles both have forecast and whose outcome is known; late forecasts do not count."""
        theirs = {f.open_time: f for f in champion if _counts(f)}
        pairs = [(theirs[f.open_time], f) for f in challenger if f.open_time in theirs and _counts(f)]
        pairs.sort(key=lambda pair: pair[1].open_time)
        return cls(
            tuple(b.open_time for _, b in pairs),
            np.array([b.actual for _, b in pairs], dtype=np.float64),
            np.array([a.forecast for a, _ in pairs], dtype=np.float64),
            np.array([b.forecast for _, b in pairs], dtype=np.float64),
            np.array([b.variance for _, b in pairs], dtype=np.float64),
            np.array([b.source is not Source.HOLDOUT for _, b in pairs], dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.times)

    def up_to(self, moment: datetime) -> Paired:
        """The candles that opened at or before `moment`."""
        if not self.times or self.times[-1] <= moment:
            return self
        until = np.array([time <= moment for time in self.times], dtype=np.bool_)
        return Paired(
            tuple(time for time in self.times if time <= moment), self.actual[until], self.champion[until],
            self.challenger[until], self.variance[until], self.shadow[until],
        )  # fmt: skip

    def bets(self) -> list[Bet]:
        """One bet a candle."""
        d, bound = gains(self.actual, self.champion, self.challenger, self.variance)
        return [Bet(t, float(g), float(b)) for t, g, b in zip(self.times, d, bound, strict=True)]

    @property
    def total_gain(self) -> float:
        """Σd: above zero when the challenger forecast these candles better."""
        return float(self._gains().sum())

    @property
    def mse_gain(self) -> float | None:
        """Relative gain of variance-normalised squared error, 0.02 = 2 % smaller; None without candles."""
        champion, challenger = self._loss(self.champion), self._loss(self.challenger)
        return 1 - float(challenger.sum()) / float(champion.sum()) if champion.sum() > 0 else None

    @property
    def direction_gain(self) -> float | None:
        """Relative gain of directional accuracy, 0.02 = 51.0 % instead of 50.0 %; None where undefined."""
        theirs = directional_accuracy(self.champion, self.actual)
        ours = directional_accuracy(self.challenger, self.actual)
        return ours / theirs - 1 if ours is not None and theirs else None

    @property
    def shadow_ratio(self) -> float | None:
        """Normalised squared error of challenger over champion in the shadow candles; None without any."""
        champion = float(self._loss(self.champion)[self.shadow].sum())
        return float(self._loss(self.challenger)[self.shadow].sum()) / champion if champion > 0 else None

    @property
    def shadow_candles(self) -> int:
        """How many were replayed or live."""
        return int(self.shadow.sum())

    def _gains(self) -> FloatArray:
        d, _ = gains(self.actual, self.champion, self.challenger, self.variance)
        return np.asarray(d, dtype=np.float64).reshape(-1)

    def _loss(self, forecast: FloatArray) -> FloatArray:
        return np.asarray((self.actual - forecast) ** 2 / self.variance, dtype=np.float64).reshape(-1)

    def _zero_loss(self) -> FloatArray:
        squares: FloatArray = np.minimum(self.actual**2 / self.variance, CLIP**2)
        return squares


def r2_gain_bound(every: Sequence[Paired], confidence: float = 0.95, horizon: int = 1) -> float | None:
    """Lower one-sided bound of the challenger's R² gain over the champion, a fraction; None: too few candles.

    every: one `Paired` per pooled series; gains are averaged over the series at each candle. Both R² and
    gain are of winsorised, variance-normalised squared error against forecasting zero. Newey–West variance,
    small-sample factor of Harvey, Leybourne & Newbold (1997), Student's t with n − 1 degrees of freedom.
    """
    by_time: dict[datetime, list[tuple[float, float]]] = {}
    for paired in every:
        both = zip(paired.times, paired._gains().tolist(), paired._zero_loss().tolist(), strict=True)
        for time, gain, zero in both:
            by_time.setdefault(time, []).append((gain, zero))
    n = len(by_time)
    if n < MIN_CANDLES:
        return None
    mean = np.array([np.mean(by_time[time], axis=0) for time in sorted(by_time)])
    gains_by_time: FloatArray = mean[:, 0]
    zero = float(mean[:, 1].mean())
    variance = long_run_variance(gains_by_time, horizon)
    if zero <= 0 or variance is None:
        return None
    from scipy.special import stdtrit  # a tenth of a second that only a refresh needs

    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    margin = float(stdtrit(n - 1, confidence)) * np.sqrt(variance / n) / correction
    return float((gains_by_time.mean() - margin) / zero)


def _counts(forecast: Forecast) -> bool:
    return forecast.actual is not None and forecast.source is not Source.LATE
