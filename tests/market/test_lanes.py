"""Many pages at once: answers in order, an error in its turn, and history with any holes comes whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from clm.core.errors import ExchangeUnavailable
from clm.exchange.faults import FaultPlan
from clm.market.binance import BinanceDataClient
from clm.market.connections import Connections
from clm.market.lanes import in_order
from clm.market.pace import Pace
from tests.support.exchange import NOW, QUICK, market_of, serving, walk_market
from tests.support.waiting import LIMIT, eventually


def _nothing() -> None:
    """A lane that needs nothing to begin."""


def test_answers_come_in_the_order_of_the_questions_whoever_is_first() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 / (1 + number))
        return number

    assert list(in_order(slow_at_first, range(40), 8, _nothing)) == list(range(40))


def test_so_many_are_asked_at_once_and_no_more() -> None:
    together, inside, most = threading.Barrier(4), [0], [0]
    lock = threading.Lock()

    def ask(number: int) -> int:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        # Passed only by four together.
        together.wait(timeout=LIMIT)
        with lock:
            inside[0] -= 1
        return number

    assert list(in_order(ask, range(16), 4, _nothing)) == list(range(16))
    assert most[0] == 4


def test_no_more_lies_waiting_than_is_soon_wanted() -> None:
    asked: list[int] = []
    answers = in_order(asked.append, range(10_000), 4, _nothing)

    next(answers)
    time.sleep(0.05)
    assert len(asked) < 20
    cast(Generator[None], answers).close()


def test_an_error_comes_in_its_turn_and_what_was_asked_after_it_is_dropped() -> None:
    def ask(number: int) -> int:
        if number == 5:
            raise ExchangeUnavailable("down")
        return number

    answers = in_order(ask, range(1000), 3, _nothing)

    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ExchangeUnavailable, match="down"):
        next(answers)


MARKET, CANDLES = walk_market(12_000)
CLOSED = CANDLES.iloc[:-1]


def _holed(seed: int) -> pd.DataFrame:
    """Holes of one candle to several pages, at borders of pages too."""
    dice = np.random.default_rng(seed)
    keep = np.ones(len(CANDLES), dtype=np.bool_)
    for start in (*dice.integers(0, len(CANDLES) - 10, 6), 999, 1000, 5000):
        keep[start : start + int(dice.choice([1, 3, 40, 1500]))] = False
    keep[-3:] = True
    return CANDLES[keep]


@pytest.fixture(params=range(4))
def holed(request: pytest.FixtureRequest) -> pd.DataFrame:
    return _holed(request.param)


@pytest.mark.parametrize("cached", [True, False])
def test_a_long_history_with_holes_comes_whole_and_is_not_asked_for_again(
    holed: pd.DataFrame, cached: bool, tmp_path: Path
) -> None:
    with serving(market_of(holed)) as server:
        client = BinanceDataClient(
            base_url=server.url, data_dir=tmp_path, pace=QUICK, cache_enabled=cached
        )  # fmt: skip
        start = CANDLES.index[0].to_pydatetime() - timedelta(days=300)

        first = client.load_training_data(start, NOW)
        asked = len(server.requests)
        again = client.load_training_data(start, NOW)
        more = sum(seen.path.endswith("klines") for seen in server.requests[asked:])
        client.close()

    pd.testing.assert_frame_equal(
        first, holed.iloc[:-1], check_freq=False, check_index_type=False, rtol=0, atol=1e-8
    )
    pd.testing.assert_frame_equal(again, first)
    if cached:
        assert more == 0


def test_after_a_trouble_half_way_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    with serving(MARKET) as server:
        once = Pace(attempts=1)
        client = BinanceDataClient(base_url=server.url, data_dir=tmp_path, pace=once)
        start = CANDLES.index[0].to_pydatetime()
        # The first page, and one of those that are asked for together.
        server.set_faults(FaultPlan.parse("500@12"))
        with pytest.raises(ExchangeUnavailable):
            client.load_training_data(start, NOW)
        stored = sum(len(pd.read_parquet(file)) for file in tmp_path.rglob("*.parquet"))
        server.set_faults(FaultPlan.parse(""))
        before = len(server.requests)

        found = client.load_training_data(start, NOW)
        client.close()
        again = sum(seen.path.endswith("klines") for seen in server.requests[before:])

    pd.testing.assert_frame_equal(found, CLOSED, check_freq=False, check_index_type=False, rtol=0, atol=1e-8)
    assert stored >= 1000
    # The newest stored candles are looked at again, which may take one page more.
    assert again <= 1 - (-(len(CLOSED) - stored) // 1000)


def test_series_of_one_exchange_share_a_connection_which_none_of_them_closes(tmp_path: Path) -> None:
    with serving(MARKET) as server:
        connections = Connections(server.url)
        clients = [
            BinanceDataClient(
                interval=interval, base_url=server.url, data_dir=tmp_path, pace=QUICK, connections=connections
            )
            for interval in ("1h", "4h")
        ]
        for client in clients:
            client.server_time()
            client.close()

        assert len(connections._opened) == 1
        connections.close()
        assert clients[0].server_time() == clients[1].server_time()
        assert len(connections._opened) == 1
        connections.close()


def test_lanes_leave_no_thread_and_no_connection_behind(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    with serving(MARKET) as server:
        client = BinanceDataClient(base_url=server.url, data_dir=tmp_path, pace=QUICK)
        client.load_training_data(CANDLES.index[0].to_pydatetime(), NOW)
        opened = len(client._connections._opened)
        client.close()

        eventually(
            lambda: not any(t.name.startswith("lane") for t in {*threading.enumerate()} - others),
            "the end of every lane",
        )
        assert opened == 1
