"""Request weights: headers on every answer, 429 above the limit, 418 for who goes on."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from clm.core.domain import Series
from clm.exchange.app import Exchange, create_app
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import merge
from tests.support.candles import random_walk


class Wall:
    """The machine's clock, moved by hand; begins ten seconds into a minute."""

    def __init__(self) -> None:
        self.now = 60_000_010.0

    def __call__(self) -> float:
        return self.now


def exchange(limit: int) -> tuple[TestClient, Wall]:
    wall = Wall()
    market = merge([(Series("BTCUSDT", "1h"), random_walk(100))])
    return TestClient(create_app(Exchange(market, ExchangeClock(), weight_limit=limit, wall=wall))), wall


def ask(client: TestClient, path: str = "klines", **params: Any) -> Any:
    if path == "klines":
        params = {"symbol": "BTCUSDT", "interval": "1h"} | params
    return client.get(f"/api/v3/{path}", params=params)


def test_every_answer_says_what_the_minute_has_used() -> None:
    client, wall = exchange(6000)

    used = [
        ask(client, path).headers["x-mbx-used-weight-1m"]
        for path in ("ping", "time", "klines", "exchangeInfo")
    ]
    refused = ask(client, symbol="NOSUCH")
    wall.now += 60
    afterwards = ask(client)

    assert used == ["1", "2", "4", "24"]
    assert refused.status_code == 400
    assert refused.headers["x-mbx-used-weight-1m"] == "26"
    assert afterwards.headers["x-mbx-used-weight"] == afterwards.headers["x-mbx-used-weight-1m"] == "2"


def test_above_the_limit_requests_are_sent_away_until_the_minute_is_over() -> None:
    client, wall = exchange(4)
    statuses = [ask(client).status_code for _ in range(2)]

    refused = ask(client)
    wall.now += int(refused.headers["Retry-After"])
    again = ask(client)

    assert statuses == [200, 200]
    assert (refused.status_code, refused.json()["code"]) == (429, -1003)
    assert "current limit is 4 request weight per 1 MINUTE" in refused.json()["msg"]
    assert refused.headers["Retry-After"] == "50"
    assert again.status_code == 200


def test_who_goes_on_is_banned_for_a_while() -> None:
    client, wall = exchange(2)
    ask(client)
    warned = [ask(client).status_code for _ in range(10)]

    banned = ask(client)
    wait = int(banned.headers["Retry-After"])
    wall.now += wait - 2
    still = ask(client, "ping")
    wall.now += 2
    free = ask(client)

    assert set(warned) == {429}
    assert (banned.status_code, banned.json()["code"], still.status_code) == (418, -1003, 418)
    assert "IP banned until" in banned.json()["msg"]
    assert wait >= 120
    assert int(still.headers["Retry-After"]) <= 2
    assert free.status_code == 200
