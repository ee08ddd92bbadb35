"""What forecasts are asked with, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from clm.core.experiments import CALLER, LONGEST_CALLER

Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Candle(BaseModel):
    """A closed candle of your own."""

    open_time: AwareDatetime
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount
    quote_volume: Amount
    taker_buy_base: Amount
    trades: int = Field(ge=0, lt=2**53)


class ForecastRequest(BaseModel):
    """Of one symbol, of several, or from candles of your own. Nulls: the configured first, the ensemble."""

    model_config = ConfigDict(extra="forbid")
    symbol: str | None = Field(None, examples=["BTCUSDT"])
    symbols: list[str] | None = Field(None, min_length=1, max_length=1000, examples=[None])
    interval: str | None = Field(None, examples=["1h"])
    model: str | None = Field(None, examples=["lightgbm"])
    candles: list[Candle] | None = Field(None, min_length=2, max_length=5000, examples=[None])
    caller: str | None = Field(
        None, min_length=1, max_length=LONGEST_CALLER, pattern=CALLER, examples=["bot-7"]
    )


class ForecastView(BaseModel):
    """A forecast of the candle after the newest closed one. Log returns unless a price is meant."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model: str = Field(examples=["lightgbm"])
    version: str | None = Field(description="which version answered", examples=["v20241231_000000"])
    artifact_sha256: str | None
    candle_open_time: str | None = Field(examples=["2024-12-31T22:00:00Z"])
    candle_close_time: str | None = Field(
        description="when the forecast was made", examples=["2024-12-31T23:00:00Z"]
    )
    target_close_time: str | None = Field(
        description="when it comes true or not", examples=["2025-01-01T00:00:00Z"]
    )
    forecast: float | None = Field(description="log return; null: none, see reasons", examples=[0.00012])
    direction: str | None = Field(description="up, down or flat", examples=["up"])
    close: float | None = Field(examples=[93548.12])
    implied_price: float | None = Field(examples=[93559.3])
    interval_lower: float | None = Field(examples=[-0.0062])
    interval_upper: float | None = Field(examples=[0.0064])
    interval_level: float | None = Field(description="nominal coverage", examples=[0.9])
    price_lower: float | None = Field(examples=[92969.9])
    price_upper: float | None = Field(examples=[94148.7])
    interval_coverage: float | None = Field(description="as measured so far", examples=[0.903])
    interval_coverage_candles: int = Field(examples=[744])
    volatility: float | None = Field(description="σ̂ of the candle's log return", examples=[0.0038])
    model_age_days: float | None = Field(examples=[3.2])
    data_age_seconds: float | None = Field(examples=[412.0])
    champion_state: str = Field(
        description="healthy, guarded, unproven, worse_than_zero, unreadable, experiment or none",
        examples=["healthy"],
    )
    problem: str | None = Field(
        description="in words, why the champion gives none, or why the data is stale", examples=[None]
    )
    champion_since: str | None = Field(examples=["2024-12-28T02:00:00Z"])
    out_of_distribution: float | None = Field(
        description="share of features outside training's range", examples=[0.007]
    )
    out_of_distribution_limit: float | None = Field(examples=[0.17])
    usable: bool = Field(examples=[True])
    reasons: list[str] = Field(examples=[[]])
    experiment: dict[str, str] | None = Field(examples=[None])
    weights: dict[str, float] | None = Field(description="of an ensemble's members", examples=[None])
    answered_at: str | None = Field(description="the exchange's time", examples=["2024-12-31T23:06:52Z"])


class ForecastsView(BaseModel):
    """Answers in the order of the symbols asked for."""

    answers: list[ForecastView]


class EnsembleView(BaseModel):
    """The mixture of the champions of one series."""

    symbol: str
    interval: str
    members: dict[str, str] = Field(
        description="model type → champion", examples=[{"lightgbm": "v20241231_000000"}]
    )
    candles: int = Field(description="settled so far", examples=[312])
    last: str | None
    weights: dict[str, dict[str, float]] = Field(examples=[{"online": {"lightgbm": 0.52, "xgboost": 0.48}}])
    loss: float = Field(description="of the online mixture, in units of σ̂²")
    losses: dict[str, float]
    regret: float = Field(description="lost more than the best member; negative: less")
    regret_bound: float = Field(description="what the regret can never exceed")
    skill: dict[str, dict[str, Any]]
    skill_of_members: dict[str, dict[str, Any]]
