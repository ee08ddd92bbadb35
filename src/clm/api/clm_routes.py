"""The routes under `/api/clm`. Mount them into any FastAPI app: `app.include_router(clm_routes.router)`.

Routes are plain functions: FastAPI runs them in its thread pool, so a slow database or exchange never holds
up the event loop. Nothing here trains; a retrain is a row and a child process.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from clm.api import schemas
from clm.api.errors import MEDIA_TYPE, ProblemRoute
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.domain import Run, RunRequest
from clm.core.manager import ContinuousLearningManager
from clm.core.protocols import ModelRegistry
from clm.core.wire import artifact_view, jsonable, run_view
from clm.settings import Settings


def _problem(description: str, example: dict[str, Any]) -> dict[str, Any]:
    """How Swagger shows an answer that is a problem document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {MEDIA_TYPE: {"schema": schema, "example": example}}
    return {"model": schemas.Problem, "description": description, "content": content}


_BUSY = _problem("a run is in progress; `run_id` names it", schemas.IN_PROGRESS)
_WRONG = _problem("a field is wrong; says which, and what is allowed", schemas.WRONG_FIELD)

router = APIRouter(
    prefix="/api/clm",
    tags=["clm"],
    route_class=ProblemRoute,
    responses={422: _WRONG},
)


@cache
def default_application() -> Application:
    """The application of this process's environment, built when first needed."""
    return Application(Settings.load())


def get_clm_instance() -> ContinuousLearningManager:
    """The manager of the first configured series, for a host application's own jobs."""
    return default_application().manager()


def application(request: Request) -> Application:
    """What `clm serve` put into its app, else the default one."""
    found: Application | None = getattr(request.app.state, "clm", None)
    return found if found is not None else default_application()


App = Annotated[Application, Depends(application)]
Symbol = Annotated[
    str | None, Query(description="configured symbol; default: the first", examples=["BTCUSDT"])
]
Interval = Annotated[str | None, Query(description="candle length; default: the configured", examples=["1h"])]
ModelTypeName = Annotated[str, Path(description="xgboost, lightgbm, …", examples=["xgboost"])]
Version = Annotated[str, Path(examples=["v20241231_000000"])]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.post(
    "/retrain",
    status_code=202,
    response_model=schemas.RetrainStarted,
    responses={409: _BUSY},
)
def retrain(app: App, body: schemas.RetrainRequest | None = None) -> dict[str, str]:
    """Start a retraining run in the background.

    Without a body, or with nulls: the configured models of all configured symbols whose trigger fires.
    """
    body = body or schemas.RetrainRequest(models=None, force=False, symbols=None)
    asked = RunRequest(
        models=tuple(body.models) if body.models is not None else None,
        symbols=tuple(body.symbols) if body.symbols is not None else None,
        force=body.force,
        requested_by="rest",
    )
    app.check_request(asked)
    run = app.supervisor.submit(asked)
    return {"status": "started", "message": "Retraining job started in background", "run_id": run.run_id}


@router.get("/status", response_model=schemas.RunView)
def status(app: App) -> dict[str, Any]:
    """The newest run: state, progress, report."""
    app.supervisor.tidy()
    run = app.runs.latest()
    if run is None:
        return {"status": "idle", "run_id": None, "progress": None, "report": None}
    return _run(run)


@router.get("/models", responses={200: {"content": {"application/json": {"example": schemas.MODELS}}}})
def models(app: App, symbol: Symbol = None, interval: Interval = None) -> dict[str, Any]:
    """The champion of every model type; nulls where none is active."""
    summary = app.manager(app.find_series(symbol, interval)).get_model_status_summary()
    return {name: jsonable(view) for name, view in summary.items()}


@router.get("/triggers", responses={200: {"content": {"application/json": {"example": schemas.TRIGGERS}}}})
def triggers(app: App, symbol: Symbol = None, interval: Interval = None) -> dict[str, str | None]:
    """Why each model type should be retrained now; null: no need. Asks the exchange for its time."""
    return app.manager(app.find_series(symbol, interval)).check_if_retrain_needed()


@router.get(
    "/history/{model_type}",
    response_model=schemas.HistoryView,
    responses={200: {"content": {"application/json": {"example": schemas.HISTORY}}}},
)
def history(
    model_type: ModelTypeName, app: App, limit: Limit = 5, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Versions of a model type, newest first."""
    plugins.require_known_model_type(model_type)
    versions = _registry(app, symbol, interval).get_model_history(model_type, limit=limit)
    return {"model_type": model_type, "versions": [artifact_view(version) for version in versions]}


@router.get("/config")
def config(app: App) -> dict[str, Any]:
    """The settings in force, secrets masked."""
    return app.settings.masked()


@router.delete("/clear-cache", responses={409: _BUSY})
def clear_cache(app: App) -> dict[str, str]:
    """Drop cached candles and what is held in memory; refused while a run is in progress."""
    app.clear_cache()
    return {"status": "cleared", "message": "Cached candles and in-memory models were dropped"}


@router.get("/runs", response_model=list[schemas.RunView])
def runs(app: App, limit: Limit = 20) -> list[dict[str, Any]]:
    """Runs, newest first."""
    app.supervisor.tidy()
    return [_run(run) for run in app.runs.recent(limit)]


@router.get(
    "/runs/{run_id}",
    response_model=schemas.RunView,
    responses={404: _problem("no such run", schemas.NOT_FOUND)},
)
def run(run_id: str, app: App) -> dict[str, Any]:
    """One run by its id."""
    app.supervisor.tidy()
    return _run(app.runs.get(run_id))


@router.get("/decisions")
def decisions(
    app: App,
    model_type: Annotated[str | None, Query(examples=["xgboost"])] = None,
    limit: Limit = 20,
    symbol: Symbol = None,
    interval: Interval = None,
) -> list[dict[str, Any]]:
    """What was decided about candidates and why, newest first."""
    if model_type is not None:
        plugins.require_known_model_type(model_type)
    found = _registry(app, symbol, interval).get_decisions(model_type, limit=limit)
    return [jsonable(decision) for decision in found]


@router.post(
    "/promote/{model_type}/{version}",
    responses={404: _problem("no such version", schemas.NOT_FOUND)},
)
def promote(
    model_type: ModelTypeName, version: Version, app: App, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Make a version the champion by hand; its file is verified first, the decision is recorded."""
    plugins.require_known_model_type(model_type)
    return artifact_view(_registry(app, symbol, interval).promote(model_type, version))


@router.post(
    "/rollback/{model_type}", responses={404: _problem("nothing to roll back to", schemas.NOT_FOUND)}
)
def rollback(
    model_type: ModelTypeName, app: App, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Retire the champion and bring back the version it replaced."""
    plugins.require_known_model_type(model_type)
    return artifact_view(_registry(app, symbol, interval).rollback(model_type, reason="by hand, over REST"))


def _registry(app: Application, symbol: str | None, interval: str | None) -> ModelRegistry:
    return app.registry.for_series(app.find_series(symbol, interval))


def _run(run: Run) -> dict[str, Any]:
    view = run_view(run)
    return {**view, "progress": view["progress"] or None}
