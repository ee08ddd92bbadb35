"""The routes under `/api/clm`. Mount them into any FastAPI app: `app.include_router(clm_routes.router)`.

Routes are plain functions: FastAPI runs them in its thread pool, so a slow database or exchange never holds
up the event loop. Nothing here trains; a retrain is a row and a child process.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from clm.api import (
    data,
    decisions,
    drift,
    events,
    experiments,
    explain,
    pictures,
    predict,
    replays,
    schemas,
    series,
    version_schemas,
    versions,
)  # fmt: skip
from clm.api.application import application, default_application, exchange_answers
from clm.api.parameters import Interval, Limit, ModelFilter, ModelTypeName, RunId, Symbol, Version
from clm.api.route import BAD_EXCHANGE, ProblemRoute, documented_problem, needs
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.access import Role
from clm.core.manager import ContinuousLearningManager
from clm.core.protocols import ModelRegistry
from clm.core.runs import RunKind, RunRequest
from clm.core.standings import trial_views
from clm.core.wire import alert_view, artifact_view, audit_view, jsonable, run_view
from clm.hosted import hosted_manager

__all__ = ["application", "default_application", "get_clm_instance", "router"]

_BUSY = documented_problem("a run is in progress; `run_id` names it", schemas.IN_PROGRESS)
_UNFIT = documented_problem("the version is not fit for it, or another one came first", schemas.UNFIT)

_routes = APIRouter(
    tags=["clm"],
    route_class=ProblemRoute,
    # They tell Swagger how a key is shown; who may do what is asked by each route, see `ProblemRoute`.
    dependencies=[
        Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
        Security(HTTPBearer(auto_error=False)),
    ],
)


def get_clm_instance() -> ContinuousLearningManager:
    """The manager of the first configured series, for a host application's own jobs: see `hosted_manager`."""
    return hosted_manager(default_application())


App = Annotated[Application, Depends(application)]


@_routes.post(
    "/retrain",
    status_code=202,
    response_model=schemas.RetrainStarted,
    responses={409: _BUSY},
    openapi_extra=needs(Role.OPERATE),
)
def retrain(app: App, body: schemas.RetrainRequest | None = None) -> dict[str, str]:
    """Start a retraining run in the background.

    Without a body, or with nulls: all models of all series that are watched whose trigger fires.
    """
    body = body or schemas.RetrainRequest(models=None, force=False, symbols=None, intervals=None, params=None)
    asked = RunRequest(
        models=tuple(body.models) if body.models is not None else None,
        symbols=tuple(body.symbols) if body.symbols is not None else None,
        intervals=tuple(body.intervals) if body.intervals is not None else None,
        force=body.force,
        params=body.params,
        requested_by="rest",
    )
    app.check_request(asked)
    run = app.supervisor.submit(asked)
    return {"status": "started", "message": "Retraining job started in background", "run_id": run.run_id}


@_routes.get("/status", response_model=schemas.RunView)
def status(app: App) -> dict[str, Any]:
    """The newest run: state, progress, report."""
    app.supervisor.tidy()
    run = app.runs.latest()
    if run is None:
        return {"status": "idle", "run_id": None, "progress": None, "report": None}
    return run_view(run)


@_routes.get(
    "/models",
    response_model=dict[str, version_schemas.ChampionView],
    responses={200: {"content": {"application/json": {"example": schemas.MODELS}}}},
)
def models(app: App, symbol: Symbol = None, interval: Interval = None) -> dict[str, Any]:
    """The champion of every model type; nulls where none is active."""
    summary = app.manager(app.find_series(symbol, interval)).get_model_status_summary()
    return {name: jsonable(view) for name, view in summary.items()}


@_routes.get(
    "/triggers",
    dependencies=[Depends(exchange_answers)],
    responses={200: {"content": {"application/json": {"example": schemas.TRIGGERS}}}, 502: BAD_EXCHANGE},
)
def triggers(app: App, symbol: Symbol = None, interval: Interval = None) -> dict[str, str | None]:
    """Why each model type should be retrained now; null: no need. Asks the exchange for its time."""
    return app.manager(app.find_series(symbol, interval)).check_if_retrain_needed()


