"""What forecasts are made of, over HTTP. Worked out in the thread pool, once per version and candle."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from clm.api import schemas
from clm.api.application import application, exchange_answers
from clm.api.explain_schemas import ExplanationView
from clm.api.parameters import VersionAsked
from clm.api.route import BAD_EXCHANGE, ProblemRoute, documented_problem
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.wire import jsonable

router = APIRouter(route_class=ProblemRoute)

_CANNOT = {
    "type": "urn:clm:error:not-explainable",
    "title": "Conflict",
    "status": 409,
    "detail": "sklearn_ridge v20241231_000000 of BTCUSDT 1h cannot say what its forecasts are made of: …",
}


@router.get(
    "/explain/{model_type}",
    dependencies=[Depends(exchange_answers)],
    response_model=ExplanationView,
    responses={
        404: documented_problem("no champion, or no such version", schemas.NOT_FOUND),
        409: documented_problem("the family, or the version, cannot be explained", _CANNOT),
        502: BAD_EXCHANGE,
    },
)
def explain(
    app: Annotated[Application, Depends(application)],
    model_type: Annotated[str, Path(description="xgboost, lightgbm, …", examples=["xgboost"])],
    symbol: Annotated[str | None, Query(examples=["BTCUSDT"])] = None,
    interval: Annotated[str | None, Query(examples=["1h"])] = None,
    top: Annotated[int | None, Query(ge=1, description="features listed; default: all")] = None,
    version: VersionAsked = None,
    against: VersionAsked = None,
) -> Any:
    """What the champion's newest forecast is made of, what it listens to, and what changed.

    Contributions are TreeSHAP values in log return: base + contributions + rest is the forecast. `version`
    explains another version; `against` names the one to compare with, by default the version it replaced.
    """
    plugins.require_known_model_type(model_type)
    series = app.find_series(symbol, interval)
    return jsonable(app.explainer.explain(series, model_type, version=version, against=against, top=top))
