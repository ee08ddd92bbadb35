"""The bets of several series on one candle, of which the mean is what each of them bets.

Series that look at a candle together bet together: one pool of all of them, which each of them names. A
series that comes later, one after another in a run over many, joins what has been bet by then. Its pool
holds itself and the sum of those before it, not their bets once more: where N series come one after another
they would be N pools of up to N bets a candle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, reduce
from hashlib import sha256
from operator import add

from clm.core.evidence import Bet


@dataclass(frozen=True)
class PoolSum:
    """What the bets of a pool come to. first: hash of the pool that it grew out of; its own where of none."""

    sha256: str
    first: str
    count: int
    gain: float
    bound: float


@dataclass(frozen=True)
class PooledBets:
    """Each series' own bet on one candle, all with one recipe; one object for all series, however many.

    members: symbol → (gain, bound), in the order of symbols. before: those whom the one member joined, None
    where all bet together. left: what it had bet among them in an earlier reign, which no more counts.
    """

    members: Mapping[str, tuple[float, float]]
    before: PoolSum | None = None
    left: tuple[float, float] | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the members and of those before them; equal pools have equal ones."""
        told: list[object] = [[symbol, *bet] for symbol, bet in self.members.items()]
        if self.before is not None:
            told = [self.before.sha256, self.left, told]
        return sha256(json.dumps(told).encode()).hexdigest()

    @cached_property
    def total(self) -> PoolSum:
        """The sum of all bets in it, added one by one in the order in which they came."""
        bets = list(self.members.values())
        if self.before is None:
            gain, bound = (reduce(add, numbers) for numbers in zip(*bets, strict=True))
            return PoolSum(self.sha256, self.sha256, len(bets), gain, bound)
        (own,) = bets
        count, gain, bound = _joined(self.before, self.left, own)
        return PoolSum(self.sha256, self.before.first, count, gain, bound)

    def with_own(self, symbol: str, bet: Bet) -> PooledBets:
        """These, `symbol` betting `bet`."""
        own = (bet.gain, bet.bound)
        if self.members.get(symbol) == own:
            return self
        return PooledBets(dict(sorted({**self.members, symbol: own}.items())))

    def bet_of(self, symbol: str, own: Bet) -> Bet:
        """The mean gain under the mean bound: of `own` and of the others'.

        Added one by one in one order, so that every Python comes to the same last bit: `sum` does not. Where
        all bet together: `own`, then the others' in the order of their symbols. Of who joined: `own` last.
        """
        if self.before is not None:
            count, gain, bound = _joined(self.before, self.left, (own.gain, own.bound))
            return Bet(own.time, gain / count, bound / count)
        others = [bet for other, bet in self.members.items() if other != symbol]
        gain = reduce(add, (gain for gain, _ in others), own.gain)
        bound = reduce(add, (bound for _, bound in others), own.bound)
        return Bet(own.time, gain / (1 + len(others)), bound / (1 + len(others)))


@dataclass(frozen=True, slots=True)
class Stood:
    """What has been bet on a candle by now; former: the bet among it of the series that looks, if any."""

    pool: PooledBets
    former: tuple[float, float] | None = None


def joining(stood: Stood | None, symbol: str, bet: Bet) -> PooledBets:
    """The pool of a series that bets now, after those that have; alone in it where none has."""
    members = {symbol: (bet.gain, bet.bound)}
    return PooledBets(members) if stood is None else PooledBets(members, stood.pool.total, stood.former)


def _joined(
    before: PoolSum, left: tuple[float, float] | None, own: tuple[float, float]
) -> tuple[int, float, float]:
    """(how many, sum of gains, sum of bounds) once `own` has come, and `left` has gone."""
    if left is None:
        return before.count + 1, before.gain + own[0], before.bound + own[1]
    return before.count, before.gain - left[0] + own[0], before.bound - left[1] + own[1]


#: Symbol → candle → (gain, bound).
GainsBySymbol = Mapping[str, Mapping[datetime, tuple[float, float]]]


def pooled_by_candle(gains: GainsBySymbol) -> dict[datetime, PooledBets]:
    """Candle → the bets on it."""
    found: dict[datetime, dict[str, tuple[float, float]]] = {}
    for symbol, bets in sorted(gains.items()):
        for time, bet in bets.items():
            found.setdefault(time, {})[symbol] = bet
    return {time: PooledBets(members) for time, members in found.items()}
