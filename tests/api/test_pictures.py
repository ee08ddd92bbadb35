"""What the dashboard's pictures are drawn from: bounded, thinned aloud, and what is decided by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.runs import RunRequest
from tests.support.databases import database_of
from tests.support.service import running_service

Asked = tuple[TestClient, Application]
LIVE_HOURS = 30


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """BTCUSDT: a champion, a challenger of eight days later, and a day and more forecast live."""
    folder = tmp_path_factory.mktemp("pictures")
    with ExitStack() as stack:
        url = stack.enter_context(database_of(request.param, folder))
        service = running_service(folder, symbols=("BTCUSDT", "ETHUSDT"), db_url=url)
        application, exchange = stack.enter_context(service)
        for days in (0, 8):
            exchange.clock.advance(timedelta(days=days))
            assert (
                application.run(RunRequest(models=("lightgbm",), symbols=("BTCUSDT",), force=True)).error
                is None
            )
        registry = application.registry.for_series(application.series[0])
        champion = registry.get_active("lightgbm")
        assert champion is not None
        made = registry.book.forecasts("lightgbm", champion.version)[-1]
        # Right two times of three.
        live = [
            replace(
                made, open_time=made.open_time + timedelta(hours=n), source=Source.LIVE, forecast=0.001,
                actual=0.002 if n % 3 else -0.002,
            )
            for n in range(1, LIVE_HOURS + 1)
        ]  # fmt: skip
        assert registry.book.record_forecasts(live) == LIVE_HOURS
        exchange.clock.advance(timedelta(hours=LIVE_HOURS))
        with TestClient(create_app(application)) as client:
            yield client, application


def _evidence(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/clm/shadow/lightgbm/evidence", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestEvidence:
    def test_ends_where_the_standing_is_and_names_the_same_threshold(self, asked: Asked) -> None:
        client, _ = asked
        (ledger,) = _evidence(client)["ledgers"]
        standing = client.get("/api/clm/shadow", params={"symbol": "BTCUSDT"}).json()
        (challenger,) = next(s for s in standing if s["model_type"] == "lightgbm")["challengers"]

        last = ledger["points"][-1]

        assert (last["e"], last["version"]) == (challenger["e"], challenger["version"])
        assert ledger["candles"] == last["candles"] == challenger["candles"] == len(ledger["points"])
        assert (ledger["e_needed"], ledger["does"]) == (challenger["e_needed"], "promotes")

    def test_that_is_thinned_says_so_and_keeps_the_newest_bet_and_every_sum(self, asked: Asked) -> None:
        client, _ = asked
        (whole,) = _evidence(client, points=1000)["ledgers"]

        (thin,) = _evidence(client, points=10)["ledgers"]

        assert whole["nth"] == 1
        assert thin["nth"] == -(-whole["candles"] // 10)
        assert len(thin["points"]) <= 10
        assert thin["points"][-1] == whole["points"][-1]
        for point in thin["points"]:
            (same,) = [p for p in whole["points"] if p["open_time"] == point["open_time"]]
            assert same == point

    def test_of_a_series_without_a_champion_is_none(self, asked: Asked) -> None:
        found = _evidence(asked[0], symbol="ETHUSDT")

        assert (found["champion"], found["ledgers"]) == (None, [])

    def test_gain_is_the_sum_of_the_stored_bets_within_its_band(self, asked: Asked) -> None:
        client, application = asked
        registry = application.registry.for_series(application.series[0])
        champion = registry.get_active("lightgbm")
        assert champion is not None
        (key,) = registry.book.ledgers(
            "lightgbm", champion.version, champion.promoted_at or champion.trained_at
        )
        rows = registry.book.evidence(key)

        last = _evidence(client)["ledgers"][0]["points"][-1]

        assert last["gain"] == pytest.approx(sum(row.gain for row in rows))
        assert last["band"] == pytest.approx(1.96 * sum(row.gain**2 for row in rows) ** 0.5)


class TestForecasts:
    def test_come_newest_first_and_page_by_page_none_twice(self, asked: Asked) -> None:
        client, _ = asked
        where = "/api/clm/shadow/lightgbm/forecasts"
        whole = client.get(where, params={"limit": 400}).json()

        first = client.get(where, params={"limit": 25}).json()
        second = client.get(where, params={"limit": 25, "before": first["older"]}).json()

        assert [v["role"] for v in whole["versions"]] == ["champion", "challenger"]
        assert first["candles"] + second["candles"] == whole["candles"][:50]
        times = [candle["open_time"] for candle in whole["candles"]]
        assert times == sorted(times, reverse=True)

    def test_stand_beside_what_came(self, asked: Asked) -> None:
        newest = asked[0].get("/api/clm/shadow/lightgbm/forecasts").json()["candles"][0]

        assert newest["forecasts"] == [0.001, None]
        assert newest["actual"] == pytest.approx(0.002 if LIVE_HOURS % 3 else -0.002)

    def test_before_a_time_without_a_zone_are_refused(self, asked: Asked) -> None:
        answer = asked[0].get("/api/clm/shadow/lightgbm/forecasts", params={"before": "2024-06-01T00:00:00"})

        assert answer.status_code == 422
        assert "before" in answer.json()["detail"]


class TestSkill:
    def test_counts_live_candles_only_and_stands_beside_the_evaluation(self, asked: Asked) -> None:
        client, _ = asked
        (found,) = client.get("/api/clm/skill").json()["champions"]
        models = client.get("/api/clm/models").json()

        assert (found["symbol"], found["candles"]) == ("BTCUSDT", LIVE_HOURS)
        assert found["directional_accuracy"] == pytest.approx(2 / 3)
        # Two errors of 0.001 and one of 0.003 beside three returns of 0.002.
        assert found["r2"] == pytest.approx(1 - (2 + 9) / (3 * 4))
        assert found["points"][-1]["candles"] == LIVE_HOURS
        assert found["evaluated"]["r2"] == models["lightgbm"]["metrics"]["r2"]

    def test_is_told_a_page_of_series_at_a_time(self, asked: Asked) -> None:
        client, _ = asked
        first = client.get("/api/clm/skill", params={"limit": 1}).json()
        second = client.get("/api/clm/skill", params={"limit": 1, "offset": 1}).json()

        assert (first["series"], first["next_offset"], len(first["champions"])) == (2, 1, 1)
        assert (second["next_offset"], second["champions"]) == (None, [])


def test_the_clock_is_the_exchanges_beside_the_services_own(asked: Asked) -> None:
    client, application = asked

    told = client.get("/api/clm/clock").json()

    assert told["exchange"].startswith(f"{application.now():%Y-%m-%dT%H:%M}")
    assert told["service"] > told["exchange"]


def test_the_pulse_changes_with_what_is_stored_and_with_nothing_else(asked: Asked) -> None:
    client, application = asked

    def pulse() -> str:
        return str(client.get("/api/clm/pulse").json()["pulse"])

    seen = [pulse()]
    for path in ("status", "models", "shadow", "decisions", "series"):
        client.get(f"/api/clm/{path}").raise_for_status()
    assert pulse() == seen[0]

    client.post("/api/clm/series", json={"symbol": "ETHUSDT", "interval": "4h"}).raise_for_status()
    seen.append(pulse())
    client.delete("/api/clm/series", params={"symbol": "ETHUSDT", "interval": "4h"}).raise_for_status()
    seen.append(pulse())
    registry = application.registry.for_series(application.series[0])
    champion = registry.get_active("lightgbm")
    assert champion is not None
    made = registry.book.forecasts("lightgbm", champion.version)[-1]
    registry.book.record_forecasts([replace(made, open_time=made.open_time + timedelta(hours=1))])
    seen.append(pulse())

    assert [before != after for before, after in pairwise(seen)] == [True, True, True], seen
