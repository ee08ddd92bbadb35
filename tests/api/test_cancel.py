"""A run can be ended from outside, and says who did it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.runs import RunRequest, RunState
from clm.exchange.server import ExchangeServer
from tests.support.exchange import put_off
from tests.support.service import running_service, wait_for_end
from tests.support.waiting import eventually

Service = tuple[TestClient, Application, ExchangeServer]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as (application, exchange), TestClient(create_app(application)) as client:
        yield client, application, exchange


def test_a_running_run_is_cancelled_and_stays_so(service: Service) -> None:
    client, application, exchange = service
    put_off(exchange)
    run_id = client.post("/api/clm/retrain", json={}).json()["run_id"]
    eventually(lambda: application.runs.get(run_id).state is RunState.RUNNING, f"{run_id} running")

    answer = client.post(f"/api/clm/runs/{run_id}/cancel")
    again = client.post(f"/api/clm/runs/{run_id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["error"] == "cancelled over REST"
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert client.get("/api/clm/status").json()["status"] == "cancelled"
    assert client.get("/api/clm/models").json()["xgboost"]["active_version"] is None
    assert client.post("/api/clm/retrain", json={}).status_code == 202


def test_a_run_that_does_not_exist_is_named(service: Service) -> None:
    answer = service[0].post("/api/clm/runs/r404/cancel")

    assert answer.status_code == 404
    assert "r404" in answer.json()["detail"]


def test_a_run_of_another_machine_is_cancelled_too_and_its_worker_can_write_no_more(service: Service) -> None:
    client, application, _ = service
    other = application.runs.start(application.runs.create(RunRequest()).run_id, "elsewhere:1")

    answer = client.post(f"/api/clm/runs/{other.run_id}/cancel")

    assert answer.json()["status"] == "cancelled"
    ended = wait_for_end(application, other.run_id)
    assert ended.state is RunState.CANCELLED


def test_an_interrupted_run_tells_of_its_attempts(service: Service) -> None:
    client, application, _ = service
    left = application.runs.start(application.runs.create(RunRequest()).run_id, "gone:1")
    application.runs.interrupt(left.run_id, "its worker fell silent")
    application.supervisor.recover()
    wait_for_end(application, left.run_id)

    shown = client.get(f"/api/clm/runs/{left.run_id}").json()

    assert (shown["status"], shown["attempt"]) == ("completed", 2)
    assert [(i["owner"], i["reason"]) for i in shown["interruptions"]] == [
        ("gone:1", "its worker fell silent")
    ]
