"""The bets of several series on one candle, of which the mean is what each of them bets."""

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
class PooledBets:
    """Each series' own bet on one candle, all with one recipe; one object for all series, however many.

    members: symbol → (gain, bound), in the order of symbols.
    """

    members: Mapping[str, tuple[float, float]]

    @cached_property
    def sha256(self) -> str:
        """Of the members; equal members have equal ones."""
        return sha256(json.dumps([[s, *bet] for s, bet in self.members.items()]).encode()).hexdigest()

    def with_own(self, symbol: str, bet: Bet) -> PooledBets | None:
        """These, `symbol` betting `bet`; None where it bets alone."""
        own = (bet.gain, bet.bound)
        if self.members.get(symbol) == own:
            return self if len(self.members) > 1 else None
        members = {**self.members, symbol: own}
        return PooledBets(dict(sorted(members.items()))) if len(members) > 1 else None

    def bet_of(self, symbol: str, own: Bet) -> Bet:
        """The mean gain under the mean bound: of `own`, then of the others' in the order of their symbols.

        Added one by one in this order, so that every Python comes to the same last bit: `sum` does not.
        """
        others = [bet for other, bet in self.members.items() if other != symbol]
        gain = reduce(add, (gain for gain, _ in others), own.gain)
        bound = reduce(add, (bound for _, bound in others), own.bound)
        return Bet(own.time, gain / (1 + len(others)), bound / (1 + len(others)))


#: Symbol → candle → (gain, bound).
GainsBySymbol = Mapping[str, Mapping[datetime, tuple[float, float]]]


def pooled_by_candle(gains: GainsBySymbol) -> dict[datetime, PooledBets]:
    """Candle → the bets on it."""
    found: dict[datetime, dict[str, tuple[float, float]]] = {}
    for symbol, bets in sorted(gains.items()):
        for time, bet in bets.items():
            found.setdefault(time, {})[symbol] = bet
    return {time: PooledBets(members) for time, members in found.items()}
