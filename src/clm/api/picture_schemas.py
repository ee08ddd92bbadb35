"""Answers that pictures are drawn from."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EvidencePoint(BaseModel):
    """A ledger after one of its bets."""

    open_time: str = Field(description="of the candle that was bet on", examples=["2024-01-07T01:00:00Z"])
    version: str = Field(description="that forecast for the recipe", examples=["v20240107_020000"])
    candles: int = Field(description="bet on so far", examples=[360])
    e: float = Field(examples=[3.1])
    gain: float = Field(
        description="summed over all candles so far: by how much the challenger's squared errors were the "
        "smaller ones, in units of the variance known beforehand, surprises winsorised at 3 σ; below zero: "
        "they were larger",
        examples=[4.2],
    )
    band: float = Field(
        description="were both equally good, `gain` would lie within ± this at 95 of 100 moments looked at "
        "once; whoever looks at all moments sees it outside more often, and only E allows for that",
        examples=[9.7],
    )


class LedgerView(BaseModel):
    """One challenge of the champion's place, or the guard's, from its first bet on."""

    kind: str = Field(description="challenge or guard", examples=["challenge"])
    recipe_id: str = Field(description="of a guard: the version it would bring back", examples=["9f31c0ab"])
    version: str = Field(description="that forecast last for it", examples=["v20240107_020000"])
    does: str = Field(description="what E does where it is needed", examples=["promotes"])
    e_needed: float = Field(examples=[20.0])
    candles: int = Field(description="bet on, whether told below or not", examples=[360])
    nth: int = Field(description="every nth bet is told; 1: all of them", examples=[1])
    pooled: bool = Field(description="whether E also counts other series' candles; `gain` never does")
    points: list[EvidencePoint] = Field(description="oldest first, the newest bet the last")


class EvidenceView(BaseModel):
    """How the evidence for and against a champion has grown."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["lightgbm"])
    policy: str = Field(examples=["evidence"])
    champion: str | None = Field(description="null: there is none", examples=["v20231231_020000"])
    since: str | None = Field(examples=["2023-12-31T02:00:00Z"])
    ledgers: list[LedgerView] = Field(description="the newest eight at most, in the order they were begun")


class RoleView(BaseModel):
    """A version and what it is now."""

    version: str = Field(examples=["v20231231_020000"])
    role: str = Field(description="champion, challenger or guarded", examples=["champion"])


class CandleForecasts(BaseModel):
    """What was forecast at the close of one candle, and what came."""

    open_time: str = Field(examples=["2024-01-07T01:00:00Z"])
    actual: float | None = Field(description="log return that followed; null: not known yet")
    forecasts: list[float | None] = Field(description="log returns, in the order of `versions`; null: none")


class PastForecastsView(BaseModel):
    """Forecasts beside outcomes."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["lightgbm"])
    versions: list[RoleView]
    candles: list[CandleForecasts] = Field(
        description="newest first; at most `limit`, and at most 1,000 forecasts in all"
    )
    older: str | None = Field(description="ask with this as `before` for older ones; null: there are none")


class SkillFigures(BaseModel):
    """r2: 1 − Σe²/Σr², against forecasting zero. Null where undefined."""

    r2: float | None = Field(examples=[0.0042])
    directional_accuracy: float | None = Field(description="share of moves", examples=[0.517])


class SkillPoint(SkillFigures):
    """Over all live candles of the days asked for, up to a moment."""

    until: str = Field(examples=["2024-01-08T00:00:00Z"])
    candles: int = Field(examples=[144])


class SkillView(SkillFigures):
    """A champion's live forecasts, scored, beside its evaluation before it was promoted."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["lightgbm"])
    version: str = Field(examples=["v20231231_020000"])
    candles: int = Field(description="live and scored", examples=[168])
    evaluated: SkillFigures = Field(description="the version's own figures, on its holdout")
    points: list[SkillPoint] = Field(description="one a day that has any, oldest first")


class SkillPage(BaseModel):
    """The champions of a page of series."""

    champions: list[SkillView]
    series: int = Field(description="that are watched", examples=[200])
    next_offset: int | None = Field(description="of the next page; null: this is the last one")


class ClockView(BaseModel):
    """Two clocks, which differ where an exchange is played back."""

    exchange: str | None = Field(description="null: it does not answer", examples=["2024-12-31T00:00:00Z"])
    service: str = Field(examples=["2024-12-31T00:00:00Z"])


class PulseView(BaseModel):
    """What stays the same as long as nothing is new."""

    pulse: str = Field(description="to be compared, no more", examples=["5f2b9c0d1e3a4756"])
