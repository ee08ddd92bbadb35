"""The exchange over HTTP, asked by python-binance and by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from clm.core.domain import Series
from clm.core.errors import StorageFailed
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import Market, merge
from clm.exchange.server import ExchangeServer
from tests.support.candles import random_walk
from tests.support.waiting import LIMIT

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)


def market() -> Market:
    return merge([(Series(symbol, "1h"), random_walk(2000)) for symbol in ("BTCUSDT", "ETHBTC")])


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    with ExchangeServer(market(), ExchangeClock(NOW, speed=0)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ExchangeServer) -> Any:
    from binance.client import Client

    client = Client(ping=False)
    client.API_URL = server.url + "/api"
    return client


def get(server: ExchangeServer, path: str, **params: Any) -> requests.Response:
    return requests.get(f"{server.url}/api/v3/{path}", params=params, timeout=LIMIT)


def test_python_binance_finds_its_way_about(server: ExchangeServer, client: Any) -> None:
    rows = client.get_klines(symbol="BTCUSDT", interval="1h")
    listed = client.get_symbol_info("ETHBTC")

    assert client.ping() == {}
    assert client.get_server_time() == {"serverTime": int(NOW.timestamp() * 1000)}
    assert len(rows) == 500
    assert rows[-1][0] == int(NOW.replace(minute=0).timestamp() * 1000)
    assert (listed["baseAsset"], listed["quoteAsset"]) == ("ETH", "BTC")
    assert [s["symbol"] for s in client.get_exchange_info()["symbols"]] == ["BTCUSDT", "ETHBTC"]
    assert client.get_symbol_info("NOSUCH") is None


def test_a_page_holds_a_thousand_candles_however_many_are_asked_for(client: Any) -> None:
    assert len(client.get_klines(symbol="BTCUSDT", interval="1h", limit=5000)) == 1000


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"symbol": "NOSUCH", "interval": "1h"}, -1121, "Invalid symbol."),
        ({"symbol": "BTCUSDT", "interval": "7m"}, -1120, "Invalid interval."),
        ({"symbol": "BTCUSDT", "interval": "1m"}, -1120, "Invalid interval."),
        ({"interval": "1h"}, -1102, "Mandatory parameter 'symbol' was not sent"),
        ({"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'interval' was not sent"),
        ({"symbol": "", "interval": "1h"}, -1105, "Parameter 'symbol' was empty."),
        ({"symbol": "btcusdt", "interval": "1h"}, -1100, "Illegal characters found in parameter 'symbol'"),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "x"}, -1100, "in parameter 'startTime'"),
        ({"symbol": "BTCUSDT", "interval": "1h", "endTime": "-5"}, -1100, "in parameter 'endTime'"),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "1.5"}, -1100, "in parameter 'limit'"),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": 0}, -1130, "'limit' is not valid"),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": 10**19}, -1108, "'startTime' overflowed"),
        ({"symbol": "BTCUSDT", "interval": "1h", "timeZone": "5"}, -1130, "'timeZone' is not valid"),
        ({"symbol": "BTCUSDT", "interval": "1h", "colour": "red"}, -1104, "read '2' parameter(s)"),
        (dict.fromkeys("abcdefg", "1"), -1101, "expected '6' and received '7'"),
    ],
)
def test_a_wrong_request_gets_binances_code_and_message(
    client: Any, params: dict[str, Any], code: int, message: str
) -> None:
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException) as raised:
        client._get("klines", data=params)

    assert raised.value.status_code == 400
    assert raised.value.code == code
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NOSUCH", -1121), ("symbol=BTCUSDT&symbols=%5B%22ETHBTC%22%5D", -1128),
        ("symbols=BTCUSDT", -1100),
        ("symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D", -1151),
        ("symbol=BTCUSDT&symbol=ETHBTC", -1101),
    ],
)  # fmt: skip
def test_exchange_info_refuses_as_binance_does(server: ExchangeServer, query: str, code: int) -> None:
    answer = requests.get(f"{server.url}/api/v3/exchangeInfo?{query}", timeout=LIMIT)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_exchange_info_lists_the_symbols_asked_for(server: ExchangeServer) -> None:
    answer = get(server, "exchangeInfo", symbols='["ETHBTC"]').json()

    assert [listed["symbol"] for listed in answer["symbols"]] == ["ETHBTC"]
    assert answer["rateLimits"][0]["limit"] == 6000


def test_an_end_before_the_start_is_an_empty_answer(server: ExchangeServer) -> None:
    at = int(NOW.timestamp() * 1000)

    answer = get(server, "klines", symbol="BTCUSDT", interval="1h", startTime=at, endTime=at - 9_000_000)

    assert (answer.status_code, answer.json()) == (200, [])


def test_every_request_is_on_record(server: ExchangeServer) -> None:
    before = len(server.requests)

    get(server, "klines", symbol="BTCUSDT", interval="1h", limit=1)
    get(server, "klines", symbol="NOSUCH", interval="1h")

    good, bad = server.requests[before:]
    assert good.path == "/api/v3/klines"
    assert good.params == {"symbol": "BTCUSDT", "interval": "1h", "limit": "1"}
    assert (good.status, bad.status) == (200, 400)


def test_another_process_can_steer_it() -> None:
    """Clock, faults, weights and latency over HTTP: for rehearsals with a service that runs elsewhere."""
    with ExchangeServer(market(), ExchangeClock(NOW, speed=0)) as server:

        def order(**values: Any) -> requests.Response:
            return requests.post(f"{server.url}/control", json=values, timeout=LIMIT)

        state = order(advance_hours=2, speed=0, faults="500@1", weight_limit=77, latency=0.01).json()
        spoilt = get(server, "klines", symbol="BTCUSDT", interval="1h", limit=1)
        log = requests.get(f"{server.url}/control/requests", timeout=LIMIT).json()

        assert state["now"] == (NOW + timedelta(hours=2)).isoformat()
        assert (state["weight_limit"], state["latency"], len(state["faults"])) == (77, 0.01, 1)
        assert spoilt.status_code == 500
        assert [(seen["status"], seen["faults"]) for seen in log] == [(500, ["500"])]
        assert order(set=NOW.isoformat()).status_code == 422
        assert order(faults="nonsense").status_code == 422
        assert order(colour="red").status_code == 422
        assert order(weight_limit=0).status_code == 422
        for body in ("{", "[1]", ""):
            assert requests.post(f"{server.url}/control", data=body, timeout=LIMIT).status_code == 422


def test_latency_is_added_to_every_answer() -> None:
    with ExchangeServer(market(), ExchangeClock(NOW, speed=0), latency=0.2) as server:
        began = time.perf_counter()

        get(server, "ping")

        assert time.perf_counter() - began >= 0.2


def test_a_stopped_exchange_frees_its_port() -> None:
    with ExchangeServer(market(), ExchangeClock(NOW, speed=0)) as server:
        port = int(server.url.rsplit(":", 1)[1])
    with ExchangeServer(market(), ExchangeClock(NOW, speed=0), port=port) as again:
        assert get(again, "ping").status_code == 200


def test_a_taken_port_is_a_clear_error(server: ExchangeServer) -> None:
    port = int(server.url.rsplit(":", 1)[1])

    with pytest.raises(StorageFailed, match=f"127.0.0.1:{port}.*another port"):
        ExchangeServer(market(), ExchangeClock(NOW), port=port)
