"""Klines as Binance answers them: window, order, errors, the open candle, and never the future."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from binance.client import Client
from binance.exceptions import BinanceAPIException
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.errors import BadInput, StorageFailed
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import STEP_MS, Market
from clm.exchange.replay import read_market
from clm.exchange.server import ExchangeServer
from support.candles import REAL, needs_real_candles
from support.exchange import NOW, market_of, serving, simulated, walk_market

MARKET, CANDLES = walk_market(1500)
opens = pd.DatetimeIndex(CANDLES.index).as_unit("ms").asi8
NOW_MS = int(NOW.timestamp() * 1000)


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with serving(MARKET) as running:
        yield running


@pytest.fixture
def client(server: ExchangeServer) -> Client:
    client = Client(ping=False)
    client.API_URL = f"{server.url}/api"
    return client


def _get(server: ExchangeServer, path: str, **params: Any) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", params=params)


class TestThroughPythonBinance:
    def test_time_info_and_ping(self, client: Client) -> None:
        assert client.ping() == {}
        assert client.get_server_time() == {"serverTime": NOW_MS}
        assert client.get_symbol_info("BTCUSDT")["status"] == "TRADING"
        assert [s["symbol"] for s in client.get_exchange_info()["symbols"]] == ["BTCUSDT"]

    def test_a_row_has_binances_twelve_fields(self, client: Client) -> None:
        (row,) = client.get_klines(symbol="BTCUSDT", interval="1h", startTime=int(opens[5]), limit=1)
        candle = CANDLES.iloc[5]

        assert [type(field) for field in row] == [int, *[str] * 5, int, str, int, str, str, str]
        assert row[0] == opens[5]
        assert row[6] == opens[5] + STEP_MS["1h"] - 1
        assert [float(row[i]) for i in (1, 2, 3, 4, 5, 7, 9)] == pytest.approx(
            [candle[n] for n in ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base")],
            abs=1e-8,
        )
        assert row[8] == candle["trades"]

    @pytest.mark.parametrize(
        ("params", "code", "message"),
        [
            ({"symbol": "NOSUCH", "interval": "1h"}, -1121, "Invalid symbol."),
            ({"symbol": "BTC/USDT", "interval": "1h"}, -1100, "Illegal characters"),
            ({"symbol": "BTCUSDT", "interval": "7m"}, -1120, "Invalid interval."),
            ({"symbol": "BTCUSDT", "interval": "5m"}, -1120, "Invalid interval."),
            ({"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'interval'"),
            ({"interval": "1h"}, -1102, "Mandatory parameter 'symbol'"),
            ({"symbol": "BTCUSDT", "interval": "1h", "limit": 0}, -1130, "limit"),
            ({"symbol": "BTCUSDT", "interval": "1h", "limit": "many"}, -1100, "limit"),
            ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "soon"}, -1100, "startTime"),
        ],
    )
    def test_a_wrong_request_gets_binances_own_code(
        self, client: Client, params: dict[str, Any], code: int, message: str
    ) -> None:
        with pytest.raises(BinanceAPIException) as refused:
            client.get_klines(**params)

        assert (refused.value.status_code, refused.value.code) == (400, code)
        assert message in refused.value.message


class TestTheWindow:
    @settings(max_examples=150, deadline=None)
    @given(
        st.one_of(st.none(), st.integers(-5, 1510)), st.one_of(st.none(), st.integers(-5, 1510)),
        st.integers(1, 1000), st.integers(-30, 30), st.integers(0, 1500 * 60),
    )  # fmt: skip
    def test_is_inclusive_on_open_times_and_ends_at_the_present(
        self, start: int | None, end: int | None, limit: int, jitter: int, minute: int
    ) -> None:
        now = int(opens[0]) + minute * 60_000
        start_ms = None if start is None else int(opens[0]) + start * STEP_MS["1h"] + jitter * 1000
        end_ms = None if end is None else int(opens[0]) + end * STEP_MS["1h"] + jitter * 1000

        rows = MARKET.rows("BTCUSDT", "1h", start_ms, end_ms, limit, now)

        expected = [
            t for t in opens.tolist()
            if t <= now and (start_ms is None or t >= start_ms) and (end_ms is None or t <= end_ms)
        ]  # fmt: skip
        expected = expected[:limit] if start_ms is not None else expected[-limit:]
        assert [row[0] for row in rows] == expected

    def test_defaults_to_500_and_is_capped_at_1000(self, server: ExchangeServer) -> None:
        asked = {"symbol": "BTCUSDT", "interval": "1h"}

        assert len(_get(server, "/api/v3/klines", **asked).json()) == 500
        assert len(_get(server, "/api/v3/klines", **asked, limit=5000).json()) == 1000


class TestLargerIntervals:
    @pytest.mark.parametrize("interval", ["2h", "4h", "12h", "1d"])
    def test_are_grouped_from_the_stored_candles(self, interval: str) -> None:
        step = STEP_MS[interval]
        rows = MARKET.rows("BTCUSDT", interval, None, None, 5, NOW_MS)

        for row in rows[:-1]:
            part = CANDLES[(opens >= row[0]) & (opens < row[0] + step)]
            assert row[0] % step == 0
            assert [float(row[i]) for i in (1, 2, 3, 4, 5)] == pytest.approx(
                [part["open"].iloc[0], part["high"].max(), part["low"].min(), part["close"].iloc[-1],
                 part["volume"].sum()]
            )  # fmt: skip

    def test_the_open_one_holds_what_has_closed_and_the_open_part(self) -> None:
        (four,) = MARKET.rows("BTCUSDT", "4h", None, None, 1, NOW_MS)
        hours = MARKET.rows("BTCUSDT", "1h", four[0], None, 4, NOW_MS)

        assert four[4] == hours[-1][4]
        assert float(four[5]) == pytest.approx(sum(float(hour[5]) for hour in hours))


class TestTheOpenCandle:
    def test_grows_towards_its_close_and_is_never_the_final_one_before(self) -> None:
        opened = int(opens[-2])
        final = MARKET.rows("BTCUSDT", "1h", opened, opened, 1, opened + STEP_MS["1h"])[0]
        seen = [
            MARKET.rows("BTCUSDT", "1h", opened, opened, 1, opened + minute * 60_000)[0]
            for minute in range(60)
        ]

        assert all(row[1] == final[1] for row in seen)
        volumes, highs, lows = ([float(row[i]) for row in seen] for i in (5, 2, 3))
        assert volumes == sorted(volumes)
        assert highs == sorted(highs)
        assert lows == sorted(lows, reverse=True)
        assert volumes[-1] < float(final[5])
        assert len({row[4] for row in seen}) > 50
        assert all(low <= float(row[4]) <= high for row, low, high in zip(seen, lows, highs, strict=True))

    def test_tells_nothing_that_two_candles_with_equal_beginnings_do_not_share(self) -> None:
        """Neither close nor volume can be reckoned from the part and the time elapsed."""
        errors = []
        for index in range(200, 400):
            opened = int(opens[index])
            part = MARKET.rows("BTCUSDT", "1h", opened, opened, 1, opened + STEP_MS["1h"] // 2)[0]
            final = CANDLES.iloc[index]
            errors.append((2 * float(part[5]) / final["volume"], float(part[4]) == final["close"]))
        ratios = np.array([ratio for ratio, _ in errors])

        assert not any(same for _, same in errors)
        assert ratios.std() > 0.1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1499 * 60), st.sampled_from(["1h", "4h", "1d"]))
def test_nothing_after_now_is_ever_served_or_has_any_influence(minute: int, interval: str) -> None:
    """A market whose candles after `now` are all different answers the same, but for the open candle."""
    now = int(opens[0]) + minute * 60_000
    changed = CANDLES.copy()
    changed.loc[opens > now] *= 3
    changed["trades"] = changed["trades"].astype("int64")

    rows = MARKET.rows("BTCUSDT", interval, None, None, 1000, now)

    assert all(row[0] <= now for row in rows)
    assert market_of(changed).rows("BTCUSDT", interval, None, None, 1000, now) == rows


class TestReplay:
    @needs_real_candles
    def test_a_folder_of_dumps_and_parquet_becomes_one_market(self) -> None:
        market = read_market(REAL / "binance-vision")
        day = int(datetime(2024, 1, 17, tzinfo=UTC).timestamp() * 1000)

        rows = market.rows("BTCUSDT", "1h", day, None, 3, day + 10 * STEP_MS["1h"])

        assert market.symbols() == ("BTCUSDC", "BTCUSDT")
        assert [row[0] for row in rows] == [day + k * STEP_MS["1h"] for k in range(3)]
        january = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000)
        assert market.rows("BTCUSDC", "1h", None, None, 1000, 2 * january)[0][0] == january

    @needs_real_candles
    def test_real_outages_stay_holes(self) -> None:
        market = read_market(REAL / "candles" / "SOLUSDT-1h.parquet")
        hole = int(datetime(2023, 3, 24, 13, tzinfo=UTC).timestamp() * 1000)

        rows = market.rows("SOLUSDT", "1h", hole - STEP_MS["1h"], None, 2, hole + 10**9)

        assert [row[0] for row in rows] == [hole - STEP_MS["1h"], hole + STEP_MS["1h"]]

    def test_nothing_to_replay_is_said_with_what_could_be(self, tmp_path: Any) -> None:
        (tmp_path / "notes.txt").write_text("no candles here")
        with pytest.raises(BadInput, match=r"BTCUSDT-1h\.parquet"):
            read_market(tmp_path)
        with pytest.raises(BadInput, match="existing"):
            read_market(tmp_path / "nowhere")


def test_a_market_without_candles_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one symbol"):
        Market({})


def test_a_taken_port_is_named(server: ExchangeServer) -> None:
    with pytest.raises(StorageFailed, match="choose another port"):
        ExchangeServer(MARKET, ExchangeClock(NOW), port=int(server.url.rpartition(":")[2]))


def test_several_symbols_are_listed_and_served() -> None:
    market = simulated()

    assert market.symbols() == ("BTCUSDT", "ETHUSDT")
    assert (
        market.rows("ETHUSDT", "1h", None, None, 1, NOW_MS)[0][0] == NOW_MS // STEP_MS["1h"] * STEP_MS["1h"]
    )


def test_the_clock_runs_at_its_speed_and_never_back() -> None:
    ticks = [100.0]
    clock = ExchangeClock(NOW, speed=3600, monotonic=lambda: ticks[0])

    ticks[0] += 2
    assert clock.now() == NOW + timedelta(hours=2)
    clock.run_at(0)
    ticks[0] += 5
    assert clock.now() == NOW + timedelta(hours=2)
    clock.advance(timedelta(days=1))
    assert clock.now() == NOW + timedelta(days=1, hours=2)
    with pytest.raises(BadInput, match="not before"):
        clock.set(NOW)
    with pytest.raises(BadInput, match="not negative"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(BadInput, match="speed"):
        clock.run_at(-1)
