"""Routes of the watchlist; `clm_routes.router` takes them in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from clm.api.access import CALLER
from clm.api.application import application
from clm.api.route import BAD_EXCHANGE, ProblemRoute, documented_problem, needs
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.domain import SYMBOL_OF_JSON_SCHEMA
from clm.settings import PER_SERIES

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]

_LAST = {
    "type": "urn:clm:error:last-series",
    "title": "Conflict",
    "status": 409,
    "detail": "BTCUSDT 1h is the last series that is watched: add another one first",
}


class SeriesRequest(BaseModel):
    """A series to watch, or to watch otherwise. What is null or left out is as the settings say."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"symbol": "SOLUSDT"},
                {
                    "symbol": "ETHUSDT", "interval": "4h", "models": ["lightgbm"],
                    "overrides": {"retrain_interval_days": 14, "training_preset": "fast"},
                },
            ]
        },
    )  # fmt: skip
    symbol: str = Field(
        description="a market the exchange trades", json_schema_extra={"pattern": SYMBOL_OF_JSON_SCHEMA}
    )
    interval: str | None = Field(None, description="candle length; null: the configured")
    models: list[str] | None = Field(None, min_length=1, max_length=100, description="null: CLM_MODELS")
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        max_length=len(PER_SERIES),
        description=f"settings of this series' own: {', '.join(PER_SERIES)}",
    )


class SeriesView(BaseModel):
    """A series that is watched."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    models: list[str] = Field(examples=[["xgboost", "lightgbm"]])
    overrides: dict[str, Any] = Field(description="settings of its own", examples=[{"holdout_days": 60}])
    origin: str = Field(description="settings, or added while running", examples=["added"])
    watched: bool = Field(description="false: it has been taken off", examples=[True])
    changed_by: str | None = Field(description="who added or changed it last", examples=["desk"])
    changed_at: str | None = Field(examples=["2025-01-07T00:00:00Z"])
    champions: dict[str, str | None] = Field(examples=[{"xgboost": "v20250107_000000", "lightgbm": None}])
    note: str | None = Field(
        None,
        description="what stands against training it today",
        examples=["its history begins on 2025-01-01 00:00 UTC and needs 512 more candles, 21.3 days"],
    )


@router.get("/series", response_model=list[SeriesView])
def series(
    app: App, every: Annotated[bool, Query(alias="all", description="also those taken off")] = False
) -> list[dict[str, Any]]:
    """The series that are watched, the first being the default of every other route."""
    return app.watched(every=every)


@router.post(
    "/series",
    status_code=201,
    response_model=SeriesView,
    responses={
        200: {"model": SeriesView, "description": "it was watched already, and is otherwise now"},
        502: BAD_EXCHANGE,
    },
    openapi_extra=needs(Role.OPERATE),
)
def add_series(body: SeriesRequest, app: App, request: Request, response: Response) -> dict[str, Any]:
    """Watch a series from now on, or say anew what is wanted of one that is watched.

    The exchange must trade it. Its first models come with the next run; a run for it alone can be asked for.
    """
    new, view = app.watch(
        body.symbol, body.interval, body.models, body.overrides, by=request.scope[CALLER].name
    )
    response.status_code = 201 if new else 200
    return view


@router.delete(
    "/series",
    response_model=SeriesView,
    responses={409: documented_problem("no other series is watched", _LAST)},
    openapi_extra=needs(Role.OPERATE),
)
def remove_series(
    app: App,
    request: Request,
    symbol: Annotated[str, Query(description="of a series that is watched", examples=["SOLUSDT"])],
    interval: Annotated[str | None, Query(description="candle length; default: the configured")] = None,
) -> dict[str, Any]:
    """Watch a series no more. Its models and everything on record stay, and count if it is added again."""
    return app.unwatch(symbol, interval, by=request.scope[CALLER].name)
