"""Whatever the service's OpenAPI document lists, the client can do, and it can do nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from clm.client import Client, ClientError
from clm.client.experiments import Experiments
from clm.client.watchlist import Watchlist
from tests.client.conftest import Service
from tests.support.waiting import LIMIT

PLACE: dict[str, Any] = {"symbol": "BTCUSDT", "interval": "1h"}
FOUND = {**PLACE, "model": "xgboost", "limit": 3}
CANDLE = dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base"), 1.0)
CANDLES = [{"open_time": datetime(2024, 1, 1, tzinfo=UTC), **CANDLE, "trades": 1}]
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
Call = Callable[[Client], object]
#: Method → its operation, and a call that uses everything it takes.
CALLS: dict[str, tuple[str, Call]] = {
    "predict": ("GET /api/clm/predict", lambda c: c.predict("xgboost", **PLACE, caller="bot")),
    "predict_many": (
        "POST /api/clm/predict",
        lambda c: c.predict_many(["BTCUSDT"], "xgboost", interval="1h", caller="bot"),
    ),
    "predict_from": ("POST /api/clm/predict", lambda c: c.predict_from(CANDLES, "xgboost", **PLACE)),
    "ensemble": ("GET /api/clm/ensemble", lambda c: c.ensemble(**PLACE)),
    "explain": (
        "GET /api/clm/explain/{model_type}",
        lambda c: c.explain("xgboost", **PLACE, top=3, version="v1", against="v2"),
    ),
    "data": ("GET /api/clm/data", lambda c: c.data(**PLACE, days=3)),
    "drift": ("GET /api/clm/drift/{model_type}", lambda c: c.drift("xgboost", **PLACE, days=3, top=2)),
    "replays": ("GET /api/clm/replays", lambda c: c.replays()),
    "replay": ("GET /api/clm/replays/{name}", lambda c: c.replay("2023-01-01_2025-01-01")),
    "retrain": (
        "POST /api/clm/retrain",
        lambda c: c.retrain(
            ["xgboost"],
            force=True,
            symbols=["BTCUSDT"],
            intervals=["1h"],
            params={"xgboost": {"max_depth": 3}},
            wait=False,
            timeout=1,
            poll=1,
        ),
    ),
    "status": ("GET /api/clm/status", lambda c: c.status()),
    "runs": ("GET /api/clm/runs", lambda c: c.runs(3, kind="shadow")),
    "run": ("GET /api/clm/runs/{run_id}", lambda c: c.run("r1")),
    "wait": ("GET /api/clm/runs/{run_id}", lambda c: c.wait("r1", timeout=0, poll=1, outage=0)),
    "events": ("GET /api/clm/runs/{run_id}/events", lambda c: list(c.events("r1"))),
    "cancel": ("POST /api/clm/runs/{run_id}/cancel", lambda c: c.cancel("r1")),
    "models": ("GET /api/clm/models", lambda c: c.models(**PLACE)),
    "triggers": ("GET /api/clm/triggers", lambda c: c.triggers(**PLACE)),
    "history": ("GET /api/clm/history/{model_type}", lambda c: c.history("xgboost", 3, **PLACE)),
    "promote": (
        "POST /api/clm/promote/{model_type}/{version}",
        lambda c: c.promote("xgboost", "v1", **PLACE, uncertified=True),
    ),
    "rollback": ("POST /api/clm/rollback/{model_type}", lambda c: c.rollback("xgboost", **PLACE)),
    "decisions": (
        "GET /api/clm/decisions",
        lambda c: c.decisions(**FOUND, every=True, outcome="REJECT", text="loss", since=MOMENT, until=MOMENT),
    ),
    "reigns": ("GET /api/clm/reigns/{model_type}", lambda c: c.reigns("xgboost", 3, **PLACE)),
    "compare": ("GET /api/clm/compare/{model_type}", lambda c: c.compare("xgboost", "v1", "v2", **PLACE)),
    "reproduce": (
        "POST /api/clm/reproduce/{model_type}/{version}",
        lambda c: c.reproduce("xgboost", "v1", **PLACE),
    ),
    "run_models": ("GET /api/clm/runs/{run_id}/models", lambda c: c.run_models("r1")),
    "decision": ("GET /api/clm/decisions/{decision_id}", lambda c: c.decision(1)),
    "shadow": ("GET /api/clm/shadow", lambda c: c.shadow(**PLACE)),
    "evidence": (
        "GET /api/clm/shadow/{model_type}/evidence",
        lambda c: c.evidence("xgboost", 100, **PLACE),
    ),
    "forecasts": (
        "GET /api/clm/shadow/{model_type}/forecasts",
        lambda c: c.forecasts("xgboost", 3, before=MOMENT, **PLACE),
    ),
    "skill": ("GET /api/clm/skill", lambda c: c.skill(12, limit=3, days=7)),
    "clock": ("GET /api/clm/clock", lambda c: c.clock()),
    "pulse": ("GET /api/clm/pulse", lambda c: c.pulse()),
    "trials": ("GET /api/clm/trials", lambda c: c.trials(**FOUND)),
    "experiments.start": (
        "POST /api/clm/experiments",
        lambda c: c.experiments.start(
            "xgboost", ("v1", "v2"), days=1, start=MOMENT, end=MOMENT, split=0.5, alpha=0.05, **PLACE
        ),
    ),
    "experiments.recent": ("GET /api/clm/experiments", lambda c: c.experiments.recent(**FOUND)),
    "experiments.get": (
        "GET /api/clm/experiments/{experiment_id}",
        lambda c: c.experiments.get("x1", recompute=True),
    ),
    "experiments.stop": (
        "POST /api/clm/experiments/{experiment_id}/stop",
        lambda c: c.experiments.stop("x1"),
    ),
    "series.list": ("GET /api/clm/series", lambda c: c.series.list(every=True)),
    "series.add": (
        "POST /api/clm/series",
        lambda c: c.series.add("SOLUSDT", "1h", models=["xgboost"], overrides={"holdout_days": 60}),
    ),
    "series.remove": ("DELETE /api/clm/series", lambda c: c.series.remove("SOLUSDT", "1h")),
    "config": ("GET /api/clm/config", lambda c: c.config()),
    "clear_cache": ("DELETE /api/clm/clear-cache", lambda c: c.clear_cache()),
    "alerts": ("GET /api/clm/alerts", lambda c: c.alerts(3)),
    "audit": ("GET /api/clm/audit", lambda c: c.audit(3)),
    "live": ("GET /health/live", lambda c: c.live()),
    "ready": ("GET /health/ready", lambda c: c.ready()),
}


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json", timeout=LIMIT).json()
    return found


def _sent(call: Call) -> httpx.Request:
    """What the client sends; nobody answers anything of use."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(418)

    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(ClientError):
        call(client)
    (request,) = sent
    return request


