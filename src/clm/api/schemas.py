"""Bodies of requests and answers, with the examples Swagger shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

REPORT = {
    "trigger": "scheduled",
    "triggers": {"xgboost": "Time-based: Last trained 8 days ago"},
    "triggered_at": "2024-12-31T00:00:00Z",
    "completed_at": "2024-12-31T00:00:04.3Z",
    "began_at": "2024-12-31T00:00:00.1Z",
    "ended_at": "2024-12-31T00:00:04.4Z",
    "duration_seconds": 4.3,
    "series_seconds": 4.2,
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
    "failed_models": [],
    "failures": {},
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
    "detail": "a retraining run is already in progress: r20241231_000000_1f3a (step 3 of 8: evaluating)",
    "run_id": "r20241231_000000_1f3a",
}
OVER = {
    "type": "urn:clm:error:illegal-transition",
    "title": "Conflict",
    "status": 409,
    "detail": "run r20241231_000000_1f3a is completed: it cannot become cancelled",
}
NOT_FOUND = {
    "type": "urn:clm:error:version-not-found",
    "title": "Not Found",
    "status": 404,
    "detail": "xgboost of BTCUSDT 1h has no version 'v1999'",
}
UNFIT = {
    "type": "urn:clm:error:not-certified",
    "title": "Conflict",
    "status": 409,
    "detail": "xgboost v1999 of BTCUSDT 1h has no leakage certificate (it has none); promoting it all the "
    "same has to be asked for",
}
AWAY = {
    "type": "urn:clm:error:database-unavailable",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "the database sqlite:///clm.db did not answer: database is locked",
}
UNKNOWN_HOST = {
    "type": "urn:clm:error:unknown-host",
    "title": "Bad Request",
    "status": 400,
    "detail": "this service does not answer to the name in the Host header; CLM_ALLOWED_HOSTS lists more",
}
BAD_EXCHANGE = {
    "type": "urn:clm:error:exchange-rejected",
    "title": "Bad Gateway",
    "status": 502,
    "detail": "http://127.0.0.1:8765 refused the request: Illegal characters found (code -1100)",
}
NO_KEY = {
    "type": "urn:clm:error:access-denied",
    "title": "Unauthorized",
    "status": 401,
    "detail": "no key was shown; this needs a key with the role read, as X-API-Key or Authorization: Bearer",
    "role_needed": "read",
}
WRONG_ROLE = {
    "type": "urn:clm:error:access-denied",
    "title": "Forbidden",
    "status": 403,
    "detail": "desk has the role read; this needs the role operate",
    "role_needed": "operate",
}
TOO_LONG = {
    "type": "urn:clm:error:body-too-long",
    "title": "Request Entity Too Large",
    "status": 413,
    "detail": "the body is longer than 1024 kB",
}
TOO_OFTEN = {
    "type": "urn:clm:error:too-many-requests",
    "title": "Too Many Requests",
    "status": 429,
    "detail": "too many requests that change something: come again in 31 s",
}


class RetrainRequest(BaseModel):
    """Which models to retrain. Without `force` only those whose trigger fires are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"models": ["xgboost"], "force": False}, {"models": None, "force": True}]
        },
    )
    models: list[str] | None = Field(
        None, min_length=1, max_length=100, description="model types; null: the configured ones"
    )
    force: bool = Field(False, strict=True, description="retrain whatever the triggers say")
    symbols: list[str] | None = Field(
        None, min_length=1, max_length=10_000, description="null: all that are watched"
    )
    intervals: list[str] | None = Field(
        None, min_length=1, max_length=12, description="candle lengths; null: all that are watched"
    )
    params: dict[str, dict[str, Any]] | None = Field(
        None, min_length=1, max_length=100,
        description="hyper-parameters per model type over the configured ones, for this run",
        examples=[{"xgboost": {"max_depth": 3}}],
    )  # fmt: skip


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
    attempt: int = Field(0, description="workers that have begun it", examples=[1])
    interruptions: list[dict[str, Any]] = Field(
        default_factory=list, description="how earlier attempts ended", examples=[[]]
    )
    request: dict[str, Any] | None = None


