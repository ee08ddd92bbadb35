"""A year of daily candidates against the real policy: who reigns, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.market_paths import (
    Array,
    Model,
    amplitude,
    ar1,
    correlated,
    known_variance,
    volatility,
)
from clm.core.domain import Decision, Outcome
from clm.core.evidence import Bet, Evidence, gains, log_threshold
from clm.core.evidence_policy import EvidencePolicy
from clm.core.paired import Paired
from clm.core.policy import Case, Standing

_T0 = datetime(2024, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
HISTORY, DAYS = 720, 365
#: A candidate of day k has not seen the last two days: shadow window and purge.
_UNSEEN = 48
#: Own noise: √.23 common + √.77 V_k, V_k = 0.9 V_{k−1} + √.19 e_k over days.
_COMMON, _KEPT = 0.23, 0.9
_SANE = {"rmse": 0.005, "mae": 0.003}
#: day of training, hour of the year → the model's loadings.
Quality = Callable[[int, int], Model]


@dataclass(frozen=True, slots=True)
class Year:
    """better, refresh: promotions. harmful: `better` ones of a model truly worse. shortfall: mean R² lost
    against the better of the first champion and the day's candidate, a fraction. naive: the same for the
    threshold rule.
    """

    better: int
    refresh: int
    harmful: int
    naive: int
    naive_harmful: int
    shortfall: float
    naive_shortfall: float


class _Paths:
    """Returns and every candidate's forecasts of one year."""

    def __init__(self, seed: int, symbols: int) -> None:
        rng = np.random.default_rng(seed)
        hours = HISTORY + DAYS * 24
        sigma, z = volatility(rng, symbols, 1, hours)
        self.tau = amplitude(sigma[:, 0])
        self.signal = correlated(rng, symbols, (hours,))
        self.common = correlated(rng, symbols, (hours,))
        self.r = 0.12 * self.tau * self.signal + sigma[:, 0] * z[:, 0]
        self.variance = known_variance(self.r)
        self._own = self._daily(rng, symbols, hours)
        self.times = [_T0 + t * _HOUR for t in range(hours)]

    @staticmethod
    def _daily(rng: np.random.Generator, symbols: int, hours: int) -> Array:
        """V_k of every day, shape (days + 1, symbols, hours), float32: it is the bulk of the memory."""
        own = np.empty((DAYS + 1, symbols, hours), dtype=np.float32)
        level: Array = correlated(rng, symbols, (hours,))
        own[0] = level
        for k in range(1, DAYS + 1):
            fresh = correlated(rng, symbols, (hours,)) if symbols > 1 else ar1(rng, (1, hours))
            level = _KEPT * level + np.sqrt(1 - _KEPT**2) * fresh
            own[k] = level
        return own.astype(np.float64) if symbols == 1 else own  # type: ignore[return-value]

    def forecast(self, day: int, window: slice, quality: Quality) -> Array:
        """Of the candidate of `day`, shape (symbols, hours in the window)."""
        noise = np.sqrt(_COMMON) * self.common[:, window] + np.sqrt(1 - _COMMON) * self._own[day][:, window]
        model = quality(day, (window.start + window.stop) // 2)
        result: Array = self.tau[:, window] * (model.a * self.signal[:, window] + model.b * noise)
        return result

    def paired(self, champion: int, challenger: int, window: slice, quality: Quality) -> Paired:
        """Both on every symbol's candles of the window; the times repeat once per symbol."""
        shape = (-1,)
        flat = [
            np.ascontiguousarray(x).reshape(shape)
            for x in (
                self.r[:, window],
                self.forecast(champion, window, quality),
                self.forecast(challenger, window, quality),
                self.variance[:, window],
            )
        ]
        times = tuple(self.times[window]) * len(self.r)
        shadow = np.zeros(len(times), dtype=np.bool_)
        shadow[-24:] = True
        return Paired(times, flat[0], flat[1], flat[2], flat[3], shadow)


def simulate_year(seed: int, symbols: int, quality: Quality, policy: EvidencePolicy) -> Year:
    """One year, a candidate a day; the first champion is as old as the history."""
    reign = _Reign(_Paths(seed, symbols), symbols, quality, policy)
    naive_champion, naive, naive_harmful = 0, 0, 0
    counts = dict.fromkeys(("better", "refresh", "harmful"), 0)
    lost, naive_lost = [], []
    for day in range(1, DAYS + 1):
        start = HISTORY + (day - 1) * 24
        r2 = [quality(trained, start + 12).r2 for trained in (reign.champion, naive_champion, day, 0)]
        lost.append(max(r2[2:]) - r2[0])
        naive_lost.append(max(r2[2:]) - r2[1])
        label = reign.live_through(day, start)
        if label is not None:
            counts[label] += 1
            counts["harmful"] += label == "better" and r2[2] < r2[0] - 1e-12
        holdout = slice(start - HISTORY, start)
        if _naive(reign.paths.paired(naive_champion, day, holdout, quality)):
            naive, naive_champion = naive + 1, day
            naive_harmful += r2[2] < r2[1] - 1e-12
    return Year(
        **counts, naive=naive, naive_harmful=naive_harmful, shortfall=float(np.mean(lost)),
        naive_shortfall=float(np.mean(naive_lost)),
    )  # fmt: skip


class _Reign:
    """The champion of the day, its ledger, and the policy that decides."""

    def __init__(self, paths: _Paths, symbols: int, quality: Quality, policy: EvidencePolicy) -> None:
        self.paths, self._symbols, self._quality, self._policy = paths, symbols, quality, policy
        self.champion = 0
        self._begin(-30)

    def _begin(self, trained: int, log_purse: float = 0.0) -> None:
        """A new reign: nothing is known, nothing was weighed."""
        self._trained = trained
        self._evidence = Evidence.start(_HOUR, 1, self._symbols, log_purse)
        self._refresh_tried: datetime | None = None

    def live_through(self, day: int, start: int) -> str | None:
        """The 24 candles after hour `start` with the candidate of `day`; the label if it was promoted."""
        times, end = self.paths.times, start + 24
        first = max(start - HISTORY, HISTORY + (self._trained - 1) * 24 - _UNSEEN)
        last = self._evidence.last
        fresh = slice(max(first, int((last - _T0) / _HOUR) + 1 if last else first), end)
        rows: Paired | None = None
        target = log_threshold(self._policy.alpha)
        for bet, reached in self._evidence.walk(self._bets(day, fresh)):
            self._evidence = reached
            if self._evidence.peak >= target and bet.time >= times[start]:
                rows = rows or self.paths.paired(self.champion, day, slice(first, end), self._quality)
                if self._decide(rows.up_to(bet.time), bet.time).label == "better":
                    return self._succeed(day, "better")
        due = self._refresh_tried is None or times[end - 1] - self._refresh_tried >= timedelta(days=7)
        if day - self._trained >= self._policy.refresh_after_days and due:
            rows = rows or self.paths.paired(self.champion, day, slice(first, end), self._quality)
            if self._decide(rows, times[end - 1]).outcome is Outcome.PROMOTE:
                # As in the product: a refresh does not refill the purse.
                return self._succeed(day, "refresh", min(0.0, self._evidence.log_e))
            self._refresh_tried = times[end - 1]
        return None

    def _succeed(self, day: int, label: str, log_purse: float = 0.0) -> str:
        self.champion = day
        self._begin(day, log_purse)
        return label

    def _bets(self, day: int, window: slice) -> list[Bet]:
        """One bet a candle: the mean over the symbols."""
        values = (
            self.paths.r[:, window],
            self.paths.forecast(self.champion, window, self._quality),
            self.paths.forecast(day, window, self._quality),
            self.paths.variance[:, window],
        )
        gain, bound = (x.mean(axis=0).tolist() for x in gains(*values))
        return [Bet(*one) for one in zip(self.paths.times[window], gain, bound, strict=True)]

    def _decide(self, rows: Paired, time: datetime) -> Decision:
        as_of = time + 2 * _HOUR
        standing = Standing(
            evidence=self._evidence, recipes=1, own=rows, pool=tuple, same_recipe=True,
            champion_age=as_of - (_T0 + (HISTORY + (self._trained - 1) * 24) * _HOUR),
            refresh_tried_at=self._refresh_tried, cool_down_until=None, parity=0.0,
        )  # fmt: skip
        case = Case(
            model_type="benchmark", candidate_version="candidate", champion_version="champion", as_of=as_of,
            metrics=_SANE, certificate={"problems": []}, standing=standing,
        )  # fmt: skip
        return self._policy.decide(case)


def _naive(rows: Paired) -> bool:
    """2 % better squared error or direction, and no worse in the shadow hours: point estimates alone."""
    found, shadow = (rows.mse_gain, rows.direction_gain), rows.shadow_ratio
    better = any(gain is not None and gain >= 0.02 for gain in found)
    return better and shadow is not None and shadow <= 1
