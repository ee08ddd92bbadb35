"""What explanations are answered with."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PartView(BaseModel):
    """A feature's part in one forecast."""

    feature: str = Field(examples=["return_lag_1"])
    family: str | None = Field(description="null where not known", examples=["returns"])
    value: float = Field(description="as the model saw it", examples=[-0.83])
    contribution: float = Field(description="log return", examples=[4.1e-05])


class PartsView(BaseModel):
    """`log_return` = `base` + all contributions + `rest`."""

    open_time: str = Field(
        description="of the closed candle forecast from", examples=["2024-12-30T23:00:00Z"]
    )
    made_at: str = Field(description="when that candle closed", examples=["2024-12-31T00:00:00Z"])
    log_return: float = Field(
        description="the forecast: of the candle after the closed one", examples=[6.3e-05]
    )
    base: float = Field(description="the forecast without any feature's part", examples=[1.2e-05])
    contributions: list[PartView] = Field(description="the largest first")
    rest: float = Field(description="of the features `top` left out, together", examples=[1.0e-05])
    rest_features: int = Field(examples=[137])


class ImportanceView(BaseModel):
    """What one feature means to a version. `gain` is of its training, the rest of recent candles."""

    feature: str = Field(examples=["return_lag_1"])
    family: str | None = Field(examples=["returns"])
    mean_abs_contribution: float = Field(description="log return", examples=[3.3e-05])
    share: float = Field(description="of all features' mean |contribution|", examples=[0.11])
    rank: int = Field(description="1: the most important", examples=[1])
    gain: float | None = Field(
        description="share of the training gain; null for models without splits", examples=[0.09]
    )


class ImportancesView(BaseModel):
    """Over `rows` candles, evenly thinned, the most important first."""

    rows: int = Field(examples=[500])
    since: str = Field(examples=["2024-12-01T00:00:00Z"])
    until: str = Field(examples=["2024-12-30T23:00:00Z"])
    features: list[ImportanceView]


class ChangeView(BaseModel):
    """One feature in two versions; nulls where a version does not have it."""

    feature: str = Field(examples=["return_lag_1"])
    family: str | None = Field(examples=["returns"])
    share_change: float = Field(examples=[-0.04])
    importance: float | None = Field(examples=[3.3e-05])
    share: float | None = Field(examples=[0.11])
    rank: float | None = Field(examples=[1])
    importance_before: float | None = Field(examples=[4.6e-05])
    share_before: float | None = Field(examples=[0.15])
    rank_before: float | None = Field(examples=[1])


class DriftView(BaseModel):
    """Two versions on the same candles; what changed most comes first."""

    version: str = Field(examples=["v20241231_000000"])
    against: str = Field(examples=["v20241130_000000"])
    rank_correlation: float | None = Field(
        description="Spearman's, over all features either has", examples=[0.83]
    )
    moved: float = Field(description="share of importance that moved, 0 to 1", examples=[0.21])
    features: list[ChangeView]


class ExplanationView(BaseModel):
    """What a version's forecasts are made of."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["xgboost"])
    version: str = Field(examples=["v20241231_000000"])
    status: str = Field(examples=["ACTIVE"])
    trained_at: str = Field(examples=["2024-12-31T00:00:00Z"])
    forecast: PartsView
    importance: ImportancesView
    drift: DriftView | None
    drift_note: str | None = Field(
        description="why there is nothing to compare with", examples=["it replaced no version"]
    )
    seconds: float = Field(description="what this answer took", examples=[0.06])
