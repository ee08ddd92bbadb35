"""The evidence ledger: is the challenger better than the champion? Candle by candle, for as long as it takes.

Per candle a bounded, variance-normalised difference of squared errors is bet on. Wealth grows by being right
only: while the challenger is no better, the chance that it *ever* exceeds 1/α is at most α (Ville 1939),
however often one looks. See Waudby-Smith & Ramdas (2023) on betting, Choe & Ramdas (2023) on comparing
forecasters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import FloatArray, utc
from clm.core.errors import BadInput

#: Of any number of dimensions.
Array = np.ndarray[Any, np.dtype[np.float64]]
#: Stakes of the parallel bets; bolder where several symbols are pooled, because their mean is calmer.
STAKES = (1 / 8, 1 / 4, 1 / 2, 1.0)
POOLED_STAKES = (1 / 4, 1 / 2, 1.0, 2.0)
POOLED_FROM = 3
#: Surprises count up to so many σ̂; the variance learns from up to so many squared.
CLIP = 3.0
VARIANCE_DECAY = 0.97
VARIANCE_CLIP = 4.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def predictable_variance(returns: FloatArray, start: float) -> FloatArray:
    """σ̂² of each candle as known before it: an EWMA of squared returns, each capped at 16 σ̂².

    returns: shape (n,); start: σ̂² before the first. Result: shape (n,); each value is used first and updated
    with its candle's return afterwards.
    """
    if not start > 0:
        raise BadInput("start", start, "a positive variance")
    known = np.empty(len(returns))
    level = float(start)
    for t, square in enumerate((returns**2).tolist()):
        known[t] = level
        level = VARIANCE_DECAY * level + (1 - VARIANCE_DECAY) * min(square, VARIANCE_CLIP**2 * level)
    return known


def gains(returns: Array, champion: Array, challenger: Array, variance: Array) -> tuple[Array, Array]:
    """What the challenger gains on the champion per candle, and the most it could have: (d, B), |d| ≤ B.

        d = 2 (p_B − p_A) · clip(r − (p_A + p_B)/2, ±3 σ̂) / σ̂²        B = 6 |p_B − p_A| / σ̂

    The difference of squared errors in units of σ̂², its surprise winsorised; antisymmetric in the two models.
    B is known before the candle.
    """
    apart = challenger - champion
    sigma = np.sqrt(variance)
    surprise = np.clip(returns - (champion + challenger) / 2, -CLIP * sigma, CLIP * sigma)
    return 2 * apart * surprise / variance, 2 * CLIP * np.abs(apart) / sigma


@dataclass(frozen=True, slots=True, order=True)
class Bet:
    """One candle's gain d and its bound B, |gain| ≤ bound; time: the candle that was forecast."""

    time: datetime
    gain: float
    bound: float

    def __post_init__(self) -> None:
        if not (self.bound >= 0 and abs(self.gain) <= self.bound * (1 + 1e-9)):
            raise BadInput("gain", self.gain, f"at most the bound, ±{self.bound}")

    def reversed(self) -> Bet:
        """The same candle, the other model's view: what a guard bets on."""
        return Bet(self.time, -self.gain, self.bound)


def pooled(bets: Sequence[Bet]) -> Bet:
    """One bet for one candle time over several symbols: the mean gain, under the mean bound."""
    if len({bet.time for bet in bets}) != 1:
        raise BadInput("bets", len(bets), "one or more bets of one candle time")
    return Bet(
        bets[0].time,
        sum(bet.gain for bet in bets) / len(bets),
        sum(bet.bound for bet in bets) / len(bets),
    )


def stakes_for(symbols: int) -> tuple[float, ...]:
    """The stakes to bet with, given how many symbols are pooled."""
    return POOLED_STAKES if symbols >= POOLED_FROM else STAKES


