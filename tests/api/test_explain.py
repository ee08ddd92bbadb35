"""`GET /explain/{model_type}` over a real application, exchange and worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.exchange.server import ExchangeServer
from tests.support.service import running_service, wait_for_end
from tests.support.versions import candidate

Service = tuple[TestClient, Application, ExchangeServer]
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose first run is over, and eight days later a second one of LightGBM."""
    with running_service(tmp_path_factory.mktemp("explain")) as (application, exchange):
        with TestClient(create_app(application)) as client:
            wait_for_end(application, client.post("/api/clm/retrain", json={}).json()["run_id"])
            exchange.clock.advance(timedelta(days=8))
            body = {"models": ["lightgbm"], "force": True}
            wait_for_end(application, client.post("/api/clm/retrain", json=body).json()["run_id"])
            yield client, application, exchange


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_the_champions_newest_forecast_is_base_contributions_and_rest(trained: Service, family: str) -> None:
    client = trained[0]

    whole = client.get(f"/api/clm/explain/{family}").json()["forecast"]
    top = client.get(f"/api/clm/explain/{family}?top=5").json()["forecast"]

    for forecast in (whole, top):
        added = forecast["base"] + sum(c["contribution"] for c in forecast["contributions"])
        assert added + forecast["rest"] == pytest.approx(forecast["log_return"], rel=1e-6)
    assert top["contributions"] == whole["contributions"][:5]
    assert (top["open_time"], top["made_at"]) == ("2024-06-08T23:00:00Z", "2024-06-09T00:00:00Z")


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_it_is_the_forecast_that_predict_answers(trained: Service, family: str) -> None:
    client = trained[0]

    told = client.get(f"/api/clm/predict?model={family}").json()

    explained = client.get(f"/api/clm/explain/{family}").json()
    assert explained["version"] == told["version"]
    assert explained["forecast"]["log_return"] == pytest.approx(told["forecast"], rel=1e-6)


def test_a_challenger_is_compared_with_the_champion(trained: Service) -> None:
    client = trained[0]
    newest, champion = (v["version"] for v in client.get("/api/clm/history/lightgbm").json()["versions"])

    told = client.get(f"/api/clm/explain/lightgbm?version={newest}").json()

    assert (told["version"], told["drift"]["against"]) == (newest, champion)
    assert 0 <= told["drift"]["moved"] <= 1
    assert told["drift_note"] is None


def test_a_second_answer_takes_no_time(trained: Service) -> None:
    client = trained[0]
    client.get("/api/clm/explain/xgboost")

    assert client.get("/api/clm/explain/xgboost").json()["seconds"] < 0.5


def test_clearing_the_cache_drops_what_was_worked_out(trained: Service) -> None:
    client, application, _ = trained
    client.get("/api/clm/explain/xgboost")

    client.delete("/api/clm/clear-cache")

    assert "explainer" not in application.__dict__
    assert client.get("/api/clm/explain/xgboost").status_code == 200


def test_a_family_that_cannot_be_explained_is_409_and_says_what_it_lacks(trained: Service) -> None:
    client, application, _ = trained
    registry = application.registry.for_series(application.series[0])
    saved = registry.save_model(replace(candidate(), version="v20240501_000001"))
    registry.promote("sklearn_ridge", saved.version)

    answer = client.get("/api/clm/explain/sklearn_ridge")

    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert answer.json()["type"] == "urn:clm:error:not-explainable"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("nhits", 404, "no champion to explain"),
        ("xgboost?version=v1999", 404, "v1999"),
        ("xgboost?against=v1999", 404, "v1999"),
        ("prophet", 422, "xgboost"),
        ("xgboost?top=0", 422, "greater than or equal to 1"),
        ("xgboost?symbol=DOGEUSDT", 422, "BTCUSDT 1h"),
    ],
)
def test_wrong_questions_are_problem_documents(trained: Service, path: str, status: int, said: str) -> None:
    answer = trained[0].get(f"/api/clm/explain/{path}")

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said in answer.json()["detail"]


def test_an_exchange_that_does_not_answer_is_503(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        application.registry.for_series(application.series[0]).promote(
            "lightgbm",
            application.registry.for_series(application.series[0])
            .save_model(candidate(model_type="lightgbm"))
            .version,
        )
        with TestClient(create_app(application)) as client:
            exchange.exchange.weight_limit = 0

            assert client.get("/api/clm/explain/lightgbm").status_code == 503


def test_it_is_documented_with_an_example(trained: Service) -> None:
    operation = trained[0].get("/openapi.json").json()["paths"]["/api/clm/explain/{model_type}"]["get"]

    assert operation["x-clm-role"] == "read"
    assert {"200", "404", "409", "422"} <= set(operation["responses"])
