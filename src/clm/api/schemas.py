"""Bodies of requests and answers, with the examples Swagger shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

REPORT = {
    "trigger": {"xgboost": "Time-based: Last trained 8 days ago"},
    "triggered_at": "2024-12-31T00:00:00Z",
    "completed_at": "2024-12-31T00:00:04.3Z",
    "duration_seconds": 4.3,
    "models_trained": ["xgboost"],
    "promoted_models": [],
    "evaluations": [
        {"symbol": "BTCUSDT", "interval": "1h", "model_type": "xgboost", "role": "candidate",
         "n_samples": 720,
         "metrics": {"rmse": 0.00552, "mae": 0.0037, "directional_accuracy": 0.517, "r2": 0.0011}},
    ],
    "shadow_tests": [
        {"symbol": "BTCUSDT", "interval": "1h", "model_type": "xgboost", "n_samples": 24, "passed": True,
         "mse_ratio": 1.002, "ks_statistic": 0.125},
    ],
    "failed_models": {},
}  # fmt: skip
HISTORY = {
    "model_type": "xgboost",
    "versions": [
        {
            "version": "v20241231_000000",
            "status": "ACTIVE",
            "trained_at": "2024-12-31T00:00:00Z",
            "metrics": {"rmse": 0.00552, "mae": 0.0037, "directional_accuracy": 0.517},
            "promoted_at": "2024-12-31T00:00:00Z",
        }
    ],
}
MODELS = {
    "xgboost": {
        "active_version": "v20241231_000000",
        "trained_at": "2024-12-31T00:00:00Z",
        "promoted_at": "2024-12-31T00:00:00Z",
        "metrics": {"rmse": 0.00552, "mae": 0.0037, "directional_accuracy": 0.517},
        "notes": None,
    },
    "nhits": {
        "active_version": None,
        "trained_at": None,
        "promoted_at": None,
        "metrics": None,
        "notes": None,
    },
}
TRIGGERS = {"xgboost": "Time-based: Last trained 8 days ago", "lightgbm": None, "nhits": "Never trained"}


WRONG_FIELD = {
    "type": "urn:clm:error:unknown-model-type",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "model_type: 'prophet' is not known here; valid model types: lightgbm, xgboost",
    "field": "model_type",
    "value": "prophet",
    "allowed": "lightgbm, xgboost",
}
IN_PROGRESS = {
    "type": "urn:clm:error:run-in-progress",
    "title": "Conflict",
    "status": 409,
    "detail": "a retraining run is already in progress: r20241231_000000_1f3a",
    "run_id": "r20241231_000000_1f3a",
}
NOT_FOUND = {
    "type": "urn:clm:error:version-not-found",
    "title": "Not Found",
    "status": 404,
    "detail": "xgboost of BTCUSDT 1h has no version 'v1999'",
}


class RetrainRequest(BaseModel):
    """Which models to retrain. Without `force` only those whose trigger fires are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"models": ["xgboost"], "force": False}, {"models": None, "force": True}]
        },
    )
    models: list[str] | None = Field(None, min_length=1, description="model types; null: the configured ones")
    force: bool = Field(False, description="retrain whatever the triggers say")
    symbols: list[str] | None = Field(None, min_length=1, description="null: all configured symbols")


class RetrainStarted(BaseModel):
    """The run was accepted; follow it at `/status` or `/runs/{run_id}`."""

    status: str = Field(examples=["started"])
    message: str = Field(examples=["Retraining job started in background"])
    run_id: str = Field(examples=["r20241231_000000_1f3a"])


class ProgressView(BaseModel):
    """How far a run is: `done` of `total` steps, and what it is doing."""

    model_config = ConfigDict(extra="allow")
    done: int = Field(examples=[4])
    total: int = Field(examples=[12])
    step: str = Field(examples=["refit"])
    message: str = Field(examples=["training xgboost on 8,664 candles"])


class RunView(BaseModel):
    """One run. The newest one answers at `/status`; `idle` when there was none yet."""

    status: str = Field(examples=["running"])
    run_id: str | None = Field(examples=["r20241231_000000_1f3a"])
    progress: ProgressView | None
    report: dict[str, Any] | None = Field(examples=[REPORT])
    error: str | None = Field(None, examples=[None])
    created_at: str | None = None
    started_at: str | None = None
    heartbeat_at: str | None = None
    finished_at: str | None = None
    owner: str | None = None
    request: dict[str, Any] | None = None


class HistoryView(BaseModel):
    """Versions of one model type, newest first."""

    model_type: str
    versions: list[dict[str, Any]]


class Problem(BaseModel):
    """RFC 9457 problem document; further members depend on the error."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
