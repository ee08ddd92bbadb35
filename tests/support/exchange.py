"""The local exchange for tests: a real HTTP server in a thread, its clock set by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType

import pandas as pd

from clm.core.domain import Series
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.market import Market, Tape, merge
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.market.account import Account
from clm.market.pace import Pace
from tests.support.candles import random_walk
from tests.support.waiting import LIMIT

NOW = datetime(2024, 6, 1, 0, 30, tzinfo=UTC)
#: Retries without waiting; what would have been slept is thrown away.
QUICK = Pace(first_wait=0.001, sleep=lambda seconds: None)


@cache
def simulated(days: int = 420, seed: int = 1, signal: float = 0.04, interval: str = "1h") -> Market:
    """BTCUSDT and ETHUSDT up to a month after NOW. Shared by the tests of a process, hence read-only."""
    end = NOW + timedelta(days=30)
    market = simulate_market(
        ("BTCUSDT", "ETHUSDT"), interval, start=end - timedelta(days=days), end=end, seed=seed, signal=signal
    )
    for tapes in market.tapes.values():
        for tape in tapes.values():
            for values in (tape.opens, tape.starts, tape.ends, *tape.columns.values()):
                values.setflags(write=False)
    frozen = {symbol: MappingProxyType(dict(tapes)) for symbol, tapes in market.tapes.items()}
    return Market(MappingProxyType(frozen), market.seed)


def trading(tape: Tape, symbol: str = "BTCUSDT", interval: str = "1h") -> Market:
    """A market of this tape alone."""
    return Market({symbol: {interval: tape}})


def market_of(candles: pd.DataFrame, symbol: str = "BTCUSDT", interval: str = "1h") -> Market:
    """A market that trades exactly these candles."""
    return merge([(Series(symbol, interval), candles)])


def walk_market(rows: int = 3500, seed: int = 0) -> tuple[Market, pd.DataFrame]:
    """A random walk's market that ends at NOW's hour, and its candles."""
    start = pd.Timestamp(NOW).floor("h") - pd.Timedelta(hours=rows - 1)
    candles = random_walk(rows, seed=seed, start=str(start.tz_localize(None)))
    return market_of(candles), candles


def serving(market: Market, now: datetime = NOW) -> ExchangeServer:
    """The exchange at `now`, its clock standing still."""
    return ExchangeServer(market, ExchangeClock(now, speed=0))


def put_off(server: ExchangeServer) -> None:
    """Who wants candles is told to come back in a minute: a run is under way for four, unless it is ended.

    Longer than where no answer comes at all, and nobody is kept waiting but who is willing to.
    """
    server.set_faults(FaultPlan.parse("429", retry_after=60))


def hold_back(server: ExchangeServer) -> None:
    """No candle is given out before `let_go`. A run gives up after five tries of twenty seconds each."""
    server.exchange.stopping = False
    server.set_faults(FaultPlan.parse("timeout", timeout_seconds=LIMIT))


def slow_down(server: ExchangeServer, seconds: float) -> None:
    """Every answer takes so long."""
    server.exchange.stopping = False
    server.exchange.latency = seconds


def let_go(server: ExchangeServer) -> None:
    """Answers come at once again, those that were held back too."""
    server.set_faults("")
    # What it has asked this machine for it takes back, too.
    Account().reopen(server.url.removeprefix("http://"))
    server.exchange.latency = 0
    # What is held back, is so until a server stops; it does not.
    server.exchange.stopping = True
