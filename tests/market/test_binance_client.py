"""Candles through python-binance from a real server: any length, closed ones, no more than needed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import requests
from binance import exceptions as vendor_exceptions

from clm.core.domain import Series
from clm.core.errors import (
    ClmError,
    ExchangeBanned,
    ExchangeUnavailable,
    InvalidCandles,
    InvalidSetting,
    RateLimited,
    StorageFailed,
    UnknownInterval,
    UnknownSymbol,
)
from clm.core.impatient import apart, somebody_waits
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.server import ExchangeServer
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.connections import Connections
from clm.market.pace import Pace
from clm.market.store import CandleStore
from clm.market.vendor import TRANSLATED, translate
from tests.support.exchange import NOW, QUICK, market_of, serving, walk_market
from tests.support.waiting import LIMIT, eventually

MARKET, CANDLES = walk_market(4200)
START = CANDLES.index[0].to_pydatetime()
CLOSED = CANDLES.iloc[:-1]


@pytest.fixture
def server() -> Iterator[ExchangeServer]:
    with serving(MARKET) as running:
        yield running


def _client(server: ExchangeServer, folder: Path, **more: object) -> BinanceDataClient:
    given = {"base_url": server.url, "data_dir": folder, "pace": QUICK}
    return BinanceDataClient(**{**given, **more})


def _klines(server: ExchangeServer) -> int:
    return sum(seen.path.endswith("klines") for seen in server.requests)


def _same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found, expected, check_freq=False, check_index_type=False, rtol=0, atol=1e-8
    )


class TestPaging:
    @pytest.mark.parametrize("cached", [True, False])
    def test_any_length_of_history_comes_whole_and_in_order(
        self, server: ExchangeServer, tmp_path: Path, cached: bool
    ) -> None:
        client = _client(server, tmp_path, cache_enabled=cached)

        frame = client.load_training_data(START, NOW)

        _same(frame, CLOSED)
        assert _klines(server) == 5
        assert any(tmp_path.rglob("*.parquet")) == cached

    def test_a_symbol_listed_later_begins_later_and_is_not_asked_for_again(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        client = _client(server, tmp_path)
        early = START - timedelta(days=500)

        _same(client.load_training_data(early, NOW), CLOSED)
        before = _klines(server)
        client.load_training_data(early, NOW)

        assert _klines(server) == before

    def test_an_outage_stays_a_hole_and_is_asked_about_twice_but_not_again(self, tmp_path: Path) -> None:
        broken = CANDLES.drop(CANDLES.index[3900:3907])
        with serving(market_of(broken)) as server:
            client = _client(server, tmp_path)
            _same(client.load_recent_data(20), CLOSED.drop(CANDLES.index[3900:3907]).iloc[-20 * 24 + 8 :])
            first = _klines(server)
            client.load_recent_data(20)

            assert first == 2
            assert _klines(server) == 2


class TestTheStore:
    def test_a_second_call_asks_for_nothing(self, server: ExchangeServer, tmp_path: Path) -> None:
        client = _client(server, tmp_path)
        first = client.load_training_data(START, NOW)
        before = _klines(server)

        again = client.load_training_data(START, NOW)

        assert _klines(server) == before
        _same(again, first)

    def test_later_only_new_candles_and_the_last_three_are_asked_for(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        client = _client(server, tmp_path)
        client.load_training_data(START, NOW - timedelta(days=3))
        before = len(server.requests)

        _same(client.load_training_data(START, NOW), CLOSED)

        asked = [seen.params for seen in server.requests[before:] if seen.path.endswith("klines")]
        assert [params["limit"] for params in asked] == [str(3 * 24 + 3)]

    def test_an_earlier_start_asks_for_the_missing_beginning_only(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        client = _client(server, tmp_path)
        client.load_training_data(START + timedelta(days=100), NOW)
        before = len(server.requests)

        _same(client.load_training_data(START, NOW), CLOSED)

        asked = [seen.params for seen in server.requests[before:] if seen.path.endswith("klines")]
        assert sum(int(params["limit"]) for params in asked) == 100 * 24

    def test_a_revised_candle_is_seen_once_the_time_to_live_is_over(self, tmp_path: Path) -> None:
        seconds = [1000.0]
        revised = CANDLES.copy()
        revised.iloc[-3, revised.columns.get_loc("close")] = revised["low"].iloc[-3]
        with serving(MARKET) as server:
            client = _client(server, tmp_path, cache_ttl=3600, wall=lambda: seconds[0])
            client.load_recent_data(5)
            server.exchange.market = market_of(revised)

            seconds[0] += 3599
            early = client.load_recent_data(5)
            seconds[0] += 2
            late = client.load_recent_data(5)

        assert early["close"].iloc[-2] == pytest.approx(CANDLES["close"].iloc[-3])
        assert late["close"].iloc[-2] == pytest.approx(revised["close"].iloc[-3])

    def test_a_candle_that_came_late_to_the_exchanges_archive_is_not_lost(self, tmp_path: Path) -> None:
        with serving(market_of(CANDLES.drop(CANDLES.index[-2]))) as server:
            client = _client(server, tmp_path)
            assert client.load_recent_data(2).index[-1] == CANDLES.index[-3]
            server.exchange.market = MARKET

            assert client.load_recent_data(2).index[-1] == CANDLES.index[-2]

    def test_a_crash_half_way_keeps_what_had_come(self, server: ExchangeServer, tmp_path: Path) -> None:
        server.set_faults("418@3")
        with pytest.raises(ExchangeBanned):
            _client(server, tmp_path).load_training_data(START, NOW)
        server.set_faults("")
        before = len(server.requests)
        ((_, known),) = CandleStore(tmp_path).coverage(Series("BTCUSDT", "1h")).spans

        _same(_client(server, tmp_path).load_training_data(START, NOW), CLOSED)

        asked = [seen.params for seen in server.requests[before:] if seen.path.endswith("klines")]
        # The newest three are looked at again.
        assert min(int(params["startTime"]) for params in asked) == known - 3 * 3_600_000

    def test_a_damaged_file_is_fetched_again(self, server: ExchangeServer, tmp_path: Path) -> None:
        client = _client(server, tmp_path)
        client.load_training_data(START, NOW)
        next(tmp_path.rglob("2024-03.parquet")).write_bytes(b"damaged")

        _same(client.load_training_data(START, NOW), CLOSED)

    def test_cleared_it_is_empty(self, server: ExchangeServer, tmp_path: Path) -> None:
        client = _client(server, tmp_path)
        client.load_recent_data(3)

        client.clear_cache()

        assert not any(tmp_path.rglob("*.parquet"))

    def test_a_folder_that_cannot_be_written_is_an_error(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageFailed, match="BTCUSDT/1h"):
            _client(server, tmp_path / "file").load_recent_data(3)


class TestTroubleThatPasses:
    @pytest.mark.parametrize(
        "fault", ["500@1", "502@1-2", "html@1", "cut@1", "empty@1-3", "duplicate@1", "gap@1"]
    )
    def test_is_overcome_and_the_candles_are_right(
        self, server: ExchangeServer, tmp_path: Path, fault: str
    ) -> None:
        server.set_faults(fault)

        frame = _client(server, tmp_path).load_recent_data(30)

        _same(frame, CLOSED.loc[frame.index])
        assert len(frame) == 30 * 24 - 1

    def test_retry_after_is_waited_for(self, server: ExchangeServer, tmp_path: Path) -> None:
        server.set_faults(FaultPlan.parse("429@1", retry_after=1))
        began = pd.Timestamp.now()

        _client(server, tmp_path).load_recent_data(3)

        assert (pd.Timestamp.now() - began).total_seconds() >= 1

    def test_the_weight_budget_is_kept_by_waiting_until_a_minute_has_passed(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        now = [125.0]
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

        pace = Pace(
            weight_budget=7, account=Account(tmp_path / "weight.json"), sleep=sleep, wall=lambda: now[0]
        )

        # The time and five pages: 11 units of weight.
        _client(server, tmp_path, pace=pace).load_training_data(START, NOW)

        # Until the exchange's minute is over, which counts the same, or until ours is.
        assert slept[0] in (pytest.approx(55.0), pytest.approx(60.25))

    def test_an_exchange_that_counts_more_than_we_do_is_left_alone_until_its_minute_is_over(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        for _ in range(30):
            requests.get(f"{server.url}/api/v3/ping", timeout=LIMIT)
        impatient = Pace(
            weight_budget=20, longest_wait=1, account=Account(tmp_path / "weight.json"), wall=lambda: 125.0
        )

        with pytest.raises(RateLimited, match="weight of this minute") as limited:
            _client(server, tmp_path, pace=impatient).load_recent_data(3)

        assert limited.value.retry_after == 55
        assert _klines(server) == 0

    def test_all_at_once_by_chance(self, server: ExchangeServer, tmp_path: Path) -> None:
        server.set_faults(FaultPlan.parse("500:0.2,cut:0.1,empty:0.1,duplicate:0.1", seed=3))
        patient = Pace(attempts=12, first_wait=0.001)

        _same(_client(server, tmp_path, pace=patient).load_training_data(START, NOW), CLOSED)


class TestTroubleThatStays:
    @pytest.mark.parametrize(
        ("fault", "error", "said"),
        [
            ("500", ExchangeUnavailable, "HTTP 500"),
            ("502", ExchangeUnavailable, "HTTP 502"),
            ("html", ExchangeUnavailable, "not JSON"),
            ("cut", ExchangeUnavailable, "not JSON"),
            ("empty", ExchangeUnavailable, "an empty body"),
            ("duplicate", InvalidCandles, "stamped like an earlier candle"),
            ("418", ExchangeBanned, "banned"),
        ],
    )
    def test_is_an_error_of_ours_and_nothing_is_stored(
        self, server: ExchangeServer, tmp_path: Path, fault: str, error: type[ClmError], said: str
    ) -> None:
        server.set_faults(fault)

        with pytest.raises(error, match=said):
            _client(server, tmp_path).load_recent_data(3)

        assert not any(tmp_path.rglob("*.parquet"))

    def test_a_ban_is_not_asked_about_again(self, server: ExchangeServer, tmp_path: Path) -> None:
        server.set_faults(FaultPlan.parse("418", retry_after=77))

        with pytest.raises(ExchangeBanned) as banned:
            _client(server, tmp_path).load_recent_data(3)

        assert banned.value.retry_after == 77
        assert _klines(server) == 1

    def test_a_long_retry_after_is_passed_on_instead_of_slept_out(
        self, server: ExchangeServer, tmp_path: Path
    ) -> None:
        server.set_faults(FaultPlan.parse("429", retry_after=600))

        with pytest.raises(RateLimited) as limited:
            _client(server, tmp_path).load_recent_data(3)

        assert limited.value.retry_after == 600
        assert _klines(server) == 1

    def test_an_exchange_nobody_listens_at(self, tmp_path: Path) -> None:
        client = BinanceDataClient(base_url="http://127.0.0.1:9", data_dir=tmp_path, pace=QUICK)
        with pytest.raises(ExchangeUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
            client.server_time()


class TestWhatDoesNotExist:
    def test_a_symbol(self, server: ExchangeServer, tmp_path: Path) -> None:
        with pytest.raises(UnknownSymbol, match="NOSUCH"):
            _client(server, tmp_path, symbol="NOSUCH").load_recent_data(3)
        assert _klines(server) == 1

    def test_an_interval(self, server: ExchangeServer, tmp_path: Path) -> None:
        with pytest.raises(UnknownInterval, match="7m"):
            _client(server, tmp_path, interval="7m")
        with pytest.raises(UnknownInterval, match="5m"):
            _client(server, tmp_path, interval="5m").load_recent_data(3)

    @pytest.mark.parametrize("days", [0, -1, float("nan")])
    def test_a_time_of_no_length(self, server: ExchangeServer, tmp_path: Path, days: float) -> None:
        with pytest.raises(InvalidSetting, match="days"):
            _client(server, tmp_path).load_recent_data(days)

    def test_a_negative_time_to_live(self, server: ExchangeServer, tmp_path: Path) -> None:
        with pytest.raises(InvalidSetting, match="cache_ttl"):
            _client(server, tmp_path, cache_ttl=-1)


def test_every_error_of_the_vendor_becomes_one_of_ours() -> None:
    """Whatever class a public REST call may raise is caught, and its translation is in our tree."""
    not_from_rest = {"websocket", "readloop", "order", "notimplemented", "unknowndateformat", "region"}
    raised = [
        cls for module in (vendor_exceptions, requests.exceptions)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Exception) and not issubclass(cls, Warning) and cls is not Exception
        and cls.__module__ in (module.__name__, requests.exceptions.__name__)
        and not any(word in cls.__name__.lower() for word in not_from_rest)
    ]  # fmt: skip
    answer = requests.Response()
    answer.status_code, answer._content = 503, b"down"

    assert len(raised) > 20
    for cls in raised:
        assert issubclass(cls, TRANSLATED), cls
        if cls is vendor_exceptions.BinanceAPIException:
            error: Exception = cls(answer, 503, "down")
        elif cls is requests.exceptions.JSONDecodeError:
            error = cls("bad", "{", 0)
        else:
            error = cls("why")
        assert isinstance(translate(error, Series("BTCUSDT", "1h"), "http://x"), ClmError)


def test_building_a_client_asks_nobody_and_follows_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLM_BINANCE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("CLM_DATA_DIR", str(tmp_path / "candles"))

    client = BinanceDataClient()

    assert (client.base_url, client.series) == ("http://127.0.0.1:9", Series("BTCUSDT", "1h"))
    assert not (tmp_path / "candles").exists()


class TestAnExchangeThatHangs:
    """It takes the question and gives no answer, as one that is stopped does."""

    @pytest.fixture
    def hanging(self) -> Iterator[ExchangeServer]:
        with ExchangeServer(MARKET, ExchangeClock(NOW, speed=0), latency=2.0) as running:
            yield running

    def test_it_is_asked_once_for_whoever_waits_in_front_of_a_screen(
        self, hanging: ExchangeServer, tmp_path: Path
    ) -> None:
        client = _client(hanging, tmp_path)
        with somebody_waits(0.05), pytest.raises(ExchangeUnavailable, match="did not answer in time"):
            client.server_time()
        with somebody_waits(0.05), pytest.raises(ExchangeUnavailable, match="did not answer in time"):
            client._klines(0, 10, 1)
        # Whoever has time goes on having it.
        assert client.server_time() == NOW
        eventually(lambda: len(hanging.requests) >= 3, "every question to be on record")
        assert len(hanging.requests) == 3

    def test_its_silence_is_known_while_it_lasts(self, hanging: ExchangeServer, tmp_path: Path) -> None:
        connections = Connections(hanging.url)
        client = _client(hanging, tmp_path, connections=connections)
        assert connections.silence() is None

        asking = apart(client.server_time, "asking")
        said = eventually(connections.silence, "a silence that is noticed")
        assert said == f"{hanging.url} did not answer within 1 second"
        assert asking.result(LIMIT) == NOW
        assert connections.silence() is None