def _operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_every_operation_of_the_document_has_a_method_and_every_method_an_operation(
    document: dict[str, Any],
) -> None:
    assert {operation for operation, _ in CALLS.values()} == set(_operations(document))


def test_every_public_method_stands_in_the_table() -> None:
    here = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"} - {"close"}
    there = {
        f"{group}.{name}"
        for group, kind in (("experiments", Experiments), ("series", Watchlist))
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if name[0] != "_"
    }

    assert here | there == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_method_asks_its_operation_with_every_parameter_the_document_knows(
    name: str, document: dict[str, Any]
) -> None:
    operation, call = CALLS[name]
    told = _operations(document)[operation]
    method, path = operation.split(" ")
    pattern = re.sub(r"\{\w+\}", "[^/]+", path)

    request = _sent(call)

    assert request.method == method
    assert re.fullmatch(pattern, request.url.path)
    assert set(request.url.params) == {p["name"] for p in told.get("parameters", ()) if p["in"] == "query"}


@pytest.mark.parametrize("operation", sorted({o for o, _ in CALLS.values() if o.startswith("POST")}))
def test_every_field_of_a_body_can_be_given(operation: str, document: dict[str, Any]) -> None:
    told = _operations(document)[operation].get("requestBody")
    requests = [_sent(call) for of, call in CALLS.values() if of == operation]

    given = {name for r in requests if r.content for name in httpx.Response(200, content=r.content).json()}

    assert given == (_fields(told, document) if told else set())


def _fields(told: dict[str, Any], document: dict[str, Any]) -> set[str]:
    schema = told["content"]["application/json"]["schema"]
    (reference,) = [s["$ref"] for s in (schema, *schema.get("anyOf", ())) if "$ref" in s]
    return set(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
