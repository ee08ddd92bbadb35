"""The main job on real candles, as a user runs it: real HTTP, python-binance, SQLite, both models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clm.bootstrap import Application
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.replay import read_market
from clm.exchange.server import ExchangeServer
from clm.settings import Settings
from tests.support.candles import REAL, needs_real_candles

pytestmark = needs_real_candles


@pytest.fixture(scope="module")
def exchange() -> Iterator[ExchangeServer]:
    market = read_market(REAL / "candles")
    with ExchangeServer(market, ExchangeClock(datetime(2024, 12, 20, tzinfo=UTC), speed=0)) as server:
        yield server


def _settings(exchange: ExchangeServer, folder: Path, **more: Any) -> Settings:
    return Settings.load(
        binance_url=exchange.url, db_url=f"sqlite:///{folder}/clm.db", model_dir=folder / "models",
        data_dir=folder / "data", **more,
    )  # fmt: skip


def _attainable(report: dict[str, Any]) -> bool:
    """On hourly candles an R² above 1 % or a direction above 56 % is a leak until proven otherwise."""
    return all(
        -0.05 < e["metrics"]["r2"] < 0.01 and 0.46 < e["metrics"]["directional_accuracy"] < 0.56
        for e in report["evaluations"]
    )


@pytest.mark.parametrize("days", [pytest.param(365, marks=pytest.mark.rehearse), 90])
def test_bitcoins_hours_both_models(exchange: ExchangeServer, tmp_path: Path, days: int) -> None:
    with Application(_settings(exchange, tmp_path, training_lookback_days=days)) as application:
        outcome = application.run(RunRequest())
        registry = application.registry

        assert outcome.error is None
        assert outcome.report["promoted_models"] == ["xgboost", "lightgbm"]
        assert [e["n_samples"] for e in outcome.report["evaluations"]] == [720, 720]
        assert [s["n_samples"] for s in outcome.report["shadow_tests"]] == [24, 24]
        assert _attainable(outcome.report)
        champion = registry.get_active("xgboost")
        assert champion is not None
        assert champion.training_samples == (days - 2) * 24
        assert registry.verify() == []


@pytest.mark.rehearse
def test_weeks_later_the_champions_are_challenged_and_only_what_is_new_is_fetched(tmp_path: Path) -> None:
    market = read_market(REAL / "candles" / "BTCUSDT-1h.parquet")
    with ExchangeServer(market, ExchangeClock(datetime(2024, 11, 1, tzinfo=UTC), speed=0)) as exchange:
        with Application(_settings(exchange, tmp_path, models=("lightgbm",))) as application:
            application.run(RunRequest())
            first = len(exchange.requests)
            for _ in range(3):
                exchange.clock.advance(timedelta(days=8))
                report = application.run(RunRequest()).report
                assert "Time-based" in report["triggers"]["lightgbm"]
            klines = [seen for seen in exchange.requests[first:] if seen.path.endswith("klines")]

            assert len(klines) == 3
            assert {seen.params["limit"] for seen in klines} == {str(8 * 24 + 3)}
            roles = [e["role"] for e in report["evaluations"]]
            assert roles == ["candidate", "champion"]
            labels = [d.label for d in application.registry.get_decisions()]
            assert sorted(labels) == ["evidence"] * 3 + ["first"] + ["superseded"] * 2


@pytest.mark.rehearse
def test_three_coins_in_one_run(exchange: ExchangeServer, tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    with Application(_settings(exchange, tmp_path, symbols=symbols)) as application:
        outcome = application.run(RunRequest())

        assert outcome.error is None
        assert list(outcome.report["by_series"]) == [f"{symbol} 1h" for symbol in symbols]
        assert len(outcome.report["evaluations"]) == 6
        assert _attainable(outcome.report)
        assert application.registry.verify() == []


@pytest.mark.rehearse
def test_bitcoins_five_minutes(tmp_path: Path) -> None:
    market = read_market(REAL / "candles" / "BTCUSDT-5m.parquet")
    with ExchangeServer(market, ExchangeClock(datetime(2024, 6, 25, tzinfo=UTC), speed=0)) as exchange:
        settings = _settings(exchange, tmp_path, interval="5m", training_lookback_days=120)
        with Application(settings) as application:
            outcome = application.run(RunRequest())

    assert outcome.error is None
    assert [e["n_samples"] for e in outcome.report["evaluations"]] == [8640, 8640]
    assert _attainable(outcome.report)


def test_one_symbol_that_does_not_exist_fails_alone(exchange: ExchangeServer, tmp_path: Path) -> None:
    settings = _settings(exchange, tmp_path, symbols=("BTCUSDT", "NOSUCHCOIN"), models=("lightgbm",))
    with Application(settings) as application:
        outcome = application.run(RunRequest())

    assert outcome.error is None
    assert outcome.report["promoted_models"] == ["lightgbm"]
    assert "NOSUCHCOIN" in outcome.report["failures"]["lightgbm"]
    assert "NOSUCHCOIN" in outcome.report["by_series"]["NOSUCHCOIN 1h"]["error"]
