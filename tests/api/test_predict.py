"""A forecast says who made it and whether it may be used; a promotion changes the answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.domain import TARGET
from clm.core.ensembles import ENSEMBLE
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import Tape
from clm.exchange.server import ExchangeServer
from clm.registry.tables import versions
from tests.support.exchange import trading
from tests.support.service import running_service, settings_for
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
ANEW = RunRequest(symbols=("BTCUSDT",), models=("lightgbm",), force=True)
Service = tuple[TestClient, Application, ExchangeServer]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Both champions of BTCUSDT reign; ETHUSDT has none."""
    with running_service(tmp_path, symbols=("BTCUSDT", "ETHUSDT")) as (application, exchange):
        assert application.run(RunRequest(symbols=("BTCUSDT",))).error is None
        with TestClient(create_app(application)) as client:
            yield client, application, exchange


def _ask(client: TestClient, **query: str) -> dict[str, Any]:
    answer = client.get("/api/clm/predict", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _until(found: Callable[[], dict[str, Any]], true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first answer of which that is true."""

    def fitting() -> dict[str, Any] | None:
        return answer if true(answer := found()) else None

    return eventually(fitting, lambda: f"another answer than {found()}")


class TestAnAnswer:
    def test_says_who_forecast_what_of_which_candle_and_how_sure_it_is(self, service: Service) -> None:
        client, application, _ = service
        champion = application.registry.get_active("lightgbm")
        assert champion is not None

        # At its first reading of the exchange's clock the service cannot know that it stands still.
        answer = _until(lambda: _ask(client, model="lightgbm"), lambda a: a["data_age_seconds"] < 1805)

        assert (answer["symbol"], answer["interval"], answer["model"]) == ("BTCUSDT", "1h", "lightgbm")
        assert (answer["version"], answer["artifact_sha256"]) == (champion.version, champion.artifact_sha256)
        assert answer["candle_open_time"] == "2024-05-31T23:00:00Z"
        assert answer["candle_close_time"] == "2024-06-01T00:00:00Z"
        assert answer["target_close_time"] == "2024-06-01T01:00:00Z"
        assert answer["implied_price"] == pytest.approx(answer["close"] * exp(answer["forecast"]))
        assert answer["direction"] == ("up" if answer["forecast"] > 0 else "down")
        assert answer["interval_lower"] < answer["forecast"] < answer["interval_upper"]
        assert log(answer["price_upper"] / answer["close"]) == pytest.approx(answer["interval_upper"])
        assert answer["interval_level"] == 0.9
        assert answer["interval_coverage_candles"] == 720 + 24
        assert 0.85 < answer["interval_coverage"] < 0.95
        assert (answer["champion_state"], answer["champion_since"]) == ("healthy", "2024-06-01T00:30:00Z")
        assert answer["data_age_seconds"] >= 1800
        assert 0 <= answer["out_of_distribution"] <= answer["out_of_distribution_limit"] <= 1
        assert (answer["usable"], answer["reasons"]) == (True, [])

    def test_is_what_the_champion_forecasts_offline_to_the_last_bit_and_is_on_record(
        self, service: Service
    ) -> None:
        client, application, _ = service
        series = application.series[0]
        now = application.data_client(series).server_time()
        candles = application.data_client(series).load_training_data(now - timedelta(days=60), now)
        row = application.feature_engineer.transform(candles).iloc[-1:]
        champion = application.registry.get_active("xgboost")
        assert champion is not None

        answer = _ask(client, model="xgboost")

        offline = application.registry.load_model(champion).predict(row.drop(columns=TARGET))
        assert answer["forecast"] == float(offline[0])
        stored = application.registry.book.forecasts("xgboost", champion.version)[-1]
        assert (stored.forecast, stored.source) == (answer["forecast"], Source.LIVE)

    def test_is_scored_when_the_candle_closes_also_without_a_live_shadow(self, service: Service) -> None:
        client, application, exchange = service
        first = _ask(client, model="xgboost")
        exchange.clock.advance(HOUR)

        _until(
            lambda: _ask(client, model="xgboost"), lambda a: a["candle_open_time"] > first["candle_open_time"]
        )

        stored = application.registry.book.forecasts("xgboost", str(first["version"]))
        assert [f.actual is not None for f in stored[-2:]] == [True, False]

    def test_by_default_is_the_ensembles_and_names_its_weights(self, service: Service) -> None:
        client, _, _ = service

        both = [_ask(client, model=model)["forecast"] for model in ("xgboost", "lightgbm")]
        answer = _ask(client)

        assert (answer["model"], answer["version"]) == (ENSEMBLE, "online")
        assert answer["weights"] == {"lightgbm": 0.5, "xgboost": 0.5}
        assert answer["forecast"] == pytest.approx(np.mean(both))
        assert client.get("/api/clm/ensemble").json()["members"].keys() == {"xgboost", "lightgbm"}

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({"symbol": "DOGEUSDT"}, "BTCUSDT 1h, ETHUSDT 1h"),
            ({"interval": "5m"}, "BTCUSDT 1h"),
            ({"model": "prophet"}, "xgboost, lightgbm, ensemble"),
            ({"caller": "x" * 201}, "1 to 200 printable characters"),
        ],
    )
    def test_to_a_wrong_question_is_an_error_that_says_what_is_allowed(
        self, service: Service, query: dict[str, str], said: str
    ) -> None:
        answer = service[0].get("/api/clm/predict", params=query)

        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert said in answer.json()["detail"]


class TestNotUsable:
    def test_without_a_champion_there_is_no_forecast_and_no_zero(self, service: Service) -> None:
        answer = _ask(service[0], symbol="ETHUSDT")

        assert (answer["forecast"], answer["direction"], answer["implied_price"]) == (None, None, None)
        assert (answer["usable"], answer["reasons"]) == (False, ["no_champion"])

    def test_with_candles_that_stopped_coming_it_says_stale_data(self, service: Service) -> None:
        client, _, exchange = service
        _ask(client)
        exchange.set_faults("500")
        exchange.clock.advance(2 * HOUR)

        answer = _until(lambda: _ask(client), lambda a: "stale_data" in a["reasons"])

        assert answer["reasons"] == ["stale_data", "target_closed"]
        assert answer["forecast"] is not None
        exchange.set_faults("")
        _until(lambda: _ask(client), lambda a: a["usable"] and a["data_age_seconds"] < 3700)

    def test_a_model_that_grew_old_says_so(self, tmp_path: Path) -> None:
        with running_service(tmp_path, stale_model_days=1, models=("lightgbm",)) as (application, exchange):
            assert application.run(RunRequest()).error is None
            exchange.clock.advance(25 * HOUR)
            with TestClient(create_app(application)) as client:
                assert _ask(client)["reasons"] == ["stale_model"]

    def test_a_hole_in_the_window_of_the_features_says_so_and_forecasts_nothing(self, tmp_path: Path) -> None:
        with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
            assert application.run(RunRequest()).error is None
            tape = exchange.exchange.market.tapes["BTCUSDT"]["1h"]
            now = int(exchange.clock.now().timestamp() * 1000)
            there = np.ones(len(tape.opens), dtype=bool)
            there[int(np.searchsorted(tape.opens, now)) + 1] = False
            exchange.exchange.market = trading(_only(tape, there))
            exchange.clock.advance(5 * HOUR)
            with TestClient(create_app(application)) as client:
                answer = _ask(client)

        assert (answer["forecast"], answer["reasons"]) == (None, ["gap_in_window"])

    def test_a_candle_like_none_in_training_says_so(self, tmp_path: Path) -> None:
        with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
            assert application.run(RunRequest()).error is None
            tape = exchange.exchange.market.tapes["BTCUSDT"]["1h"]
            now = int(exchange.clock.now().timestamp() * 1000)
            crash = int(np.searchsorted(tape.opens, now)) - 1
            columns = {name: values.copy() for name, values in tape.columns.items()}
            for name in ("low", "close"):
                columns[name][crash] *= 0.6
            for name in ("volume", "quote_volume", "taker_buy_base"):
                columns[name][crash] *= 80
            exchange.exchange.market = trading(replace(tape, columns=columns))
            exchange.clock.advance(HOUR)
            with TestClient(create_app(application)) as client:
                answer = _ask(client)

        assert answer["reasons"] == ["out_of_distribution"]
        assert answer["out_of_distribution"] > answer["out_of_distribution_limit"]
        assert answer["forecast"] is not None


def _only(tape: Tape, kept: np.ndarray[Any, Any]) -> Tape:
    columns = {name: values[kept] for name, values in tape.columns.items()}
    return Tape(tape.step, tape.opens[kept], tape.starts[kept], tape.ends[kept], columns)


class TestSeveralAndOwnCandles:
    def test_several_symbols_are_answered_in_their_order(self, service: Service) -> None:
        answers = service[0].post(
            "/api/clm/predict", json={"symbols": ["ETHUSDT", "BTCUSDT"], "model": "xgboost"}
        )

        found = answers.json()["answers"]
        assert [(a["symbol"], a["usable"]) for a in found] == [("ETHUSDT", False), ("BTCUSDT", True)]

    @pytest.mark.parametrize("model", ["lightgbm", "ensemble"])
    def test_own_candles_that_are_the_exchanges_give_the_same_forecast(
        self, service: Service, model: str
    ) -> None:
        client, application, _ = service
        expected = _ask(client, model=model)
        before = len(
            application.registry.book.forecasts("lightgbm", str(_ask(client, model="lightgbm")["version"]))
        )

        answer = client.post("/api/clm/predict", json={"model": model, "candles": _candles(application, 300)})

        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["forecast"] == pytest.approx(expected["forecast"], rel=1e-6)
        for name in ("interval_lower", "interval_upper", "price_upper"):
            assert found[name] == pytest.approx(expected[name], rel=0.02), name
        for name in ("candle_open_time", "version", "out_of_distribution", "champion_state", "weights"):
            assert found[name] == expected[name], name
        after = application.registry.book.forecasts(
            "lightgbm", str(_ask(client, model="lightgbm")["version"])
        )
        assert len(after) == before

    def test_too_few_or_broken_candles_are_refused_with_what_is_needed(self, service: Service) -> None:
        client, application, _ = service
        candles = _candles(application, 300)
        holed = [c for k, c in enumerate(candles) if k != 280]
        wrong = [*candles[:-1], {**candles[-1], "high": 1.0}]

        few = client.post("/api/clm/predict", json={"candles": candles[-20:]})
        gap = client.post("/api/clm/predict", json={"candles": holed})
        bad = client.post("/api/clm/predict", json={"candles": wrong})
        none = client.post("/api/clm/predict", json={"candles": []})

        assert [a.status_code for a in (few, gap, bad, none)] == [422] * 4
        assert "closed candles, without a gap" in few.json()["detail"]
        assert "high" in bad.text

    def test_a_body_without_end_is_refused(self, service: Service) -> None:
        answer = service[0].post("/api/clm/predict", content=b"[" + b"1," * 700_000 + b"1]")

        assert answer.status_code == 413

    def test_asking_is_no_deed_and_is_asked_as_often_as_one_likes(self, service: Service) -> None:
        client, application, _ = service
        before = len(application.audit.recent(100))

        codes = {client.post("/api/clm/predict", json={}).status_code for _ in range(100)}

        assert codes == {200}
        assert len(application.audit.recent(100)) == before


def _candles(application: Application, count: int) -> list[dict[str, Any]]:
    series = application.series[0]
    now = application.data_client(series).server_time()
    frame = application.data_client(series).load_training_data(now - count * HOUR, now).reset_index()
    frame["open_time"] = frame["open_time"].map(lambda t: t.isoformat())
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


class TestHealth:
    def test_where_every_member_loses_to_zero_the_answer_by_default_says_so_too(
        self, service: Service
    ) -> None:
        _, application, _ = service
        with application.registry.database.writing() as connection:
            for row in connection.execute(sa.select(versions.c.id, versions.c.metrics_json)).all():
                lost = {**row.metrics_json, "r2": -0.35}
                connection.execute(versions.update().where(versions.c.id == row.id).values(metrics_json=lost))
        # Another process, as after a restart: what it knows of them it reads.
        with Application(application.settings) as anew, TestClient(create_app(anew)) as other:
            answers = [_ask(other, model=model) for model in ("xgboost", "lightgbm", "ensemble")]
            by_default = _ask(other)

        assert by_default["model"] == "ensemble"
        assert {answer["champion_state"] for answer in (*answers, by_default)} == {"unproven"}


class TestHotSwap:
    def test_a_promotion_by_another_process_answers_within_a_second(self, service: Service) -> None:
        client, application, exchange = service
        old = _ask(client, model="lightgbm")
        exchange.clock.advance(2 * HOUR)
        with Application(application.settings, interactive=True) as elsewhere:
            assert (
                elsewhere.run(RunRequest(symbols=("BTCUSDT",), models=("lightgbm",), force=True)).error
                is None
            )
            (new,) = [
                v for v in elsewhere.registry.get_model_history("lightgbm") if v.version != old["version"]
            ]
            elsewhere.promote_by_hand(elsewhere.series[0], "lightgbm", new.version)
            answer = _until(lambda: _ask(client, model="lightgbm"), lambda a: a["version"] == new.version)
            elsewhere.roll_back_by_hand(elsewhere.series[0], "lightgbm", "back")
            back = _until(lambda: _ask(client, model="lightgbm"), lambda a: a["version"] == old["version"])

        # So often it asks who reigns; by the exchange's clock, which stands still, it would never have asked.
        assert application.forecasts.follower._poll_seconds <= 0.25
        assert answer["artifact_sha256"] == new.artifact_sha256
        assert answer["champion_state"] == "guarded"
        assert back["artifact_sha256"] == old["artifact_sha256"]

    def test_the_models_that_no_longer_answer_are_let_go(self, service: Service) -> None:
        client, application, exchange = service
        _ask(client)
        desk = application.forecasts.follower._desks[application.series[0]]
        before = set(desk._loaded)
        exchange.clock.advance(2 * HOUR)
        assert (
            application.run(RunRequest(symbols=("BTCUSDT",), models=("lightgbm",), force=True)).error is None
        )
        newest = application.registry.get_model_history("lightgbm")[0]
        application.promote_by_hand(application.series[0], "lightgbm", newest.version)

        _until(lambda: _ask(client, model="lightgbm"), lambda a: a["version"] == newest.version)

        assert len(before) == 2
        assert ("lightgbm", newest.version) in desk._loaded
        assert len(desk._loaded) == 2


def test_the_exchanges_clock_may_run_at_any_speed(tmp_path: Path) -> None:
    with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
        assert application.run(RunRequest()).error is None
        exchange.exchange.clock = exchange.clock = ExchangeClock(exchange.clock.now(), speed=1800)
        with TestClient(
            create_app(Application(settings_for(exchange, tmp_path, models=("lightgbm",))))
        ) as client:
            seen = set()

            def followed() -> bool:
                seen.add(_ask(client)["candle_open_time"])
                return len(seen) >= 3

            eventually(followed, "an answer from a third candle: they are two seconds apart", pause=0.1)
    assert datetime.now(UTC) > datetime(2024, 6, 1, tzinfo=UTC)
