"""How fast and how often to ask: the exchange's weight budget, its Retry-After, and our own patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import stamina
import structlog

from clm.core.errors import ExchangeBanned, ExchangeUnavailable, InvalidCandles, RateLimited

log = structlog.get_logger()
_HEADER = "x-mbx-used-weight-1m"


@dataclass(frozen=True, slots=True)
class Pace:
    """weight_budget: request weight we allow ourselves a minute (Binance allows 6,000 an address).

    attempts, first_wait: tries and seconds before the second; each wait doubles. longest_wait: seconds we are
    willing to be told to wait; a longer Retry-After is raised as RateLimited.
    """

    weight_budget: int = 5500
    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 65.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    wall: Callable[[], float] = field(default=time.time, repr=False)

    @classmethod
    def interactive(cls) -> Pace:
        """For who waits in front of a screen: two tries within a second, and no waiting out a rate limit."""
        return cls(attempts=2, first_wait=0.2, longest_wait=1.0)

    def after(self, headers: Mapping[str, str]) -> None:
        """Waits for the next minute when this minute's weight is nearly used up."""
        used = headers.get(_HEADER, "")
        if used.isdecimal() and len(used) < 10 and int(used) >= self.weight_budget:
            rest = 60 - self.wall() % 60
            log.info("weight_budget_reached", used=int(used), waiting_seconds=round(rest, 1))
            self.sleep(rest)

    def retries(self) -> Iterable[stamina.Attempt]:
        """Tries, for as long as another one may help."""
        return stamina.retry_context(
            on=self._worth_another_try,
            attempts=self.attempts,
            timeout=None,
            wait_initial=self.first_wait,
            wait_max=30,
            wait_jitter=self.first_wait / 2,
        )

    def _worth_another_try(self, error: Exception) -> bool | float:
        match error:
            case ExchangeBanned():
                return False
            case RateLimited(retry_after=float() | int() as seconds):
                return float(seconds) if seconds <= self.longest_wait else False
            case RateLimited() | ExchangeUnavailable() | InvalidCandles():
                return True
            case _:
                return False
