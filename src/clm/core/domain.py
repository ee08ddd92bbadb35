"""The words of this house: frozen records and enums, no behaviour beyond arithmetic on themselves.

Times are timezone-aware UTC. A *row* of a feature frame is labelled by the `open_time` of its candle; its
forecast is made when that candle closes (`open_time + step`) and its target is known one horizon later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clm.core.ambit import Part
from clm.core.errors import BadInput, UnknownInterval

if TYPE_CHECKING:
    from clm.core.protocols import TrainedModel

FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]
FloatMatrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
#: One candle's features, of shape (n_features,).
FeatureRow = np.ndarray[tuple[int], np.dtype[np.float32]]

#: Columns of a candle frame besides its index `open_time`.
CANDLE_COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "trades")
#: Last column of a feature frame: log return of the next `horizon` candles; NaN where not yet known.
TARGET = "target"
#: The feature every scale-aware part reads: EWMA volatility of log returns, per candle, known at its close.
SCALE = "volatility_ewma"

#: `feature@k`: what a feature was k candles before; for models that look back over a window of their own.
_PAST = "@"


def feature_columns(columns: Iterable[object]) -> list[str]:
    """The columns of a feature frame that are features, in their order."""
    return [str(name) for name in columns if name != TARGET]


def past_name(feature: str, lag: int) -> str:
    """The column of what `feature` was so many candles ago."""
    return f"{feature}{_PAST}{lag}"


def feature_of(name: str) -> str:
    """The feature whose past a column holds; a feature itself where it holds none."""
    return name.partition(_PAST)[0]


def is_past(name: str) -> bool:
    """Whether a column holds a feature's past; its distribution is the feature's own."""
    return _PAST in name


def longest_past(names: Iterable[str]) -> dict[str, int]:
    """Feature → how many candles of it those columns look back on, the present one included."""
    found: dict[str, int] = {}
    for name in names:
        if is_past(name):
            feature, _, lag = name.partition(_PAST)
            found[feature] = max(found.get(feature, 1), int(lag) + 1)
    return found


def longest(pasts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What several look back on, together."""
    found: dict[str, int] = {}
    for past in pasts:
        for feature, candles in past.items():
            found[feature] = max(found.get(feature, 1), candles)
    return found


INTERVALS: Mapping[str, timedelta] = {
    "1m": timedelta(minutes=1), "3m": timedelta(minutes=3), "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15), "30m": timedelta(minutes=30), "1h": timedelta(hours=1),
    "2h": timedelta(hours=2), "4h": timedelta(hours=4), "6h": timedelta(hours=6),
    "8h": timedelta(hours=8), "12h": timedelta(hours=12), "1d": timedelta(days=1),
}  # fmt: skip


#: How an exchange's market is named: some are called in Chinese.
SYMBOL = r"(?:[A-Z0-9]|[^\W\x00-\x7f]){2,20}"
#: The same for readers to whom a letter is one of ASCII, and a little wider.
SYMBOL_OF_JSON_SCHEMA = r"^[A-Z0-9\u0080-\uffff]{2,20}$"


class ModelType(StrEnum):
    """The four families the guide names. Third-party families are plain strings beside them."""

    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    NHITS = "nhits"
    PATCHTST = "patchtst"


