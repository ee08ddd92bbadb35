"""`GET /drift/{model_type}`: every day held against training, as the trigger does it today."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.drift import Window, feature_drift, regime_shift
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.service import running_service

Service = tuple[TestClient, Application, ExchangeServer]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """LightGBM was trained on 300 days, ten days ago."""
    folder = tmp_path_factory.mktemp("drift")
    with running_service(folder, training_lookback_days=300, retrain_interval_days=60) as (
        application,
        exchange,
    ):
        application.run(RunRequest(models=("lightgbm",), force=True))
        exchange.clock.advance(timedelta(days=10))
        with TestClient(create_app(application)) as client:
            yield client, application, exchange


def _window(application: Application) -> Window:
    """What the trigger looks at."""
    series = application.series[0]
    (version,) = application.registry.for_series(series).get_model_history("lightgbm", limit=2)
    engineer, client = application.feature_engineer, application.data_client(series)
    start = version.train_start - (engineer.warmup + 1) * series.step
    features = engineer.transform(client.load_training_data(start, client.server_time()))
    since = features.index >= version.train_end
    return Window(features.loc[~since], features.loc[since], series.step)


def test_the_newest_moment_is_what_the_triggers_see(trained: Service) -> None:
    client, application, _ = trained

    shown = client.get("/api/clm/drift/lightgbm").json()

    newest, window = shown["moments"][-1], _window(application)
    assert shown["ready"]
    assert newest["at"] == "2024-06-11T00:00:00Z"
    assert (newest["share_moved"] > shown["share_threshold"]) == (feature_drift(window) is not None)
    outside = not shown["regime"]["low"] <= newest["regime_ratio"] <= shown["regime"]["high"]
    assert outside == (regime_shift(window) is not None)
    assert newest["share_moved"] == pytest.approx(
        sum(one["moved"] for one in client.get("/api/clm/drift/lightgbm?top=50").json()["leading"])
        / shown["features"]
    )


def test_there_is_a_moment_a_day_and_it_is_told_which_are_of_training(trained: Service) -> None:
    shown = trained[0].get("/api/clm/drift/lightgbm?days=30&top=3").json()

    moments = shown["moments"]
    assert len(moments) == 30
    assert [m["at"][:10] for m in moments[-3:]] == ["2024-06-09", "2024-06-10", "2024-06-11"]
    of_training = [m["in_training"] for m in moments]
    assert of_training == sorted(of_training, reverse=True)
    assert set(of_training) == {True, False}
    assert len(shown["leading"]) == 3
    for one in shown["leading"]:
        assert len(one["ks"]) == len(one["psi"]) == 30
        assert all(0 <= ks <= 1 for ks in one["ks"])
    led = [one["ks"][-1] - one["ks_limit"] for one in shown["leading"]]
    assert led == sorted(led, reverse=True)


def test_a_second_look_at_the_same_candle_works_nothing_out(
    trained: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, application, exchange = trained
    first = client.get("/api/clm/drift/lightgbm?days=40").json()
    exchange.clock.advance(timedelta(minutes=10))
    monkeypatch.setattr(application.drift, "_course", None)

    again = client.get("/api/clm/drift/lightgbm?days=40").json()

    assert {**again, "now": ""} == {**first, "now": ""}


def test_where_nothing_was_trained_nothing_can_have_drifted(trained: Service) -> None:
    answer = trained[0].get("/api/clm/drift/xgboost")

    assert answer.status_code == 404
    assert "never trained" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["nobody", "lightgbm?days=0", "lightgbm?days=366", "lightgbm?top=51"])
def test_what_cannot_be_is_refused(trained: Service, path: str) -> None:
    answer = trained[0].get(f"/api/clm/drift/{path}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
