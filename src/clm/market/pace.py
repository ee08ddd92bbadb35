"""How fast and how often to ask: the exchange's weight budget, its Retry-After, and our own patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from urllib.parse import urlsplit

import stamina

from clm.core.errors import ExchangeBanned, ExchangeUnavailable, InvalidCandles, RateLimited
from clm.logs import logger
from clm.market.account import Account

log = logger(__name__)
_HEADER = "x-mbx-used-weight-1m"
#: Request weight an address may use a minute.
EXCHANGE_LIMIT = 6000
#: Of a ban without a time: Binance's begin at two minutes.
_SHORTEST_BAN = 120.0
#: What is left over is for whoever shares the address.
_OF_THE_HASTY = 5800


@dataclass(frozen=True, slots=True)
class Pace:
    """weight_budget: request weight we allow ourselves a minute (Binance allows `EXCHANGE_LIMIT`).

    account: where it is booked, by all processes that share it. attempts, first_wait: tries and seconds
    before the second; each wait doubles. longest_wait: seconds we are willing to wait for leave; what takes
    longer is raised as RateLimited.
    """

    weight_budget: int = 5500
    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 65.0
    account: Account = field(default_factory=Account, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    wall: Callable[[], float] = field(default=time.time, repr=False)

    @classmethod
    def interactive(cls) -> Pace:
        """For who waits in front of a screen: two tries within a second, and no waiting out a rate limit.

        Some weight is theirs alone, so that no bulk of history keeps a newest candle waiting.
        """
        return cls(weight_budget=_OF_THE_HASTY, attempts=2, first_wait=0.2, longest_wait=1.0)

    def before(self, url: str, weight: int) -> None:
        """Books a request's weight, once it is free. Raises RateLimited where that would take too long."""
        host = host_of(url)
        while (wait := self.account.book(host, weight, self.weight_budget, self.wall())) > 0:
            if wait > self.longest_wait:
                self.require_open(url)
                raise RateLimited(f"the request weight of this minute for {host} is used up", wait)
            log.debug("weight_budget_reached", host=host, waiting_seconds=round(wait, 1))
            self.sleep(wait)

    def after(self, url: str, headers: Mapping[str, str]) -> None:
        """Lets nobody ask before the next minute where the exchange counts as much as our budget.

        It counts by address, and others may share ours: other users, other machines, other programs.
        """
        used = headers.get(_HEADER, "")
        if used.isdecimal() and len(used) < 10 and int(used) >= self.weight_budget:
            now = self.wall()
            self.account.close(host_of(url), now + 60 - now % 60, self.weight_budget)

    def refused(self, url: str, error: Exception) -> None:
        """What the exchange asked of this address holds for everybody here: nobody asks before."""
        seconds = error.retry_after if isinstance(error, RateLimited) else None
        if seconds is None and isinstance(error, RateLimited):
            # Weight is counted by the minute.
            seconds = _SHORTEST_BAN if isinstance(error, ExchangeBanned) else 60 - self.wall() % 60
        if seconds:
            self.account.shut(host_of(url), seconds, str(error), self.wall())

    def require_open(self, url: str) -> None:
        """Raises RateLimited, or ExchangeBanned, where the exchange has asked not to be asked."""
        seconds, why = self.account.closure(host_of(url), self.wall())
        if seconds > 0:
            until = datetime.fromtimestamp(self.wall() + seconds, UTC)
            raise (ExchangeBanned if "banned" in why else RateLimited)(
                f"{why}; nobody here asks before {until:%Y-%m-%d %H:%M:%S} UTC", seconds
            )

    def standing(self, url: str) -> dict[str, float | str | None]:
        """used: weight all that share the account booked in a minute; waits: seconds to hold still, and why,
        where the exchange asked for it.
        """
        host = host_of(url)
        used, waits = self.account.standing(host, self.wall())
        why = self.account.closure(host, self.wall())[1] or None
        return {
            "used": used, "budget": self.weight_budget, "limit": EXCHANGE_LIMIT, "waits": waits, "why": why,
        }  # fmt: skip

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


def host_of(url: str) -> str:
    """What weight and closures of an exchange are booked under: its host and port, and no password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, of a number or an HTTP date (RFC 9110); None for what is no time to wait, or none at all."""
    said = headers.get("Retry-After", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        moment = _date(said)
        if moment is None:
            return None
        # By the exchange's own clock where it tells: the two may differ.
        now = _date(headers.get("Date", ""))
        return max(0.0, moment - (time.time() if now is None else now))
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _date(said: str) -> float | None:
    """Seconds since 1970 of an HTTP date, which is in UTC; None where it is none."""
    try:
        moment = parsedate_to_datetime(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