class VersionStatus(StrEnum):
    """CANDIDATE → (SHADOW) → ACTIVE → RETIRED; a rollback makes a RETIRED version ACTIVE again."""

    CANDIDATE = "CANDIDATE"
    SHADOW = "SHADOW"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class Outcome(StrEnum):
    """What a decision says of a candidate."""

    PROMOTE = "PROMOTE"
    CONTINUE = "CONTINUE"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One market at one candle interval, e.g. `Series("BTCUSDT", "1h")`."""

    symbol: str
    interval: str

    def __post_init__(self) -> None:
        if not re.fullmatch(SYMBOL, self.symbol):
            raise BadInput(
                "symbol", self.symbol, "2 to 20 capital letters and digits, of any script, such as BTCUSDT"
            )
        if self.interval not in INTERVALS:
            raise UnknownInterval("interval", self.interval, ", ".join(INTERVALS))

    @property
    def step(self) -> timedelta:
        """Length of one candle."""
        return INTERVALS[self.interval]

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """One version of one model: what it is, what it was made from, how it fared.

    model: the trained model while in memory, None when only the registry row was read (see
    `ModelRegistry.load_model`). train_start, train_end: first candle used and the moment the last label
    used became known. training_samples: rows. metrics: on the holdout, see `EvaluationResult.metrics`.
    replaced_version: the champion it took over from. certificate, profile, origin: see the modules of
    `clm.core` that are called so; None: none. quarantined_at, quarantine_reason: its file was found missing
    or altered. pruned_at: its file was put away by retention; the row and its evidence stay. known_answer:
    see `clm.core.answers`; None: of a version from before there were any.
    """

    series: Series
    model_type: str
    version: str
    trained_at: datetime
    train_start: datetime
    train_end: datetime
    training_samples: int
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    recipe_id: str = ""
    feature_schema_hash: str = ""
    data_fingerprint: str = ""
    library_versions: Mapping[str, str] = field(default_factory=dict)
    parent_version: str | None = None
    notes: str = ""
    status: VersionStatus = VersionStatus.CANDIDATE
    file_path: str | None = None
    artifact_sha256: str | None = None
    promoted_at: datetime | None = None
    retired_at: datetime | None = None
    replaced_version: str | None = None
    certificate: Mapping[str, Any] | None = None
    quarantined_at: datetime | None = None
    quarantine_reason: str | None = None
    pruned_at: datetime | None = None
    profile: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    origin: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    known_answer: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    model: TrainedModel | None = field(default=None, repr=False, compare=False)

    @property
    def pooled(self) -> bool:
        """Whether it was trained over the rows of several series (`clm.core.pooling`)."""
        return bool(self.origin and self.origin.get("pooled"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """Forecasts of one model on hours it was not trained on, and what they were worth.

    times: decision rows (`open_time`), ascending; forecast, actual, scale: float64 arrays of their length
    (log returns; scale is the volatility known at forecast time). metrics: rmse, mae,
    directional_accuracy, hit_rate, r2 (against forecasting zero), r2_normalised, correlation, bias,
    error_std; None where undefined. by_regime: the same for low, normal and high volatility.
    """

    model_type: str
    role: str
    start: datetime
    end: datetime
    n_samples: int
    metrics: Mapping[str, float | None]
    by_regime: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    times: pd.DatetimeIndex = field(repr=False, compare=False, kw_only=True)
    forecast: FloatArray = field(repr=False, compare=False, kw_only=True)
    actual: FloatArray = field(repr=False, compare=False, kw_only=True)
    scale: FloatArray = field(repr=False, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate against champion on the hours that are out-of-sample for both.

    hours: rows compared. mse_gain: relative gain of variance-normalised squared error (0.02 = the
    candidate's is 2 % smaller). direction_gain: relative gain of directional accuracy. dm_p_value:
    one-sided Diebold-Mariano p-value for "the candidate is not better". None where hours are too few.
    """

    hours: int
    mse_gain: float | None
    direction_gain: float | None
    dm_p_value: float | None
    candidate_metrics: Mapping[str, float | None] = field(default_factory=dict)
    champion_metrics: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTestResult:
    """Candidate and champion side by side over the last hours, replayed candle by candle.

    Errors are RMSE/MAE in log return; differences are candidate minus champion (negative is better).
    ks_statistic, ks_p_value: two-sample Kolmogorov-Smirnov over the two forecasts' distributions.
    mse_ratio: variance-normalised MSE of candidate over champion. champion figures are None without one.
    """

    model_type: str
    start: datetime
    end: datetime
    hours: float
    n_samples: int
    candidate_rmse: float
    candidate_mae: float
    candidate_directional_accuracy: float | None
    active_rmse: float | None = None
    active_mae: float | None = None
    active_directional_accuracy: float | None = None
    rmse_difference: float | None = None
    mae_difference: float | None = None
    mse_ratio: float | None = None
    ks_statistic: float | None = None
    ks_p_value: float | None = None
    passed: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about a candidate, by which rule, and why, in words and in numbers.

    inputs: what `clm.core.recompute` needs besides stored rows to decide the same again; empty where a human
    decided. decision_id: set once stored.
    """

    model_type: str
    candidate_version: str
    champion_version: str | None
    outcome: Outcome
    label: str
    policy: str
    reason: str
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
    decided_by: str = "policy"
    decided_at: datetime | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    decision_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a cycle has begun. done and total count steps of the whole cycle.

    part: how far that step is by itself, where it takes long enough to say so.
    """

    step: str
    message: str
    done: int
    total: int
    model_type: str | None = None
    series: Series | None = None
    part: Part | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainReport:
    """What one cycle of one series did.

    trigger: `manual` where it was forced, else why it was due, in a sentence; triggers: that of each model
    type that was looked at, None where nothing fired. triggered_at, completed_at: the exchange's time;
    began_at, ended_at: the machine's, which an accelerated exchange runs away from. duration_seconds: by the
    machine's clock. failures: model type that failed → cause.
    """

    series: Series
    trigger: str
    triggers: Mapping[str, str | None]
    triggered_at: datetime
    completed_at: datetime
    began_at: datetime
    ended_at: datetime
    duration_seconds: float
    models_trained: tuple[str, ...] = ()
    promoted_models: tuple[str, ...] = ()
    evaluations: tuple[EvaluationResult, ...] = ()
    shadow_tests: tuple[ShadowTestResult, ...] = ()
    decisions: tuple[Decision, ...] = ()
    failed_models: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def utc(moment: datetime | pd.Timestamp) -> datetime:
    """`moment` as a plain aware datetime in UTC. Raises BadInput for a naive one, and one before year 1."""
    if moment.tzinfo is None:
        raise BadInput("time", moment.isoformat(), "a time with a timezone, such as 2024-12-31T00:00:00Z")
    plain = moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment
    try:
        return plain.astimezone(UTC)
    except OverflowError as exc:
        raise BadInput("time", moment.isoformat(), "a time within the years 1 to 9999 of UTC") from exc


def version_name(moment: datetime, taken: frozenset[str] = frozenset()) -> str:
    """`vYYYYMMDD_HHMMSS` of `moment` (UTC), with a suffix `_2`, `_3`, … where that is taken."""
    base = f"v{utc(moment):%Y%m%d_%H%M%S}"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}_{n}"
    return name


def fingerprint(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each framed by its length so that they cannot run into one another."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def candles_fingerprint(candles: pd.DataFrame) -> str:
    """SHA-256 of a candle frame's stamps and values, independent of how pandas stores them."""
    return candles_fingerprints(candles)(0, len(candles))


def candles_fingerprints(candles: pd.DataFrame) -> Callable[[int, int], str]:
    """(first, end) → `candles_fingerprint(candles.iloc[first:end])`; the frame is unpacked once for all."""
    stamps = pd.DatetimeIndex(candles.index).as_unit("ms").asi8.astype("<i8")
    values = np.ascontiguousarray(candles[list(CANDLE_COLUMNS)].to_numpy(dtype="<f8"))
    return lambda first, end: fingerprint(stamps[first:end].tobytes(), values[first:end].tobytes())