@_routes.get(
    "/history/{model_type}",
    response_model=version_schemas.HistoryView,
    responses={200: {"content": {"application/json": {"example": schemas.HISTORY}}}},
)
def history(
    model_type: ModelTypeName, app: App, limit: Limit = 5, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Versions of a model type, newest first."""
    plugins.require_known_model_type(model_type)
    versions = _registry(app, symbol, interval).get_model_history(model_type, limit=limit)
    return {"model_type": model_type, "versions": [artifact_view(version) for version in versions]}


@_routes.get("/config")
def config(app: App) -> dict[str, Any]:
    """The settings in force, secrets masked."""
    return app.settings.masked()


@_routes.delete(
    "/clear-cache",
    response_model=version_schemas.DoneView,
    responses={409: _BUSY},
    openapi_extra=needs(Role.OPERATE),
)
def clear_cache(app: App) -> dict[str, str]:
    """Drop cached candles and the models held in memory; refused while a run is in progress."""
    app.clear_cache()
    return {"status": "cleared", "message": "Cached candles and in-memory models were dropped"}


@_routes.get("/runs", response_model=list[schemas.RunView])
def runs(app: App, limit: Limit = 20, kind: RunKind = RunKind.RETRAIN) -> list[dict[str, Any]]:
    """Runs, newest first: of retraining, ticks of the live shadow, retention, or of reproducing versions."""
    app.supervisor.tidy()
    return [run_view(run) for run in app.runs.recent(limit, kind)]


@_routes.get(
    "/runs/{run_id}",
    response_model=schemas.RunView,
    responses={404: documented_problem("no such run", schemas.NOT_FOUND)},
)
def run(run_id: RunId, app: App) -> dict[str, Any]:
    """One run by its id."""
    app.supervisor.tidy()
    return run_view(app.runs.get(run_id))


@_routes.post(
    "/runs/{run_id}/cancel",
    response_model=schemas.RunView,
    responses={
        404: documented_problem("no such run", schemas.NOT_FOUND),
        409: documented_problem("the run is over", schemas.OVER),
    },
    openapi_extra=needs(Role.OPERATE),
)
def cancel(run_id: RunId, app: App) -> dict[str, Any]:
    """End a run that is queued or running; what it had finished stays.

    From the answer on nothing is written in its name, on whatever machine its worker is.
    """
    return run_view(app.supervisor.cancel(run_id, "cancelled over REST"))


@_routes.get("/shadow", response_model=list[schemas.StandingView], responses={502: BAD_EXCHANGE})
def shadow(app: App, symbol: Symbol = None, interval: Interval = None) -> list[dict[str, Any]]:
    """Champions, challengers with their evidence E and what they still need, and the guard.

    All configured series unless one is named.
    """
    return app.standings(symbol, interval)


@_routes.get("/trials", response_model=list[schemas.TrialView])
def trials(
    app: App, model: ModelFilter = None, limit: Limit = 20, symbol: Symbol = None, interval: Interval = None
) -> list[dict[str, Any]]:
    """Every attempt at a better model, failed, rejected and superseded ones too, with its cost in seconds.

    `outcome` is what came of it then; `status` and `fate` what has become of the version since.
    """
    if model is not None:
        plugins.require_known_model_type(model)
    return trial_views(_registry(app, symbol, interval), model, limit)


@_routes.post(
    "/promote/{model_type}/{version}",
    response_model=version_schemas.VersionView,
    responses={
        404: documented_problem("no such version", schemas.NOT_FOUND),
        409: _UNFIT,
        502: BAD_EXCHANGE,
    },
    openapi_extra=needs(Role.ADMIN),
)
def promote(
    model_type: ModelTypeName,
    version: Version,
    app: App,
    symbol: Symbol = None,
    interval: Interval = None,
    uncertified: Annotated[bool, Query(description="promote without a leakage certificate")] = False,
) -> dict[str, Any]:
    """Make a version the champion by hand; its file is verified first, the decision is recorded."""
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    return artifact_view(app.promote_by_hand(series, model_type, version, uncertified=uncertified))


@_routes.post(
    "/rollback/{model_type}",
    response_model=version_schemas.VersionView,
    responses={
        404: documented_problem("nothing to roll back to", schemas.NOT_FOUND),
        409: _UNFIT,
        502: BAD_EXCHANGE,
    },
    openapi_extra=needs(Role.OPERATE),
)
def rollback(
    model_type: ModelTypeName, app: App, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Retire the champion and bring back the version it replaced."""
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    return artifact_view(app.roll_back_by_hand(series, model_type, "by hand, over REST"))


@_routes.get("/alerts", response_model=list[schemas.AlertView])
def alerts(app: App, limit: Limit = 20) -> list[dict[str, Any]]:
    """What a human should have heard of, newest incident first."""
    return [alert_view(stored, bool(app.receivers)) for stored in app.alerts.recent(limit)]


@_routes.get("/audit", response_model=list[schemas.AuditView], openapi_extra=needs(Role.ADMIN))
def audit(app: App, limit: Limit = 20) -> list[dict[str, Any]]:
    """Who changed something, or tried to, from where, and what came of it, newest first."""
    return [audit_view(row) for row in app.audit.recent(limit)]


def _registry(app: Application, symbol: str | None, interval: str | None) -> ModelRegistry:
    return app.registry.for_series(app.find_series(symbol, interval))


_routes.include_router(events.router)
_routes.include_router(decisions.router)
_routes.include_router(versions.router)
_routes.include_router(series.router)
_routes.include_router(experiments.router)
_routes.include_router(explain.router)
_routes.include_router(data.router)
_routes.include_router(drift.router)
_routes.include_router(replays.router)
_routes.include_router(pictures.router)
#: Forecasts first, and not below another router, where each look for a route costs as much as a forecast:
#: they are asked for far more often than all the rest together.
router = predict.router
router.include_router(_routes)
