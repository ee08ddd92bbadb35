"""Routes of A/B experiments; `clm_routes.router` takes them in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from clm.api import schemas
from clm.api.access import CALLER
from clm.api.application import application
from clm.api.parameters import ExperimentId, VersionName
from clm.api.route import BAD_EXCHANGE, ProblemRoute, documented_problem, needs
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.access import Role
from clm.core.experiments import LEAST_ALPHA, LONGEST, Experiment

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]

_OPEN = {
    "type": "urn:clm:error:experiment-open",
    "title": "Conflict",
    "status": 409,
    "detail": "an experiment of lightgbm BTCUSDT 1h is open already: x20241231_000000_1f3a9c",
    "experiment_id": "x20241231_000000_1f3a9c",
}
_OVER = {
    "type": "urn:clm:error:experiment-over",
    "title": "Conflict",
    "status": 409,
    "detail": "x20241231_000000_1f3a9c ended at 2025-01-14 03:00 UTC: B (v20241230_000000) is better …",
}
_NONE = documented_problem(
    "no such experiment",
    {
        "type": "urn:clm:error:experiment-not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "no experiment has the id 'x1999'",
    },
)

_ASKED: dict[int | str, dict[str, Any]] = {404: _NONE, 502: BAD_EXCHANGE}
#: Told here; whoever plans experiments looks, and says what is allowed.
_SHARE: dict[str, Any] = {"minimum": 0, "maximum": 1}
_CHANCE: dict[str, Any] = {"minimum": LEAST_ALPHA, "exclusiveMaximum": 0.5}
_DAYS: dict[str, Any] = {"exclusiveMinimum": 0, "maximum": LONGEST.days}


class ExperimentRequest(BaseModel):
    """Two versions to set against each other. Of `end` and `days` exactly one is given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model_type": "lightgbm", "versions": ["v20241231_000000", "v20250107_000000"], "days": 30}
            ]
        },
    )
    model_type: str = Field(examples=["lightgbm"])
    versions: tuple[VersionName, VersionName] = Field(description="A, then B")
    symbol: str | None = Field(None, description="null: the first configured")
    interval: str | None = Field(None, description="null: the configured")
    split: float = Field(0.5, description="share of callers that get B, 0 to 1", json_schema_extra=_SHARE)
    alpha: float = Field(
        0.05, description="chance that equals are ever called unequal", json_schema_extra=_CHANCE
    )
    start: AwareDatetime | None = Field(None, description="null: now, by the exchange's clock")
    end: AwareDatetime | None = Field(None, description="when it ends at the latest")
    days: float | None = Field(None, description="the same, from the start on", json_schema_extra=_DAYS)


class ExperimentView(BaseModel):
    """An experiment: what was planned, how it stands or ended, and in one sentence, `now`."""

    model_config = ConfigDict(extra="allow")
    experiment_id: str = Field(examples=["x20241231_000000_1f3a9c"])
    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["lightgbm"])
    versions: list[str] = Field(description="A, then B", examples=[["v20241231_000000", "v20250107_000000"]])
    split: float = Field(examples=[0.5])
    alpha: float = Field(examples=[0.05])
    start: str = Field(examples=["2025-01-07T00:00:00Z"])
    end: str = Field(examples=["2025-02-06T00:00:00Z"])
    state: str = Field(description="open or ended", examples=["open"])
    running: bool = Field(description="callers are divided now", examples=[True])
    created_by: str = Field(examples=["desk"])
    created_at: str = Field(examples=["2025-01-07T00:00:00Z"])
    ended_at: str | None = Field(examples=[None])
    now: str = Field(
        examples=[
            "no difference shown yet: E = 3.1 that B is better and 0.12 that A is, of 40, after 210 candles"
        ]
    )
    callers: dict[str, int] = Field(description="assigned to each arm", examples=[{"A": 12, "B": 9}])
    candles: int = Field(description="bet on", examples=[210])
    e_a_better: float = Field(description="evidence that A is better than B", examples=[0.12])
    e_b_better: float = Field(description="evidence that B is better than A", examples=[3.1])
    e_needed: float = Field(description="2/alpha: either direction", examples=[40.0])
    candles_to_go: int | None = Field(description="at the present pace; null: no end in sight")
    mean_gain: float | None = Field(
        description="of B over A per candle: squared errors in units of the variance, winsorised"
    )
    mse_gain: float | None = Field(description="0.02: B's normalised squared error is 2 % smaller")
    first_candle: str | None
    last_candle: str | None
    result: dict[str, Any] | None = Field(
        description="null while open; `why`: a_better, b_better, no_difference, stopped or arm_lost"
    )
    recomputed: dict[str, Any] | None = Field(None, description="asked for: `same`, differences, bets")


@router.post(
    "/experiments",
    status_code=201,
    response_model=ExperimentView,
    responses={
        404: documented_problem("no such version", schemas.NOT_FOUND),
        409: documented_problem("one is open, or an arm cannot forecast or is not certified", _OPEN),
        502: BAD_EXCHANGE,
    },
    openapi_extra=needs(Role.OPERATE),
)
def start_experiment(body: ExperimentRequest, app: App, request: Request) -> dict[str, Any]:
    """Set two versions against each other: callers are divided, both forecast every candle in shadow.

    It ends when one is shown to be better, at its end, or by hand; nothing is promoted by it.
    """
    made = app.experiments.start(
        app.find_series(body.symbol, body.interval), body.model_type, body.versions, split=body.split,
        alpha=body.alpha, start=body.start, end=body.end, days=body.days, by=request.scope[CALLER].name,
    )  # fmt: skip
    return _shown(app, made)


@router.get("/experiments", response_model=list[ExperimentView], responses={502: BAD_EXCHANGE})
def experiments(
    app: App,
    model: Annotated[str | None, Query(description="one model type; default: all")] = None,
    symbol: Annotated[str | None, Query(description="configured symbol; default: all")] = None,
    interval: Annotated[str | None, Query(description="candle length; default: all")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
) -> list[dict[str, Any]]:
    """Experiments, newest first, of all series unless one is named."""
    if model is not None:
        plugins.require_known_model_type(model)
    series = app.find_series(symbol, interval) if (symbol, interval) != (None, None) else None
    return [_shown(app, experiment) for experiment in app.experiments.store.recent(limit, series, model)]


@router.get("/experiments/{experiment_id}", response_model=ExperimentView, responses=_ASKED)
def experiment(
    experiment_id: ExperimentId,
    app: App,
    recompute: Annotated[bool, Query(description="compute it again from the stored rows")] = False,
) -> dict[str, Any]:
    """One experiment: how it stands, or how it ended and why."""
    found = app.experiments.store.get(experiment_id)
    view = _shown(app, found)
    if recompute:
        again = app.experiments.recheck(found)
        view["recomputed"] = {
            "same": again.same, "differences": list(again.differences), "bets": again.bets,
        }  # fmt: skip
    return view


@router.post(
    "/experiments/{experiment_id}/stop",
    response_model=ExperimentView,
    responses={**_ASKED, 409: documented_problem("it has ended", _OVER)},
    openapi_extra=needs(Role.OPERATE),
)
def stop_experiment(experiment_id: ExperimentId, app: App, request: Request) -> dict[str, Any]:
    """End an experiment by hand; from then on the champion answers all callers."""
    ended = app.experiments.stop(experiment_id, request.scope[CALLER].name, app.now())
    return _shown(app, ended)


def _shown(app: Application, found: Experiment) -> dict[str, Any]:
    return app.experiments.show(found, app.now())
