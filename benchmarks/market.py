"""Seeded candles for every scenario: the simulated market, so that a benchmark runs on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd

from clm.core.domain import CANDLE_COLUMNS
from clm.exchange.market import Market
from clm.exchange.simulate import simulate_market

NOW = datetime(2024, 12, 31, tzinfo=UTC)


def market(days: float, interval: str = "1h") -> Market:
    """BTCUSDT, `days` days up to NOW and a month on."""
    start, end = NOW - timedelta(days=days), NOW + timedelta(days=30)
    return simulate_market(("BTCUSDT",), interval, start=start, end=end, seed=11, signal=0.01)


def candles(days: float, interval: str = "1h") -> pd.DataFrame:
    """The same market's candles as a frame."""
    tape = market(days, interval).tapes["BTCUSDT"][interval]
    index = pd.DatetimeIndex(tape.opens.astype("datetime64[ms]"), name="open_time").tz_localize("UTC")
    frame = pd.DataFrame({name: tape.columns[name] for name in CANDLE_COLUMNS}, index=index)
    return frame.assign(trades=frame["trades"].astype("int64"))


def best_of(times: int, *works: Callable[[], object]) -> list[float]:
    """Seconds of each work, the best of `times` rounds in which all take turns."""
    best = [float("inf")] * len(works)
    for _ in range(times):
        for position, work in enumerate(works):
            began = time.perf_counter()
            work()
            best[position] = min(best[position], time.perf_counter() - began)
    return best
