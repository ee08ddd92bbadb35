"""The routes of experiments, over a real application and a live shadow that ticks as candles close."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.access import Role
from clm.exchange.server import ExchangeServer
from tests.support.service import caller, running_service, wait_for_end

Service = tuple[TestClient, Application, ExchangeServer]
PROBLEM = "application/problem+json"
HOUR = timedelta(hours=1)


@pytest.fixture
def service(tmp_path: Any) -> Iterator[Service]:
    """Two versions of LightGBM: the champion and a challenger."""
    with running_service(tmp_path, symbols=("BTCUSDT", "ETHUSDT")) as (application, exchange):
        with TestClient(create_app(application)) as client:
            body = {"models": ["lightgbm"], "symbols": ["BTCUSDT"], "force": True}
            for _ in range(2):
                wait_for_end(application, client.post("/api/clm/retrain", json=body).json()["run_id"])
                exchange.clock.advance(HOUR)
            yield client, application, exchange


def _versions(client: TestClient) -> list[str]:
    return [v["version"] for v in client.get("/api/clm/history/lightgbm").json()["versions"]][::-1]


def _begin(client: TestClient, **more: Any) -> Any:
    body = {"model_type": "lightgbm", "versions": _versions(client), "days": 3, **more}
    return client.post("/api/clm/experiments", json={k: v for k, v in body.items() if v is not None})


def test_an_experiment_runs_divides_callers_and_is_stopped(service: Service) -> None:
    client, application, exchange = service
    a, b = _versions(client)
    begun = _begin(client)
    number = begun.json()["experiment_id"]
    series, watch = application.series[0], application.live_shadow()
    for _ in range(6):
        watch.tick()
        exchange.clock.advance(HOUR)
    arms = {c: application.experiments.arm_of(series, "lightgbm", c) for c in map(str, range(30))}

    shown = client.get(f"/api/clm/experiments/{number}?recompute=true").json()
    stopped = client.post(f"/api/clm/experiments/{number}/stop")
    again = client.post(f"/api/clm/experiments/{number}/stop")
    listed = client.get("/api/clm/experiments").json()

    assert (begun.status_code, begun.json()["state"], begun.json()["created_by"]) == (201, "open", "local")
    assert (begun.json()["versions"], begun.json()["now"]) == (
        [a, b],
        "no difference shown yet: E = 1 that B is better and 1 that A is, of 40, after 0 candles",
    )
    assert (shown["running"], shown["candles"], shown["e_needed"]) == (True, 4, 40.0)
    assert shown["recomputed"] == {"same": True, "differences": [], "bets": 4}
    assert shown["callers"] == {
        arm: sum(found is not None and found.arm == arm for found in arms.values()) for arm in ("A", "B")
    }
    assert {found.version for found in arms.values() if found} == {a, b}
    assert (stopped.status_code, stopped.json()["result"]["why"]) == (200, "stopped")
    assert "stopped by local" in stopped.json()["now"]
    assert (again.status_code, again.headers["content-type"]) == (409, PROBLEM)
    assert [e["experiment_id"] for e in listed] == [number]
    assert listed[0]["recomputed"] is None
    assert application.experiments.arm_of(series, "lightgbm", "0") is None
    assert client.get("/api/clm/models").json()["lightgbm"]["active_version"] == a
    assert client.get("/api/clm/experiments?symbol=ETHUSDT").json() == []
    assert client.get("/api/clm/experiments?model=xgboost").json() == []
    trail = [row["result"] for row in client.get("/api/clm/audit").json()]
    assert f"201 experiment_id={number}" in trail


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"split": 1.5}, 422, "a share from 0 to 1"),
        ({"alpha": 0}, 422, "a probability above 0"),
        ({"days": None}, 422, "one of the two"),
        ({"end": "2024-07-01T00:00:00Z"}, 422, "one of the two"),
        ({"days": None, "end": "tomorrow"}, 422, "datetime"),
        ({"days": None, "end": "2024-07-01T00:00:00"}, 422, "timezone"),
        ({"start": "2024-05-01T00:00:00Z"}, 422, "by the exchange's clock"),
        ({"versions": ["v1"]}, 422, "versions"),
        ({"versions": ["v1", "v1"]}, 422, "two different versions"),
        ({"versions": ["v1", "v2"]}, 404, "v1"),
        ({"model_type": "nhits"}, 422, "xgboost, lightgbm: those of BTCUSDT 1h"),
        ({"symbol": "DOGEUSDT"}, 422, "BTCUSDT 1h, ETHUSDT 1h"),
        ({"symbol": "ETHUSDT"}, 404, "ETHUSDT"),
        ({"splits": 0.5}, 422, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(
    service_once: TestClient, more: dict[str, Any], status: int, said: str
) -> None:
    answer = _begin(service_once, **more)

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said in answer.json()["detail"]
    assert service_once.get("/api/clm/experiments").json() == []


@pytest.fixture(scope="module")
def service_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("experiments")
    with running_service(folder, symbols=("BTCUSDT", "ETHUSDT")) as (application, exchange):
        with TestClient(create_app(application)) as client:
            body = {"models": ["lightgbm"], "symbols": ["BTCUSDT"], "force": True}
            for _ in range(2):
                wait_for_end(application, client.post("/api/clm/retrain", json=body).json()["run_id"])
                exchange.clock.advance(HOUR)
            yield client


def test_a_second_one_is_told_which_is_open(service: Service) -> None:
    client = service[0]
    number = _begin(client).json()["experiment_id"]

    refused = _begin(client)

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:clm:error:experiment-open")
    assert refused.json()["experiment_id"] == number


def test_without_the_exchanges_time_none_is_begun(service: Service) -> None:
    client, _, exchange = service
    exchange.exchange.weight_limit = 0

    refused = _begin(client)

    assert (refused.status_code, client.get("/api/clm/experiments").json()) == (503, [])


def test_is_on_record_by_the_name_of_the_key(service: Service) -> None:
    _, application, _ = service
    _, key = application.keys.add("desk", Role.OPERATE)
    desk = caller(create_app(application), key)

    begun = _begin(desk).json()
    ended = desk.post(f"/api/clm/experiments/{begun['experiment_id']}/stop").json()

    assert (begun["created_by"], ended["result"]["cause"]) == ("desk", "desk")
    assert desk.get("/api/clm/experiments/x404").json()["type"] == "urn:clm:error:experiment-not-found"
