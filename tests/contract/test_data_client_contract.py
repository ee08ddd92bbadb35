"""What every data client promises: closed candles, in order, up to the exchange's present."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.protocols import DataClient
from clm.market.binance import BinanceDataClient
from clm.market.candles import validate
from tests.support.exchange import NOW, QUICK, serving, walk_market
from tests.support.parts import FrameDataClient

MARKET, CANDLES = walk_market(1800)
#: The market ends with the hour that is open at NOW.
LAST_CLOSED = pd.Timestamp(NOW).floor("h") - pd.Timedelta(hours=1)
Client = tuple[DataClient, Callable[[timedelta], object]]


@pytest.fixture(params=["binance", "binance without cache", "binance and an object store", "frame"])
def client_and_clock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    with ExitStack() as stack:
        if request.param == "frame":
            frame = FrameDataClient(CANDLES)
            frame.now = NOW

            def advance(by: timedelta) -> None:
                frame.now += by

            yield frame, advance
            return
        server = stack.enter_context(serving(MARKET))
        cached = request.param != "binance without cache"
        where = f"memory://data{tmp_path}" if request.param == "binance and an object store" else tmp_path
        yield (
            BinanceDataClient(
                cache_enabled=cached, cache_ttl=0, base_url=server.url, data_dir=where, pace=QUICK
            ),
            server.clock.advance,
        )


@pytest.fixture
def client(client_and_clock: Client) -> DataClient:
    return client_and_clock[0]


def test_it_is_one_and_says_of_which_series(client: DataClient) -> None:
    assert isinstance(client, DataClient)
    assert client.series == Series("BTCUSDT", "1h")


def test_candles_are_a_candle_frame(client: DataClient) -> None:
    frame = client.load_recent_data(30)

    assert list(frame.columns) == list(CANDLE_COLUMNS)
    assert frame.index.name == "open_time"
    assert frame.index.is_monotonic_increasing
    assert {str(frame[c].dtype) for c in CANDLE_COLUMNS if c != "trades"} == {"float64"}
    assert str(frame["trades"].dtype) == "int64"
    assert validate(frame, client.series).gaps == ()


def test_the_open_candle_is_never_among_them(client: DataClient) -> None:
    assert client.load_recent_data(3).index[-1] == LAST_CLOSED
    far_ahead = client.load_training_data(NOW - timedelta(days=1), NOW + timedelta(days=400))
    assert far_ahead.index[-1] == LAST_CLOSED


def test_values_are_the_exchanges(client: DataClient) -> None:
    frame = client.load_recent_data(60)

    expected = CANDLES.loc[frame.index]
    # The clock stands at half past: of the sixty days' candles the first opened before the window.
    assert len(frame) == 60 * 24 - 1
    pd.testing.assert_frame_equal(
        frame, expected, check_freq=False, check_index_type=False, atol=1e-8, rtol=0
    )


@pytest.mark.parametrize(("start_minute", "end_minute"), [(0, 0), (1, 59), (30, 30)])
def test_the_window_holds_candles_that_open_and_close_inside(
    client: DataClient, start_minute: int, end_minute: int
) -> None:
    start = NOW.replace(minute=start_minute) - timedelta(days=10)
    end = NOW.replace(minute=end_minute) - timedelta(days=5)

    frame = client.load_training_data(start, end)

    opens = pd.DatetimeIndex(CANDLES.index)
    assert list(frame.index) == list(opens[(opens >= start) & (opens + pd.Timedelta(hours=1) <= end)])


def test_a_window_that_holds_no_whole_candle_is_empty(client: DataClient) -> None:
    start = NOW - timedelta(days=5)

    assert client.load_training_data(start, start + timedelta(minutes=20)).empty
    assert client.load_training_data(NOW + timedelta(days=1), NOW + timedelta(days=2)).empty


def test_later_the_same_window_gives_the_same_candles(client_and_clock: Client) -> None:
    client, advance = client_and_clock
    window: tuple[datetime, datetime] = (NOW - timedelta(days=20), NOW - timedelta(days=1))
    before = client.load_training_data(*window)

    advance(timedelta(hours=7))

    pd.testing.assert_frame_equal(client.load_training_data(*window), before)


def test_the_validation_data_are_the_recent_data(client: DataClient) -> None:
    pd.testing.assert_frame_equal(client.load_validation_data(2), client.load_recent_data(2))


def test_the_present_is_the_exchanges(client: DataClient) -> None:
    assert client.server_time() == NOW
