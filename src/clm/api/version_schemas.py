"""Bodies of answers about versions and what was decided about them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_METRICS = {"rmse": 0.00552, "mae": 0.0037, "directional_accuracy": 0.517}


class ChampionView(BaseModel):
    """The champion of one model type; nulls where there is none."""

    model_config = ConfigDict(extra="allow")
    active_version: str | None = Field(examples=["v20241231_000000"])
    trained_at: str | None = Field(examples=["2024-12-31T00:00:00Z"])
    promoted_at: str | None = Field(examples=["2024-12-31T00:00:00Z"])
    metrics: dict[str, float | None] | None = Field(examples=[_METRICS])
    notes: str | None
    untrainable_here: str | None = Field(
        None, description="what this service lacks to train it, and how to get that; null: nothing"
    )


class VersionView(BaseModel):
    """One version: what it is, what it was made from, how it fared."""

    model_config = ConfigDict(extra="allow")
    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["xgboost"])
    version: str = Field(examples=["v20241231_000000"])
    status: str = Field(description="CANDIDATE, SHADOW, ACTIVE or RETIRED", examples=["ACTIVE"])
    trained_at: str = Field(examples=["2024-12-31T00:00:00Z"])
    promoted_at: str | None = Field(examples=["2024-12-31T00:00:00Z"])
    retired_at: str | None
    metrics: dict[str, float | None] = Field(examples=[_METRICS])
    params: dict[str, Any]
    training_samples: int = Field(examples=[8664])
    artifact_sha256: str | None
    certificate: dict[str, Any] | None = Field(description="see docs/promotion.md; null: none")
    notes: str


class HistoryView(BaseModel):
    """Versions of one model type, newest first."""

    model_type: str = Field(examples=["xgboost"])
    versions: list[VersionView]


class FactView(BaseModel):
    """One thing about two versions."""

    group: str = Field(
        description="version, metrics, recipe, features, lineage, evidence, training", examples=["recipe"]
    )
    name: str = Field(examples=["num_trees"])
    a: Any = Field(examples=[200])
    b: Any = Field(examples=[300])
    same: bool = Field(examples=[False])


class ComparedFeaturesView(BaseModel):
    """Names that only one of the two has."""

    both: int | None = Field(description="how many both have; null: not on record", examples=[110])
    only_a: list[str]
    only_b: list[str]


class ComparedView(BaseModel):
    """Two versions side by side."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["xgboost"])
    a: str = Field(examples=["v20241224_000000"])
    b: str = Field(examples=["v20241231_000000"])
    facts: list[FactView]
    features: ComparedFeaturesView


class ReignView(BaseModel):
    """Somebody's time as champion."""

    version: str = Field(examples=["v20241231_000000"])
    since: str = Field(examples=["2024-12-31T00:00:00Z"])
    until: str | None = Field(description="null: it lasts")
    label: str = Field(description="of the decision that began it", examples=["better"])
    reason: str
    decided_by: str = Field(examples=["policy"])
    decision_id: int | None = Field(examples=[12])


class DecisionView(BaseModel):
    """What was decided about a candidate, by whom, and why."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    id: int = Field(examples=[12])
    model_type: str = Field(examples=["lightgbm"])
    candidate_version: str = Field(examples=["v20240107_020000"])
    champion_version: str | None = Field(examples=["v20231231_020000"])
    outcome: str = Field(description="PROMOTE, CONTINUE or REJECT", examples=["CONTINUE"])
    label: str = Field(description="first, better, refresh, guard, evidence, …", examples=["evidence"])
    policy: str = Field(examples=["evidence"])
    reason: str = Field(
        examples=[
            "not enough evidence yet: E = 3.1 of 20 after 360 candles, about 400 more hours "
            "at the present pace"
        ]
    )
    numbers: dict[str, Any] = Field(examples=[{"log_e": 1.13, "log_e_needed": 2.996}])
    decided_by: str = Field(description="policy, guard, user or lifecycle", examples=["policy"])
    decided_at: str = Field(examples=["2024-01-07T02:00:00Z"])


class ExplainedDecisionView(DecisionView):
    """A decision, and what comes out when it is decided again."""

    inputs: dict[str, Any] = Field(description="what it was decided from, besides stored rows")
    recomputed: bool = Field(description="whether it could be decided again: a human's cannot")
    same: bool = Field(examples=[True])
    differences: list[str]
    bets: int = Field(description="settled again", examples=[360])


class DoneView(BaseModel):
    """Something was done; a sentence says what."""

    status: str = Field(examples=["cleared"])
    message: str = Field(examples=["Cached candles and in-memory models were dropped"])
