"""Versions beside one another, and made once more; `clm_routes.router` takes the routes in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from clm.api import schemas, version_schemas
from clm.api.application import application
from clm.api.parameters import NAME, Interval, ModelTypeName, Symbol, Version
from clm.api.route import ProblemRoute, documented_problem, needs
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.access import Role
from clm.core.comparing import compared, features_of
from clm.core.runs import RunKind, RunRequest
from clm.core.wire import jsonable
from clm.registry import decisions as stored

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]
_NO_VERSION = documented_problem("no such version", schemas.NOT_FOUND)
Asked = Annotated[str, Query(max_length=100, pattern=NAME, examples=["v20241231_000000"])]


@router.get(
    "/compare/{model_type}", response_model=version_schemas.ComparedView, responses={404: _NO_VERSION}
)
def compare(
    model_type: ModelTypeName, a: Asked, b: Asked, app: App, symbol: Symbol = None, interval: Interval = None
) -> dict[str, Any]:
    """Two versions side by side: metrics, recipe, features, lineage, evidence, training; what differs."""
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    registry = app.registry.for_series(series)
    one, other = (registry.get_version(model_type, version) for version in (a, b))
    last = {}
    for version in (a, b):
        wanted = stored.Wanted(series=series, model_type=model_type, version=version)
        newest = stored.find(registry.database, wanted, 1)
        last[version] = newest[0][1] if newest else None
    return {
        **jsonable(series), "model_type": model_type, "a": a, "b": b, "facts": compared(one, other, last),
        "features": features_of(one, other),
    }  # fmt: skip


@router.post(
    "/reproduce/{model_type}/{version}",
    status_code=202,
    response_model=schemas.RetrainStarted,
    responses={
        404: _NO_VERSION,
        409: documented_problem("another version is being made once more", schemas.IN_PROGRESS),
    },
    openapi_extra=needs(Role.OPERATE),
)
def reproduce(
    model_type: ModelTypeName, version: Version, app: App, symbol: Symbol = None, interval: Interval = None
) -> dict[str, str]:
    """Make a version once more in the background, from what is stored about it, and compare the two.

    Follow it at `/runs/{run_id}`: the report's `verdict` is identical (the same bytes), within tolerance (the
    same forecasts) or different, and `differences` says what is not as it was.
    """
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    app.registry.for_series(series).get_version(model_type, version)
    asked = RunRequest(
        models=(model_type,), symbols=(series.symbol,), intervals=(series.interval,), version=version,
        requested_by="rest", kind=RunKind.REPRODUCE,
    )  # fmt: skip
    run = app.supervisor.submit(asked)
    message = f"{model_type} {version} is being made once more in the background"
    return {"status": "started", "message": message, "run_id": run.run_id}
