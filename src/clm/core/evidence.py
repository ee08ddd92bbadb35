"""The evidence ledger: is the challenger better than the champion? Candle by candle, for as long as it takes.

Per candle a bounded, variance-normalised difference of squared errors is bet on. Wealth grows by being right
only: while the challenger is no better, the chance that it *ever* exceeds 1/α is at most α (Ville 1939),
however often one looks. See Waudby-Smith & Ramdas (2023) on betting, Choe & Ramdas (2023) on comparing
forecasters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil, exp, log, log1p
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
#: Surprises count up to so many σ̂.
CLIP = 3.0
#: Estimates of what is still needed beyond this are none.
_IN_SIGHT = timedelta(days=3653)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def stakes_for(symbols: int) -> tuple[float, ...]:
    """The stakes to bet with, given how many symbols are pooled."""
    return POOLED_STAKES if symbols >= POOLED_FROM else STAKES


@dataclass(frozen=True, slots=True)
class Ledger:
    """Wealth of a challenger against a champion; immutable, every bet makes a new one.

    A candle is bet on once, in time order: one at or before `last` changes nothing, a missing one is no bet.
    log_wealth: per stake. total: Σ gain; squares: Σ gain².
    """

    stakes: tuple[float, ...] = STAKES
    log_wealth: tuple[float, ...] = field(default=())
    last: datetime | None = None
    bets: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        if not self.log_wealth:
            object.__setattr__(self, "log_wealth", (0.0,) * len(self.stakes))

    def after(self, bets: Iterable[Bet]) -> Ledger:
        """The ledger once these bets are settled, in time order whatever order they come in."""
        ledger = self
        for bet in sorted({bet.time: bet for bet in bets}.values()):
            ledger = ledger.settle(bet)
        return ledger

    def settle(self, bet: Bet) -> Ledger:
        """One bet more: log wealth grows by log(1 + min(λ, ½/B)·d) per stake λ.

        One bet at a time and in plain floats, so that the last bit does not depend on how many came at once.
        """
        if self.last is not None and bet.time <= self.last:
            return self
        most = 0.5 / bet.bound if bet.bound > 0 else 0.0
        return Ledger(
            self.stakes,
            tuple(
                w + log1p(min(s, most) * bet.gain) for w, s in zip(self.log_wealth, self.stakes, strict=True)
            ),
            bet.time,
            self.bets + 1,
            self.total + bet.gain,
            self.squares + bet.gain * bet.gain,
        )

    @property
    def log_e(self) -> float:
        """Log of the evidence E, the mean wealth over the stakes."""
        return _log_mean_exp(self.log_wealth)

    def exceeds(self, alpha: float, recipes: int = 1) -> bool:
        """E ≥ recipes/α: rejects "no better" at level α, at all times and for so many rivals at once."""
        return self.log_e >= log_threshold(alpha, recipes)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal ledger."""
        return {
            "stakes": list(self.stakes), "log_wealth": list(self.log_wealth), "bets": self.bets,
            "last": self.last.isoformat() if self.last else None, "total": self.total,
            "squares": self.squares,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        """The inverse of `to_json`."""
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        return cls(
            tuple(data["stakes"]), tuple(data["log_wealth"]), last, data["bets"], data["total"],
            data["squares"],
        )  # fmt: skip


def log_threshold(alpha: float, recipes: int = 1) -> float:
    """log(recipes/α): what log E must reach. Raises BadInput."""
    if not (0 < alpha < 1 and recipes >= 1):
        raise BadInput("alpha, recipes", (alpha, recipes), "0 < alpha < 1 and at least one recipe")
    return log(recipes / alpha)


def log_growth(gain: Array, bound: Array, stakes: Sequence[float]) -> Array:
    """log(1 + min(λ, ½/B)·d) for many paths at once: shape (..., bets, stakes) from shape (..., bets).

    Cut at ½/B no bet can lose more than half of its wealth. The growth `Ledger.settle` adds bet by bet.
    """
    most = np.divide(0.5, bound, out=np.full_like(bound, np.inf), where=bound > 0)
    staked = np.minimum(np.asarray(stakes), most[..., None])
    growth: Array = np.log1p(np.where(np.isfinite(staked), staked, 0.0) * gain[..., None])
    return growth


@dataclass(frozen=True, slots=True)
class Evidence:
    """Ledgers for a horizon of h candles: h of them take turns, so that no two bets of one ledger overlap.

    step: length of a candle. E is the mean over the ledgers; for h = 1 it is the one ledger's. peak: the
    highest log E ever, after any bet: by Ville's inequality this is what may be compared with 1/α. since:
    when it last began at E = 1, itself or a predecessor whose remainder it took over; None: never mind.
    """

    step: timedelta
    ledgers: tuple[Ledger, ...]
    peak: float = 0.0
    since: datetime | None = None

    @classmethod
    def start(
        cls,
        step: timedelta,
        horizon: int = 1,
        symbols: int = 1,
        log_purse: float = 0.0,
        since: datetime | None = None,
    ) -> Evidence:
        """Nothing known yet: E = 1, or less where an earlier ledger has lost some of it (log_purse < 0)."""
        if horizon < 1 or symbols < 1:
            raise BadInput("horizon, symbols", (horizon, symbols), "at least 1 each")
        if log_purse > 0:
            raise BadInput("log_purse", log_purse, "at most 0: evidence against another champion is none")
        stakes = stakes_for(symbols)
        ledger = Ledger(stakes, (log_purse,) * len(stakes))
        return cls(step, (ledger,) * horizon, log_purse, since)

    def walk(self, bets: Iterable[Bet]) -> Iterator[tuple[Bet, Evidence]]:
        """The evidence after each of these bets, in time order; a candle already bet on is left out."""
        now = self
        for bet in sorted({bet.time: bet for bet in bets}.values()):
            if now.last is not None and bet.time <= now.last:
                continue
            turn = int((utc(bet.time) - _EPOCH) // self.step) % len(now.ledgers)
            ledgers = (*now.ledgers[:turn], now.ledgers[turn].settle(bet), *now.ledgers[turn + 1 :])
            peak = max(now.peak, _log_mean_exp([x.log_e for x in ledgers]))
            now = Evidence(self.step, ledgers, peak, self.since)
            yield bet, now

    def after(self, bets: Iterable[Bet]) -> Evidence:
        """With these bets settled, each by the ledger whose turn its candle is."""
        evidence = self
        for _, reached in self.walk(bets):
            evidence = reached
        return evidence

    @property
    def log_e(self) -> float:
        """Log of E as it stands now."""
        return _log_mean_exp([ledger.log_e for ledger in self.ledgers])

    @property
    def last(self) -> datetime | None:
        """The newest candle bet on."""
        return max((ledger.last for ledger in self.ledgers if ledger.last is not None), default=None)

    @property
    def bets(self) -> int:
        """Candles bet on."""
        return sum(ledger.bets for ledger in self.ledgers)

    def candles_to_go(self, log_target: float) -> int | None:
        """Candles still needed at the present pace until log E reaches `log_target`; None: over ten years.

        A best bet on gains of mean μ and mean square v grows by μ²/2v a candle (Kelly 1956).
        """
        total, squares = sum(x.total for x in self.ledgers), sum(x.squares for x in self.ledgers)
        if total <= 0 or squares <= 0:
            return None
        growth = total * total / (2 * squares * self.bets)
        needed = max(0.0, (log_target - self.log_e) / growth)
        return ceil(needed) if needed * self.step.total_seconds() < _IN_SIGHT.total_seconds() else None

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal evidence."""
        return {
            "step": self.step.total_seconds(), "peak": self.peak,
            "since": self.since.isoformat() if self.since else None,
            "ledgers": [ledger.to_json() for ledger in self.ledgers],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_json`."""
        ledgers = tuple(map(Ledger.from_json, data["ledgers"]))
        since = datetime.fromisoformat(data["since"]) if data["since"] else None
        return cls(timedelta(seconds=data["step"]), ledgers, data["peak"], since)


def _log_mean_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + log(sum(exp(value - top) for value in values) / len(values))


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
