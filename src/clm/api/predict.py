"""Forecasts over HTTP, read off the newest snapshot: an answer never waits and never mixes versions."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from clm.api import forecast_schemas, schemas
from clm.api.application import application, application_of
from clm.api.route import ProblemRoute, ReadByHand, documented_problem, needs
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.domain import Series
from clm.core.errors import BadInput, InvalidSetting
from clm.core.experiments import CALLER, LONGEST_CALLER

router = APIRouter(prefix="/api/clm", route_class=ProblemRoute)


App = Annotated[Application, Depends(application)]
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"model": forecast_schemas.ForecastView, "description": "the forecast of the newest closed candle"}
}


_ONE_OR_SEVERAL: dict[int | str, dict[str, Any]] = {
    200: {
        "model": forecast_schemas.ForecastView | forecast_schemas.ForecastsView,
        "description": "one answer, or `answers` in the order of `symbols`",
    },
    404: documented_problem("no champion that could forecast from candles of your own", schemas.NOT_FOUND),
}


def _asked(name: str, description: str, example: str, **schema: Any) -> dict[str, Any]:
    """A parameter as OpenAPI tells it."""
    shape = {"type": "string", **schema}
    return {
        "name": name, "in": "query", "required": False, "description": description, "schema": shape,
        "example": example,
    }  # fmt: skip


_CALLER = {"minLength": 1, "maxLength": LONGEST_CALLER, "pattern": CALLER}
#: Told here, read by hand: the framework's own way would cost more than the forecast.
_PARAMETERS = [
    _asked("symbol", "configured symbol; default: the first", "BTCUSDT"),
    _asked("interval", "candle length; default: the configured", "1h"),
    _asked("model", "a model type or `ensemble`; default: the ensemble, where there is one", "lightgbm"),
    _asked(
        "caller",
        "who asks, for a running experiment",
        "bot-7",
        minLength=1,
        maxLength=LONGEST_CALLER,
        pattern=CALLER,
    ),
]
_TAGS: list[str | Enum] = ["forecasts"]
_SECURITY: list[dict[str, list[str]]] = [{"APIKeyHeader": []}, {"HTTPBearer": []}]


async def latest(request: Request) -> Response:
    """The champion's forecast of the candle after the newest closed one.

    `usable` says whether to act on it; `reasons`, why not: `no_champion`, `stale_model`, `stale_data`,
    `gap_in_window`, `out_of_distribution`, `worse_than_zero`.
    """
    app, asked = application_of(request.app), request.query_params
    # The first question of all waits for the first look, which must not hold up the others.
    answers = app.forecasts if "forecasts" in app.__dict__ else await run_in_threadpool(lambda: app.forecasts)
    if not answers.follower.ready:
        await run_in_threadpool(answers.follower.wait)
    series = await _series(app, asked.get("symbol"), asked.get("interval"))
    model, caller = asked.get("model"), asked.get("caller")
    if caller is None:
        return _spoken(answers.answer(series, model))
    return _spoken(await run_in_threadpool(answers.answer, series, model, caller=caller))


async def _series(app: Application, symbol: str | None, interval: str | None) -> Series:
    """From what is followed already; nobody waits for a database here whose series is."""
    followed = app.forecasts.follower.series
    try:
        return app.find_series(symbol, interval, followed or app.watchlist.configured)
    except InvalidSetting:
        # It may have been added a moment ago.
        return await run_in_threadpool(app.find_series, symbol, interval)


router.add_api_route(
    "/predict", latest, response_class=Response, responses=_ANSWER, route_class_override=ReadByHand,
    openapi_extra={"parameters": _PARAMETERS, "security": _SECURITY}, tags=_TAGS,
)  # fmt: skip


def _spoken(found: Any) -> Response:
    return Response(to_json(found, inf_nan_mode="null"), media_type="application/json")


@router.post(
    "/predict", response_class=Response, openapi_extra={**needs(Role.READ), "security": _SECURITY},
    responses=_ONE_OR_SEVERAL, tags=_TAGS,
)  # fmt: skip
def predict(app: App, body: forecast_schemas.ForecastRequest) -> Response:
    """The same with a body: for several symbols at once, or from candles of your own.

    Own candles are oldest first, closed, without a gap, as many as the features look back and one more;
    their forecast is computed and not stored.
    """
    found: Any
    if body.symbols is not None and (body.symbol is not None or body.candles is not None):
        other = "symbol" if body.symbol is not None else "candles"
        raise BadInput(f"symbols, {other}", body.symbols, "one of the two")
    if body.symbols is not None:
        every = [app.find_series(symbol, body.interval) for symbol in body.symbols]
        found = {"answers": [app.forecasts.answer(one, body.model, caller=body.caller) for one in every]}
    elif body.candles is not None:
        series = app.find_series(body.symbol, body.interval)
        found = app.forecasts.from_candles(series, body.model, [c.model_dump() for c in body.candles])
    else:
        series = app.find_series(body.symbol, body.interval)
        found = app.forecasts.answer(series, body.model, caller=body.caller)
    return _spoken(found)


@router.get(
    "/ensemble", response_model=forecast_schemas.EnsembleView, openapi_extra={"security": _SECURITY},
    tags=_TAGS,
)  # fmt: skip
def ensemble(
    app: App,
    symbol: Annotated[str | None, Query(examples=["BTCUSDT"])] = None,
    interval: Annotated[str | None, Query(examples=["1h"])] = None,
) -> dict[str, Any]:
    """The mixture of the champions: weights, how it fared beside each, and what it can at most regret."""
    return app.ensemble_standing(app.find_series(symbol, interval))