@dataclass(frozen=True, slots=True)
class Ledger:
    """Wealth of a challenger against a champion; immutable, every bet makes a new one.

    A candle is bet on once, in time order: one at or before `last` changes nothing, a missing one is no bet.
    log_wealth: per stake. total: Σ gain.
    """

    stakes: tuple[float, ...] = STAKES
    log_wealth: tuple[float, ...] = field(default=())
    last: datetime | None = None
    bets: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.log_wealth:
            object.__setattr__(self, "log_wealth", (0.0,) * len(self.stakes))

    def after(self, bets: Iterable[Bet]) -> Ledger:
        """The ledger once these bets are settled, in time order whatever order they come in."""
        fresh = {bet.time: bet for bet in bets if self.last is None or bet.time > self.last}
        if not fresh:
            return self
        ordered = [fresh[time] for time in sorted(fresh)]
        gain = np.array([bet.gain for bet in ordered])
        bound = np.array([bet.bound for bet in ordered])
        grown = log_growth(gain, bound, self.stakes)
        steps: list[list[float]] = grown.T.tolist()
        return replace(
            self,
            log_wealth=tuple(map(_added, self.log_wealth, steps)),
            last=ordered[-1].time,
            bets=self.bets + len(ordered),
            total=_added(self.total, gain.tolist()),
        )

    @property
    def log_e(self) -> float:
        """Log of the evidence E, the mean wealth over the stakes."""
        top = max(self.log_wealth)
        return top + log(sum(exp(w - top) for w in self.log_wealth) / len(self.log_wealth))

    def exceeds(self, alpha: float, recipes: int = 1) -> bool:
        """E ≥ recipes/α: rejects "no better" at level α, at all times and for so many rivals at once."""
        if not (0 < alpha < 1 and recipes >= 1):
            raise BadInput("alpha, recipes", (alpha, recipes), "0 < alpha < 1 and at least one recipe")
        return self.log_e >= log(recipes / alpha)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal ledger."""
        return {
            "stakes": list(self.stakes), "log_wealth": list(self.log_wealth), "bets": self.bets,
            "last": self.last.isoformat() if self.last else None, "total": self.total,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        """The inverse of `to_json`."""
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        return cls(tuple(data["stakes"]), tuple(data["log_wealth"]), last, data["bets"], data["total"])


def log_growth(gain: Array, bound: Array, stakes: Sequence[float]) -> Array:
    """log(1 + min(λ, ½/B)·d) per bet and stake λ: shape (..., bets, stakes) from shape (..., bets).

    Cut at ½/B no bet can lose more than half of its wealth.
    """
    most = np.divide(0.5, bound, out=np.full_like(bound, np.inf), where=bound > 0)
    staked = np.minimum(np.asarray(stakes), most[..., None])
    growth: Array = np.log1p(np.where(np.isfinite(staked), staked, 0.0) * gain[..., None])
    return growth


@dataclass(frozen=True, slots=True)
class Evidence:
    """Ledgers for a horizon of h candles: h of them take turns, so that no two bets of one ledger overlap.

    step: length of a candle. E is the mean over the ledgers; for h = 1 it is the one ledger's.
    """

    step: timedelta
    ledgers: tuple[Ledger, ...]

    @classmethod
    def start(cls, step: timedelta, horizon: int = 1, symbols: int = 1) -> Evidence:
        """Nothing known yet: E = 1."""
        if horizon < 1 or symbols < 1:
            raise BadInput("horizon, symbols", (horizon, symbols), "at least 1 each")
        return cls(step, (Ledger(stakes_for(symbols)),) * horizon)

    def after(self, bets: Iterable[Bet]) -> Evidence:
        """With these bets settled, each by the ledger whose turn its candle is."""
        turns: list[list[Bet]] = [[] for _ in self.ledgers]
        for bet in bets:
            turns[self._turn(bet.time)].append(bet)
        return replace(
            self, ledgers=tuple(ledger.after(turn) for ledger, turn in zip(self.ledgers, turns, strict=True))
        )

    @property
    def log_e(self) -> float:
        parts = [ledger.log_e for ledger in self.ledgers]
        top = max(parts)
        return top + log(sum(exp(part - top) for part in parts) / len(parts))

    def _turn(self, time: datetime) -> int:
        return int((utc(time) - _EPOCH) // self.step) % len(self.ledgers)


def _added(start: float, steps: list[float]) -> float:
    """One after the other, so that it does not matter in how many portions they came."""
    for step in steps:
        start += step
    return start


def bets_of(
    times: pd.DatetimeIndex,
    returns: FloatArray,
    champion: FloatArray,
    challenger: FloatArray,
    variance: FloatArray,
) -> list[Bet]:
    """Bets over candles of one series; a candle that holds a value that is not finite is no bet."""
    gain, bound = gains(returns, champion, challenger, variance)
    sound = np.isfinite(gain) & np.isfinite(bound)
    return [
        Bet(utc(time), float(d), float(b))
        for time, d, b in zip(times[sound], gain[sound], bound[sound], strict=True)
    ]
