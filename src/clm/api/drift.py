"""How far features have moved from where a model was trained, day by day, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from clm.api import schemas
from clm.api.application import application, exchange_answers
from clm.api.route import BAD_EXCHANGE, ProblemRoute, documented_problem
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.wire import jsonable

router = APIRouter(route_class=ProblemRoute)


class MomentView(BaseModel):
    """The days before one moment, held against the training window."""

    at: str = Field(description="when the newest of its candles closed", examples=["2024-12-31T00:00:00Z"])
    share_moved: float = Field(description="of features, beyond their own limit", examples=[0.08])
    in_training: bool = Field(description="candles of the training window are among them", examples=[False])
    regime_ratio: float | None = Field(
        description="mean absolute return of these days over that of the ones before", examples=[1.12]
    )


class RegimeView(BaseModel):
    """What 99.9 % of the training window's candles kept to."""

    low: float = Field(examples=[0.58])
    high: float = Field(examples=[1.71])
    before_days: float = Field(description="what the ratio compares with", examples=[90.0])


class MovedView(BaseModel):
    """One feature, at every moment."""

    feature: str = Field(examples=["volatility_24h"])
    family: str | None = Field(description="null where not known", examples=["volatility"])
    moved: bool = Field(description="beyond its limit at the newest moment", examples=[True])
    ks_limit: float = Field(description="95 % of training blocks keep to it", examples=[0.31])
    ks: list[float] = Field(description="Kolmogorov–Smirnov distance, 0 to 1", examples=[[0.22, 0.35]])
    psi: list[float] = Field(description="population stability index", examples=[[0.3, 0.6]])


class DriftOverTimeView(BaseModel):
    """Every day the last `block_days` days, against the training window of the newest version."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["xgboost"])
    version: str = Field(description="the newest training, whoever won it", examples=["v20241231_000000"])
    train_start: str = Field(examples=["2024-01-01T00:00:00Z"])
    train_end: str = Field(examples=["2024-12-29T00:00:00Z"])
    now: str = Field(description="the exchange's time", examples=["2024-12-31T00:20:00Z"])
    block_days: int = Field(examples=[5])
    features: int = Field(description="that are looked at", examples=[147])
    ready: bool = Field(
        description="whether the trigger can look: a whole block since training, and enough of them in it",
        examples=[True],
    )
    share_threshold: float = Field(
        description="drift is when more features have moved than in any training block", examples=[0.41]
    )
    moments: list[MomentView] = Field(description="one a day, ascending")
    regime: RegimeView | None = Field(description="null where too little is known")
    leading: list[MovedView] = Field(description="by the newest distance less its limit, the largest first")


@router.get(
    "/drift/{model_type}",
    dependencies=[Depends(exchange_answers)],
    response_model=DriftOverTimeView,
    responses={404: documented_problem("nothing was trained yet", schemas.NOT_FOUND), 502: BAD_EXCHANGE},
)
def drift(
    app: Annotated[Application, Depends(application)],
    model_type: Annotated[str, Path(description="xgboost, lightgbm, …", examples=["xgboost"])],
    symbol: Annotated[str | None, Query(examples=["BTCUSDT"])] = None,
    interval: Annotated[str | None, Query(examples=["1h"])] = None,
    days: Annotated[int, Query(ge=1, le=365, description="moments, one a day")] = 60,
    top: Annotated[int, Query(ge=1, le=50, description="features listed")] = 10,
) -> Any:
    """How far features and volatility are from the newest training, every day; what the drift triggers see.

    Worked out from the candles when asked for, once a candle; nothing of it is stored.
    """
    plugins.require_known_model_type(model_type)
    return jsonable(app.drift.look(app.find_series(symbol, interval), model_type, days=days, top=top))
