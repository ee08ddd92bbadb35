"""Whatever is changed, or was to be, is on record: who, from where, what, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from clm.api import clm_routes
from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.access import Role
from tests.support.service import caller, running_service, wait_for_end
from tests.support.versions import candidate

PROBLEM = "application/problem+json"
Service = tuple[FastAPI, Application]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as (application, _):
        yield create_app(application), application


def test_a_run_and_a_promotion_are_on_record_with_what_they_came_to(service: Service) -> None:
    app, application = service
    _, key = application.keys.add("desk", Role.ADMIN)
    client = caller(app, key, address="192.0.2.7")
    saved = application.registry.for_series(application.series[0]).save_model(candidate())

    run_id = client.post("/api/clm/retrain", json={"force": True}).json()["run_id"]
    wait_for_end(application, run_id)
    client.post(f"/api/clm/promote/sklearn_ridge/{saved.version}?uncertified=true")
    promoted, asked = client.get("/api/clm/audit").json()

    assert {name: asked[name] for name in asked if name not in ("id", "at")} == {
        "actor": "desk", "role": "admin", "origin": "192.0.2.7", "action": "POST /api/clm/retrain",
        "detail": {"body": {"force": True}}, "result": f"202 run_id={run_id}",
    }  # fmt: skip
    assert promoted["action"] == f"POST /api/clm/promote/sklearn_ridge/{saved.version}"
    assert promoted["detail"] == {"query": {"uncertified": "true"}}
    assert promoted["result"] == f"200 version={saved.version}"
    assert promoted["at"].endswith("Z")


def test_looks_are_not(service: Service) -> None:
    client = caller(service[0])
    for path in ("/api/clm/status", "/docs", "/health/ready", "/api/clm/audit"):
        client.get(path)

    assert client.get("/api/clm/audit").json() == []


def test_what_was_refused_is_on_record_too(service: Service) -> None:
    app, application = service
    _, key = application.keys.add("desk", Role.READ)

    caller(app, address="192.0.2.8").post("/api/clm/retrain", json={"force": True})
    caller(app, key).post("/api/clm/retrain", json={"force": True})
    caller(app, key).post("/no/such/route")

    assert [(r.deed.actor, r.deed.role, r.deed.origin, r.result) for r in application.audit.recent()] == [
        ("desk", "read", "127.0.0.1", "404"),
        ("desk", "read", "127.0.0.1", "403"),
        ("stranger", "", "192.0.2.8", "401"),
    ]


def test_inside_a_host_application_as_well(service: Service) -> None:
    host = FastAPI()
    host.state.clm = service[1]
    host.include_router(clm_routes.router)

    @host.post("/own")
    def own() -> None:
        return None

    caller(host).post("/own")
    caller(host).delete("/api/clm/clear-cache")
    caller(host, origin="https://evil.example").delete("/api/clm/clear-cache")

    assert [(r.deed.action, r.result) for r in service[1].audit.recent()] == [
        ("DELETE /api/clm/clear-cache", "403"),
        ("DELETE /api/clm/clear-cache", "200"),
    ]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b'{"models": ["x"], "api_key": "s3cret"}', {"body": {"models": ["x"], "api_key": "***"}}),
        (b"no json, s3cret", {"body": {"bytes": 15}}),
        (b'["s3cret"]', {"body": {"bytes": 10}}),
        (b"[" * 5000, {"body": {"bytes": 5000}}),
        (b'{"force": NaN, "n": 1e999}', {"body": {"force": "nan", "n": "inf"}}),
        (b'{"a": "\\u0000\\ud800"}', {"body": {"a": "\x00\\ud800"}}),
        (b"", {}),
    ],
)
def test_what_was_asked_for_is_kept_without_secrets_whatever_it_was(
    service: Service, content: bytes, kept: dict[str, object]
) -> None:
    app, application = service

    caller(app, content_type="application/json").post("/api/clm/promote/xgboost/v1", content=content)

    (row,) = application.audit.recent()
    assert (row.deed.detail, row.result) == (kept, "404")


def test_a_path_is_kept_as_it_was_sent(service: Service) -> None:
    app, application = service

    caller(app).post("/api/clm/promote/x%00y/%C3%BC?token=s3cret&symbol=BTCUSDT")

    (row,) = application.audit.recent()
    assert row.deed.action == "POST /api/clm/promote/x%00y/%C3%BC"
    assert row.deed.detail == {"query": {"token": "***", "symbol": "BTCUSDT"}}


def test_where_the_trail_cannot_be_written_nothing_is_done(service: Service) -> None:
    app, application = service
    with application.registry.database.writing() as connection:
        connection.execute(sa.text("DROP TABLE clm_audit"))

    answer = caller(app).post("/api/clm/retrain", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert "nothing was done" in answer.json()["detail"]
    assert application.runs.latest() is None


def test_alerts_can_be_read(service: Service) -> None:
    from clm.core.alert import Alert

    app, application = service
    for _ in range(2):
        application.alarm(Alert("parity", application.series[0], "xgboost", "v1", "they differ"))

    (alert,) = caller(app).get("/api/clm/alerts").json()

    assert {name: alert[name] for name in ("kind", "symbol", "interval", "subject", "message", "times")} == {
        "kind": "parity", "symbol": "BTCUSDT", "interval": "1h", "subject": "v1", "message": "they differ",
        "times": 2,
    }  # fmt: skip
