"""Faults: the grammar of a plan, and what each does to an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from clm.core.domain import Series
from clm.core.errors import BadInput
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import KINDS, Fault, FaultPlan
from clm.exchange.market import merge
from clm.exchange.server import ExchangeServer
from tests.support.candles import random_walk
from tests.support.waiting import LIMIT, eventually

NOW = datetime(2024, 1, 20, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[ExchangeServer]:
    market = merge([(Series("BTCUSDT", "1h"), random_walk(1000))])
    with ExchangeServer(market, ExchangeClock(NOW, speed=0)) as running:
        yield running


def klines(server: ExchangeServer, faults: FaultPlan | str | None = None) -> requests.Response:
    if faults is not None:
        server.set_faults(faults)
    params: dict[str, Any] = {"symbol": "BTCUSDT", "interval": "1h", "limit": 10}
    return requests.get(f"{server.url}/api/v3/klines", params=params, timeout=LIMIT)


@pytest.fixture(scope="module")
def sound(server: ExchangeServer) -> list[list[Any]]:
    rows: list[list[Any]] = klines(server, "").json()
    return rows


def test_a_plan_is_read_from_its_text() -> None:
    plan = FaultPlan.parse("429@3, 500:0.05,cut@2-4,empty")

    assert plan.faults == (
        Fault("429", 3, 3), Fault("500", chance=0.05), Fault("cut", 2, 4), Fault("empty"),
    )  # fmt: skip


@pytest.mark.parametrize("part", ["404@1", "429@x", "500:2", "500:-1", "500:1.2.3", "cut@", "@3", "429@1-"])
def test_a_wrong_part_is_named(part: str) -> None:
    with pytest.raises(BadInput, match="faults") as raised:
        FaultPlan.parse(f"500@1,{part}")

    assert repr(part) in str(raised.value)


def test_numbers_count_the_klines_requests() -> None:
    plan = FaultPlan.parse("429@2,500@4-5")

    met = [sorted(plan.next()) for _ in range(6)]

    assert met == [[], ["429"], [], ["500"], ["500"], []]


def test_probabilities_are_met_and_seeded() -> None:
    first, again, other = (FaultPlan.parse("500:0.2", seed=seed) for seed in (1, 1, 2))

    drawn = [[bool(plan.next()) for _ in range(2000)] for plan in (first, again, other)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert 0.15 < sum(drawn[0]) / 2000 < 0.25


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("418", 418)])
def test_sent_away_with_a_retry_after(server: ExchangeServer, kind: str, status: int) -> None:
    answer = klines(server, FaultPlan.parse(kind, retry_after=7))

    assert (answer.status_code, answer.json()["code"]) == (status, -1003)
    assert answer.headers["Retry-After"] == "7"


def test_server_errors_in_json_and_as_a_proxys_page(server: ExchangeServer) -> None:
    assert (klines(server, "500").status_code, klines(server).json()["code"]) == (500, -1000)
    assert klines(server, "502").status_code == 502
    assert klines(server).text.startswith("<html>")


def test_answers_that_are_no_candles(server: ExchangeServer) -> None:
    page, cut, empty = (klines(server, kind) for kind in ("html", "cut", "empty"))

    assert {page.status_code, cut.status_code, empty.status_code} == {200}
    assert page.text.startswith("<html>")
    assert cut.text.startswith("[[")
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.text)
    assert empty.text == ""


def test_a_time_out_holds_the_answer(server: ExchangeServer) -> None:
    began = time.perf_counter()

    answer = klines(server, FaultPlan.parse("timeout", timeout_seconds=0.3))

    assert time.perf_counter() - began >= 0.3
    assert answer.status_code == 200


def test_a_held_answer_does_not_hold_up_the_stop() -> None:
    market = merge([(Series("BTCUSDT", "1h"), random_walk(1000))])
    with ExchangeServer(market, ExchangeClock(NOW, speed=0)) as server:
        server.set_faults(FaultPlan.parse("timeout", timeout_seconds=2 * LIMIT))
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(
                f"{server.url}/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1h"}, timeout=0.2
            )

    # The answer would be held for longer than that is waited for.
    assert server._thread is not None
    eventually(lambda: not server._thread.is_alive(), "the end of the exchange")


def test_one_candle_twice(server: ExchangeServer, sound: list[list[Any]]) -> None:
    rows = klines(server, "duplicate").json()

    assert len(rows) == 11
    assert [row for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]] == sound


def test_one_candle_missing(server: ExchangeServer, sound: list[list[Any]]) -> None:
    rows = klines(server, "gap").json()

    assert len(rows) == 9
    assert rows[0] == sound[0]
    assert rows[-1] == sound[-1]
    assert all(row in sound for row in rows)


def test_revised_closes_of_the_newest_closed_candles_only(
    server: ExchangeServer, sound: list[list[Any]]
) -> None:
    """The open candle is left as it is; a revised one is still a consistent candle."""
    rows = klines(server, "revise").json()

    changed = [i for i in range(10) if rows[i] != sound[i]]

    assert changed == [6, 7, 8]
    for i in changed:
        assert [field for field in range(12) if rows[i][field] != sound[i][field]] == [4]
        assert float(rows[i][3]) <= float(rows[i][4]) <= float(rows[i][2])


def test_only_klines_are_spoilt_and_a_healed_exchange_answers_soundly(
    server: ExchangeServer, sound: list[list[Any]]
) -> None:
    server.set_faults("500")

    assert requests.get(f"{server.url}/api/v3/time", timeout=LIMIT).status_code == 200
    assert klines(server, "").json() == sound


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "timeout"])
def test_the_log_says_which_fault_an_answer_met(server: ExchangeServer, kind: str) -> None:
    klines(server, f"{kind}@1")
    klines(server)

    assert [seen.faults for seen in server.requests[-2:]] == [frozenset({kind}), frozenset()]