class TurnView(BaseModel):
    """One model of a series in a run."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["xgboost"])
    state: str = Field(
        description="queued, fetching, training, evaluating, promoted, continued, rejected, failed, not due, "
        "not reached, broken off",
        examples=["training"],
    )
    said: str | None = Field(description="why, or what is being done", examples=["training on 8,664 candles"])
    version: str | None = Field(description="the candidate, once there is one", examples=[None])


class LineView(BaseModel):
    """What a run said when."""

    at: str = Field(examples=["2024-12-31T00:00:01Z"])
    message: str = Field(examples=["training xgboost on 8,664 candles"])


class TurnsView(BaseModel):
    """A run, model by model, and the newest lines of what it said, oldest first."""

    run_id: str = Field(examples=["r20241231_000000_1f3a"])
    models: list[TurnView]
    log: list[LineView]


class StandingView(BaseModel):
    """One model type of one series: who reigns, who challenges, who is guarded."""

    symbol: str = Field(examples=["BTCUSDT"])
    interval: str = Field(examples=["1h"])
    model_type: str = Field(examples=["lightgbm"])
    policy: str = Field(examples=["evidence"])
    champion: dict[str, Any] | None = Field(
        examples=[{"version": "v20231231_020000", "since": "2023-12-31T02:00:00Z", "age_days": 7.0}]
    )
    challengers: list[dict[str, Any]] = Field(
        examples=[[{"version": "v20240107_020000", "e": 3.1, "e_needed": 20.0, "hours_to_go": 400.0}]]
    )
    guard: dict[str, Any] | None = Field(examples=[None])
    cool_down_until: str | None = Field(examples=[None])
    revised_candles: int = Field(description="scored candles the exchange revised later", examples=[0])


class TrialView(BaseModel):
    """One attempt at a better model."""

    model_type: str = Field(examples=["lightgbm"])
    version: str | None = Field(description="null where none came out", examples=["v20240107_020000"])
    recipe_id: str | None
    began_at: str = Field(examples=["2024-01-07T02:00:00Z"])
    outcome: str = Field(
        description="promoted, shadow, rejected, failed; of a search: searched, pruned, interrupted, failed",
        examples=["shadow"],
    )
    reason: str
    seconds: float = Field(description="what it cost", examples=[0.41])
    trigger: str | None = Field(examples=["Time-based: Last trained 7 days ago"])
    details: dict[str, Any]
    status: str | None = Field(description="of the version now", examples=["RETIRED"])
    fate: str | None = Field(
        description="label of the last decision about it: better, superseded, smoke, …",
        examples=["superseded"],
    )


class AuditView(BaseModel):
    """One thing that somebody changed, or was refused."""

    id: int = Field(examples=[7])
    at: str = Field(examples=["2024-12-31T00:00:00Z"])
    actor: str = Field(description="a key's name, local, stranger, or cli:user@host", examples=["desk"])
    role: str = Field(description="the actor's; empty: none", examples=["operate"])
    origin: str = Field(description="the address it came from", examples=["192.0.2.7"])
    action: str = Field(examples=["POST /api/clm/retrain"])
    detail: dict[str, Any] = Field(
        description="what was asked for, secrets masked", examples=[{"body": {"force": True}}]
    )
    result: str | None = Field(
        description="null: under way, or nobody lived to say how it ended",
        examples=["202 run_id=r20241231_000000_1f3a"],
    )


class AlertView(BaseModel):
    """One incident a human should hear of, however often it was noticed."""

    kind: str = Field(examples=["rollback"])
    symbol: str | None = Field(description="null: of no single series", examples=["BTCUSDT"])
    interval: str | None = Field(examples=["1h"])
    model_type: str = Field(description="empty: of no single model", examples=["lightgbm"])
    subject: str = Field(description="the version or run it is about", examples=["v20241231_000000"])
    title: str = Field(
        description="what happened and where", examples=["A promotion was taken back: BTCUSDT 1h lightgbm"]
    )
    message: str = Field(description="what happened and why")
    advice: str = Field(description="what to do", examples=["Look after the disk."])
    first_at: str = Field(examples=["2024-12-31T00:00:00Z"])
    last_at: str = Field(examples=["2024-12-31T00:00:00Z"])
    times: int = Field(examples=[1])
    closed_at: str | None = Field(description="since when it is over; null: it lasts")
    next_at: str | None = Field(description="when it is sent next; null: no more")
    attempts: int = Field(examples=[1])
    deliveries: dict[str, str | None] | None = Field(
        description="receiver → null where it has it, else why not", examples=[{"slack:1f3a5c7e": None}]
    )
    delivery: str = Field(
        description="waiting, retried, delivered, given up; unsent: CLM_ALERT_URLS names nobody, or it was "
        "told with another",
        examples=["delivered"],
    )
    severity: str = Field(description="info, warning or critical", examples=["warning"])


class CheckView(BaseModel):
    """One thing a service needs, and a sentence about it."""

    ok: bool
    reason: str = Field(examples=["the database answers"])


class ReadyView(BaseModel):
    """Whether the service can do its work. Strangers are told no more than the status."""

    status: str = Field(examples=["ready"])
    checks: dict[str, CheckView] | None = None


class Problem(BaseModel):
    """RFC 9457 problem document; further members depend on the error."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
