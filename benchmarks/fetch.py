"""Fetching: the second look at a year of hours against the first, over real HTTP."""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta

from benchmarks.market import NOW, market
from benchmarks.result import Result
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.market.binance import BinanceDataClient

_ROUNDS = 3


def run() -> list[Result]:
    with ExchangeServer(market(400), ExchangeClock(NOW, speed=0)) as exchange:
        first = second = later = float("inf")
        for _ in range(_ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                client = BinanceDataClient(base_url=exchange.url, data_dir=folder)
                first = min(first, _seconds(client))
                second = min(second, _seconds(client))
                exchange.clock.advance(timedelta(hours=1))
                later = min(later, _seconds(client))
                client.close()
    return [
        Result("fetch: a year of hours, nothing new", "first fetch", second, first),
        Result("fetch: a year of hours, one new candle", "first fetch", later, first),
    ]


def _seconds(client: BinanceDataClient) -> float:
    began = time.perf_counter()
    client.load_recent_data(365)
    return time.perf_counter() - began
