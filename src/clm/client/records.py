"""The answers people use most, as frozen records. Times are aware datetimes in UTC.

A service newer than this client may say more: `raw` holds the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from clm.client.errors import UnexpectedAnswer

T = TypeVar("T")
_Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A forecast of the candle after the newest closed one; act on it only where `usable`.

    forecast, interval_lower, interval_upper, volatility: log returns of that candle, 0.001 ≈ 0.1 %.
    close, implied_price, price_lower, price_upper: in the quote currency. interval_level, interval_coverage:
    shares, 0.9 = 90 %, nominal and as measured over `interval_coverage_candles`. model_age_days: days;
    data_age_seconds: seconds since the newest candle closed. candle_close_time: when it was made;
    target_close_time: when it comes true or not. None: the service has no such value, `reasons` says why.
    """

    symbol: str
    interval: str
    model: str
    version: str | None
    candle_open_time: datetime | None
    candle_close_time: datetime | None
    target_close_time: datetime | None
    forecast: float | None
    direction: str | None
    usable: bool
    reasons: list[str]
    close: float | None = None
    implied_price: float | None = None
    interval_lower: float | None = None
    interval_upper: float | None = None
    interval_level: float | None = None
    price_lower: float | None = None
    price_upper: float | None = None
    interval_coverage: float | None = None
    interval_coverage_candles: int = 0
    volatility: float | None = None
    model_age_days: float | None = None
    data_age_seconds: float | None = None
    champion_state: str = "none"
    problem: str | None = None
    champion_since: datetime | None = None
    out_of_distribution: float | None = None
    out_of_distribution_limit: float | None = None
    weights: Mapping[str, float] | None = None
    experiment: Mapping[str, str] | None = None
    artifact_sha256: str | None = None
    answered_at: datetime | None = None
    raw: _Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: `done` of `total` steps, the step's name, and a sentence."""

    done: int
    total: int
    step: str
    message: str
    raw: _Raw = field(default_factory=dict, repr=False, compare=False)

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. status: running, completed, failed, cancelled or interrupted.

    error: why it failed, a sentence; a completed run may still name models that failed, in
    `report["failed_models"]`, and why in `report["failures"]`. report: None until it has ended. attempt:
    workers that have begun it.
    """

    run_id: str
    status: str
    progress: Progress | None = None
    report: Mapping[str, Any] | None = None
    error: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 0
    request: Mapping[str, Any] | None = None
    raw: _Raw = field(default_factory=dict, repr=False, compare=False)

    @property
    def completed(self) -> bool:
        """It came to its end by itself and without an error."""
        return self.status == "completed"

    @property
    def over(self) -> bool:
        """Nothing more happens to it; one that was interrupted may be taken up again and is not over."""
        return self.status in ("completed", "failed", "cancelled")

    @property
    def promoted(self) -> list[str]:
        """Model types that have a new champion by this run."""
        return list((self.report or {}).get("promoted_models", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a model type. status: CANDIDATE, SHADOW, ACTIVE or RETIRED.

    metrics: by name; rmse and mae in log return, directional_accuracy a share. training_samples: candles.
    """

    symbol: str
    interval: str
    model_type: str
    version: str
    status: str
    trained_at: datetime
    promoted_at: datetime | None = None
    retired_at: datetime | None = None
    metrics: Mapping[str, float | None]
    training_samples: int = 0
    artifact_sha256: str | None = None
    notes: str = ""
    raw: _Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about a candidate. outcome: PROMOTE, CONTINUE or REJECT; reason: a sentence.

    label: first, better, refresh, guard, evidence, …; decided_by: policy, guard, user or lifecycle.
    """

    id: int
    model_type: str
    candidate_version: str
    champion_version: str | None
    outcome: str
    label: str
    policy: str
    reason: str
    decided_by: str
    decided_at: datetime
    numbers: Mapping[str, Any]
    raw: _Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedDecision(Decision):
    """A decision that was decided again from the stored rows.

    recomputed: it could be (a human's cannot); same: it came to the same; bets: candles settled again.
    """

    symbol: str
    interval: str
    inputs: Mapping[str, Any]
    recomputed: bool
    same: bool
    differences: list[str]
    bets: int


def read(kind: type[T], answer: Any) -> T:
    """`answer` as a record. Raises UnexpectedAnswer where a field it needs is missing or no time."""
    answer = mapping(answer)
    found: dict[str, Any] = {"raw": answer}
    for of in fields(kind):  # type: ignore[arg-type]  # every T is a record of this file
        if of.name in answer:
            value = answer[of.name]
            # Annotations are text here.
            is_time = value is not None and str(of.type).startswith("datetime")
            found[of.name] = _time(of.name, value) if is_time else value
        elif of.default is MISSING and of.default_factory is MISSING:
            raise UnexpectedAnswer(f"the answer has no {of.name!r}, which a {kind.__name__} has")
    if found.get("progress") is not None:
        found["progress"] = read(Progress, found["progress"])
    return kind(**found)


def mapping(answer: Any, *needed: str) -> dict[str, Any]:
    """`answer`, a JSON object that has these fields. Raises UnexpectedAnswer."""
    if not isinstance(answer, dict) or any(name not in answer for name in needed):
        due = f"an object with {', '.join(needed)}" if needed else "an object"
        raise UnexpectedAnswer(f"the service answered {str(answer)[:80]!r} where {due} was due")
    return answer


def mappings(answer: Any) -> list[dict[str, Any]]:
    """`answer`, a JSON array of objects. Raises UnexpectedAnswer."""
    if not isinstance(answer, list):
        raise UnexpectedAnswer(f"the service answered {str(answer)[:80]!r} where a list was due")
    return [mapping(item) for item in answer]


def _time(name: str, value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as exc:
        raise UnexpectedAnswer(f"{name}: {value!r} is no time") from exc
