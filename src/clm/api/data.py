"""What is stored of a series, and how fresh it is, over HTTP; nothing is fetched for it but the time."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from clm.api.application import application
from clm.api.route import BAD_EXCHANGE, ProblemRoute
from clm.bootstrap import Application
from clm.core.wire import jsonable

router = APIRouter(route_class=ProblemRoute)


class BarView(BaseModel):
    """Neighbouring candles as one."""

    open_time: str = Field(description="of the first there is", examples=["2024-12-30T23:00:00Z"])
    open: float = Field(examples=[93_412.5])
    high: float = Field(examples=[93_900.0])
    low: float = Field(examples=[93_120.1])
    close: float = Field(examples=[93_655.2])
    volume: float = Field(examples=[812.4])
    candles: int = Field(examples=[1])


class HoleView(BaseModel):
    """Neighbouring candles that are not stored."""

    first: str = Field(examples=["2024-12-30T23:00:00Z"])
    candles: int = Field(examples=[2])
    fetched: bool = Field(
        description="true: asked for, the exchange has none; false: not asked for", examples=[True]
    )


class RevisionView(BaseModel):
    """A forecast was scored by one return, and the exchange says another now."""

    open_time: str = Field(
        description="of the closed candle forecast from; the return is of the next",
        examples=["2024-12-30T23:00:00Z"],
    )
    before: float = Field(description="log return", examples=[0.0012])
    after: float = Field(description="log return", examples=[0.0011])


class WeightView(BaseModel):
    """Request weight at the exchange in the last minute."""

    used: int = Field(description="booked by every CLM of this user on this machine", examples=[212])
    budget: int = Field(description="what this service allows itself", examples=[5800])
    limit: int = Field(description="what the exchange allows an address", examples=[6000])
    waits: float = Field(description="seconds to hold still, where the exchange counts more", examples=[0.0])
    why: str | None = Field(
        description="what the exchange asked of this address, if anything", examples=[None]
    )


class DataView(BaseModel):
    """A window of the stored candles of a series, thinned to at most 1,000 bars."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    step_seconds: float = Field(description="of a candle", examples=[3600.0])
    kept: bool = Field(description="false: CLM_CACHE_ENABLED is, and no candle is stored", examples=[True])
    now: str | None = Field(
        description="the exchange's time; null: it does not answer", examples=["2024-12-31T00:20:00Z"]
    )
    clock_note: str | None = Field(
        description="why its time is not known", examples=["https://api.binance.com does not tell its time"]
    )
    newest_close: str | None = Field(
        description="when the newest stored candle closed", examples=["2024-12-31T00:00:00Z"]
    )
    behind_seconds: float | None = Field(description="since then, by the exchange's clock", examples=[1200.0])
    fresh: bool | None = Field(description="at most two candles and a minute", examples=[True])
    begins: str | None = Field(description="of everything that is stored", examples=["2023-12-01T00:00:00Z"])
    since: str | None = Field(description="begin of the window", examples=["2024-12-01T00:00:00Z"])
    until: str | None = Field(description="end of the window", examples=["2024-12-31T00:00:00Z"])
    candles: int = Field(description="stored in the window", examples=[720])
    candles_a_point: int = Field(description="of a whole bar", examples=[1])
    bars: list[BarView] = Field(description="ascending")
    gaps: int = Field(description="in the window", examples=[1])
    missing: int = Field(description="candles in these gaps", examples=[2])
    holes: list[HoleView] = Field(description="the newest 200 gaps, ascending")
    revisions: list[RevisionView] = Field(description="in the window, the newest 200, newest first")
    weight: WeightView


@router.get("/data", response_model=DataView, responses={502: BAD_EXCHANGE})
def data(
    app: Annotated[Application, Depends(application)],
    symbol: Annotated[str | None, Query(examples=["BTCUSDT"])] = None,
    interval: Annotated[str | None, Query(examples=["1h"])] = None,
    days: Annotated[
        float,
        Query(gt=0, le=36_500, description="up to the newest stored candle; 200,000 candles at most"),
    ] = 30,
) -> Any:
    """Stored candles, where some are missing or were revised, how fresh they are, and request weight used.

    Nothing is fetched: what has never been asked for is a gap that says so.
    """
    return jsonable(app.stored_candles(app.find_series(symbol, interval), days))
