"""`GET /data` over a real application and exchange: what is stored, and how fresh it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from benchmarks.asking import free_port
from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.book import Forecast, Source
from clm.exchange.server import ExchangeServer
from tests.support.exchange import NOW
from tests.support.service import running_service

Service = tuple[TestClient, Application, ExchangeServer]
HOUR = timedelta(hours=1)
#: The last candle that has closed at NOW.
LAST = NOW.replace(minute=0)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as (application, exchange):
        with TestClient(create_app(application)) as client:
            yield client, application, exchange


def _fetched(application: Application, days: float) -> None:
    application.data_client(application.series[0]).load_recent_data(days)


def test_before_anything_was_fetched_it_says_so_and_fetches_nothing(service: Service) -> None:
    shown = service[0].get("/api/clm/data").json()

    assert (shown["bars"], shown["newest_close"], shown["fresh"], shown["kept"]) == ([], None, None, True)
    assert shown["now"] == "2024-06-01T00:30:00Z"
    assert service[1].newest_stored(service[1].series[0]) is None


def test_it_shows_the_newest_days_and_how_long_ago_they_ended_by_the_exchanges_clock(
    service: Service,
) -> None:
    client, application, exchange = service
    _fetched(application, 10)

    fresh = client.get("/api/clm/data?days=2").json()
    exchange.clock.advance(timedelta(hours=3))
    stale = client.get("/api/clm/data?days=2").json()

    assert (fresh["candles"], fresh["candles_a_point"], len(fresh["bars"])) == (48, 1, 48)
    assert fresh["bars"][-1]["open_time"] == "2024-05-31T23:00:00Z"
    assert (fresh["newest_close"], fresh["behind_seconds"], fresh["fresh"]) == (
        "2024-06-01T00:00:00Z",
        1800,
        True,
    )
    assert (stale["newest_close"], stale["behind_seconds"], stale["fresh"]) == (
        "2024-06-01T00:00:00Z",
        12_600,
        False,
    )


def test_a_year_is_thinned_to_a_thousand_bars(service: Service) -> None:
    client, application, _ = service
    _fetched(application, 365)

    shown = client.get("/api/clm/data?days=365").json()

    assert len(shown["bars"]) <= 1000 < shown["candles"] == sum(bar["candles"] for bar in shown["bars"])


def test_revised_candles_of_that_time_are_listed(service: Service) -> None:
    client, application, _ = service
    _fetched(application, 10)
    book = application.registry.for_series(application.series[0]).book
    for hours in (5, 200):
        opened = LAST - hours * HOUR
        book.record_forecasts([
            Forecast(
                model_type="xgboost", version="v1", open_time=opened, source=Source.LIVE, forecast=0.001,
                variance=1e-4, made_at=opened + HOUR,
            )
        ])  # fmt: skip
        for outcome in (0.01, 0.02):
            book.score("xgboost", {opened: outcome}, LAST)

    shown = client.get("/api/clm/data?days=2").json()["revisions"]

    assert shown == [{"open_time": "2024-05-31T19:00:00Z", "before": 0.01, "after": 0.02}]


def test_what_the_candles_cost_is_told(service: Service) -> None:
    client, application, _ = service
    before = client.get("/api/clm/data").json()["weight"]
    _fetched(application, 10)

    weight = client.get("/api/clm/data").json()["weight"]

    assert weight["used"] >= before["used"] + 3
    assert (weight["budget"], weight["limit"], weight["waits"]) == (5800, 6000, 0)


def test_an_exchange_that_is_down_hides_no_candle(service: Service) -> None:
    _, application, _ = service
    _fetched(application, 10)
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = application.settings.model_copy(update={"binance_url": nowhere})

    with Application(settings, interactive=True) as cut_off, TestClient(create_app(cut_off)) as client:
        answer = client.get("/api/clm/data?days=2")

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["now"], shown["behind_seconds"], shown["fresh"]) == (None, None, None)
    assert nowhere in shown["clock_note"]
    assert len(shown["bars"]) == 48


@pytest.mark.parametrize("query", ["days=0", "days=9000", "symbol=DOGEUSDT", "days=soon"])
def test_what_cannot_be_shown_is_refused(service: Service, query: str) -> None:
    answer = service[0].get(f"/api/clm/data?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
