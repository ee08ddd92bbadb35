"""`/metrics` for Prometheus: what is stored, read anew for each scrape, and what this process saw itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clm.api.application import application_of
from clm.api.route import ProblemRoute
from clm.core.alert import KINDS
from clm.core.runs import RunKind, RunState
from clm.market.failures import failures
from clm.registry.totals import Row, Totals, totals

router = APIRouter(route_class=ProblemRoute)

_PLACE = ("model_type", "symbol", "interval")
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
#: The label of requests that no route took: their paths are the caller's to invent.
_NO_ROUTE = "none"
_OPEN_STATES = (RunState.QUEUED, RunState.RUNNING)


class Latency:
    """Times every request by the template of the route that took it. Pure ASGI."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            labels = (route, method, f"{status // 100}xx")
            self._seconds.labels(*labels).observe(time.perf_counter() - began)
        return None


def latency_of_this_app() -> Histogram:
    """A histogram of an app's own, in no registry that others share."""
    return Histogram(
        "clm_http_request_duration_seconds", "Answers of this process, by route",
        ("route", "method", "status"), registry=None,
    )  # fmt: skip


class _Scrape:
    """The metrics of one scrape; reading them cannot fail any more."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Prometheus text."""
    seconds: Histogram | None = getattr(request.app.state, "clm_latency", None)
    stored = totals(application_of(request.app).registry.database)
    found = [*_of_rows(stored), _fetch_errors(), *(seconds.collect() if seconds is not None else ())]
    registry = CollectorRegistry()
    registry.register(_Scrape(found))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _of_rows(stored: Totals) -> Iterator[Metric]:
    retrain = SummaryMetricFamily(
        "clm_retrain_duration_seconds", "Attempts at a better model and what they cost",
        labels=(*_PLACE, "outcome"),
    )  # fmt: skip
    for row in stored.trials:
        retrain.add_metric((*_place(row), row["outcome"]), row["attempts"], row["seconds"])
    yield retrain
    decided = CounterMetricFamily(
        "clm_decisions", "Decisions about candidates", labels=(*_PLACE, "outcome", "label")
    )
    for row in stored.decisions:
        decided.add_metric((*_place(row), row["outcome"], row["label"]), row["decided"])
    yield decided
    yield from _champions(stored)
    yield from _evidence(stored)
    counted = dict.fromkeys(((str(kind), str(state)) for kind in RunKind for state in _OPEN_STATES), 0)
    counted |= {(row["kind"], row["state"]): row["number"] for row in stored.runs}
    queue = GaugeMetricFamily(
        "clm_runs", "Stored runs; queued and running are the queue", labels=("kind", "state")
    )
    for labels, number in counted.items():
        queue.add_metric(labels, number)
    yield queue
    # No counter: an incident that comes again is begun anew, and old ones are forgotten.
    incidents = GaugeMetricFamily(
        "clm_incidents", "Incidents noticed within the last hour", labels=("kind", "severity")
    )
    for name, number in {
        **dict.fromkeys(KINDS, 0),
        **{r["kind"]: r["number"] for r in stored.alerts},
    }.items():
        severity = KINDS[name].severity if name in KINDS else "warning"
        incidents.add_metric((name, severity), number)
    yield incidents


def _champions(stored: Totals) -> Iterator[Metric]:
    age = GaugeMetricFamily("clm_champion_age_seconds", "Since the champion was trained", labels=_PLACE)
    reign = GaugeMetricFamily("clm_champion_reign_seconds", "Since its promotion", labels=_PLACE)
    score = GaugeMetricFamily(
        "clm_champion_holdout_score", "The champion on the hours it was judged on", labels=(*_PLACE, "metric")
    )
    for row in stored.champions:
        age.add_metric(_place(row), (stored.now - row["trained_at"]).total_seconds())
        reign.add_metric(_place(row), (stored.now - row["since"]).total_seconds())
        for name, value in row["metrics"].items():
            if isinstance(value, int | float):
                score.add_metric((*_place(row), name), float(value))
    yield from (age, reign, score)
    loss = GaugeMetricFamily("clm_live_loss", "Mean squared error of live forecasts, 7 days", labels=_PLACE)
    r2 = GaugeMetricFamily("clm_live_r2_ratio", "1 - live loss / that of forecasting zero", labels=_PLACE)
    scored = GaugeMetricFamily("clm_live_forecasts", "Live forecasts scored in these 7 days", labels=_PLACE)
    for row in stored.live:
        loss.add_metric(_place(row), row["loss"])
        r2.add_metric(_place(row), 1 - row["loss"] / row["zero_loss"] if row["zero_loss"] else math.nan)
        scored.add_metric(_place(row), row["hours"])
    yield from (loss, r2, scored)


def _evidence(stored: Totals) -> Iterator[Metric]:
    labels = (*_PLACE, "kind", "challenger", "recipe")
    log_e = GaugeMetricFamily("clm_shadow_log_evidence", "log E of a challenger", labels=labels)
    hours = GaugeMetricFamily("clm_shadow_compared_candles", "Candles that were bet on", labels=labels)
    for row in stored.evidence:
        whose = (*_place(row), row["kind"], row["challenger_version"], row["recipe_id"][:12])
        log_e.add_metric(whose, row["log_e"])
        hours.add_metric(whose, row["hours"])
    yield from (log_e, hours)


def _fetch_errors() -> Metric:
    errors = CounterMetricFamily(
        "clm_fetch_errors", "Failed attempts at the exchange in this process", labels=("call", "error")
    )
    for labels, number in failures().items():
        errors.add_metric(labels, number)
    return errors


def _place(row: Row) -> tuple[str, str, str]:
    return row["model_type"], row["symbol"], row["interval"]
