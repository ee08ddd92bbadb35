"""The leakage certificate: stored with every version, demanded before every promotion.

What a version may have seen, what it was judged on, and two experiments: do features change when the future
is cut off, and does the same recipe, trained on shuffled labels, still beat forecasting zero? Both must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.domain import TARGET, EvaluationResult, FloatArray, feature_columns
from clm.core.protocols import FeatureEngineer
from clm.core.timeline import Timeline
from clm.core.wire import jsonable

#: Rows whose features are computed again with nothing after them.
TRUNCATED_ROWS = 8
#: What `FeatureEngineer` promises for a row with `warmup` candles of history instead of all.
TRUNCATION_TOLERANCE = 1e-6
#: One-sided z of the canary's gain over zero that luck reaches once in a thousand trainings.
CANARY_Z = 3.09


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """purge_hours: between training and holdout. compared_candles: out-of-sample for candidate and champion;
    None without a champion. truncation: largest relative change of a feature, None where it could not be
    checked. canary_r2, canary_z: the canary's gain over zero on the holdout, and how many standard errors
    that is. problems: why it certifies nothing; empty when all is well.
    """

    train_start: datetime
    train_end: datetime
    purge_hours: float
    holdout_start: datetime
    holdout_end: datetime
    holdout_candles: int
    compared_candles: int | None
    truncation_rows: int
    truncation: float | None
    canary_r2: float | None
    canary_z: float | None
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> Mapping[str, Any]:
        """As stored with the version."""
        stored: dict[str, Any] = jsonable(asdict(self))
        return stored


def certify(
    *,
    timeline: Timeline,
    train_start: datetime,
    gap: timedelta,
    compared_candles: int | None,
    truncation: Truncation,
    holdout: EvaluationResult,
    canary: EvaluationResult | None,
) -> Certificate:
    """The certificate of a candidate; `problems` says what speaks against it.

    gap: measured on the rows used, from the moment the last training label was known to the first forecast
    that counts.
    """
    problems = []
    if gap < timeline.purge:
        problems.append(f"training ends {gap} before what it is judged on; the purge is {timeline.purge}")
    if truncation.deviation is None:
        problems.append("no feature row could be computed again without the candles after it")
    elif truncation.deviation > TRUNCATION_TOLERANCE:
        problems.append(
            f"feature {truncation.feature} changes by {truncation.deviation:.1e} when the future is cut off"
        )
    # A canary that found nothing to learn forecasts zero, and cannot beat it.
    r2, z = _gain_over_zero(canary) if canary is not None else (0.0, None)
    if z is not None and z > CANARY_Z:
        problems.append(
            f"trained on shuffled labels the recipe still beats forecasting zero (R² {r2:+.2%}, "
            f"z = {z:.1f}): something tells it the outcome"
        )
    return Certificate(
        train_start=train_start,
        train_end=timeline.refit.end,
        purge_hours=timeline.purge / timedelta(hours=1),
        holdout_start=timeline.holdout.start,
        holdout_end=timeline.holdout.end,
        holdout_candles=holdout.n_samples,
        compared_candles=compared_candles,
        truncation_rows=truncation.rows,
        truncation=truncation.deviation,
        canary_r2=r2,
        canary_z=z,
        problems=tuple(problems),
    )


@dataclass(frozen=True, slots=True)
class Truncation:
    """rows: how many were computed again. deviation: the largest change of a feature, of its own size there
    or of its spread over all rows, whichever is larger; feature: where.
    """

    rows: int
    deviation: float | None
    feature: str | None


def check_truncation(engineer: FeatureEngineer, candles: pd.DataFrame, features: pd.DataFrame) -> Truncation:
    """Computes some rows of `features` again from candles that end with them, and compares."""
    names = feature_columns(features.columns)
    opens = pd.DatetimeIndex(candles.index)
    checked, worst, where = 0, 0.0, None
    # What is zero but for rounding changes by all of itself: a leak changes a feature by some of its spread.
    spread = np.array([np.nanstd(features[name].to_numpy(dtype=np.float64)) for name in names])
    for at in np.unique(np.linspace(0, len(features) - 2, TRUNCATED_ROWS).astype(int)):
        time = features.index[at]
        end = int(opens.get_indexer(pd.DatetimeIndex([time]))[0]) + 1
        known = candles.iloc[max(0, end - engineer.warmup - 2) : end]
        again = engineer.transform(known)
        if time not in again.index:
            continue
        now, then = (_row(frame, time, names) for frame in (features, again))
        change = np.abs(now - then) / np.maximum(np.maximum(np.abs(now), spread), 1e-12)
        # What is undefined must be so both times.
        change = np.where(np.isnan(now) & np.isnan(then), 0.0, np.nan_to_num(change, nan=np.inf))
        checked += 1
        if change.max() > worst:
            worst, where = float(change.max()), str(names[int(change.argmax())])
    return Truncation(checked, worst if checked else None, where)


def _row(frame: pd.DataFrame, time: Any, names: Sequence[str]) -> FloatArray:
    """The features of one row. By position: to take columns of a whole frame first would copy it."""
    row = frame.iloc[int(frame.index.get_indexer(pd.Index([time]))[0])].to_numpy(dtype=np.float64)
    values: FloatArray = row[frame.columns.get_indexer(pd.Index(names))]
    return values


def shuffled_labels(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`rows` with their targets permuted: nothing is left to learn."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.assign(**{TARGET: rows[TARGET].to_numpy()[order]})


def _gain_over_zero(result: EvaluationResult) -> tuple[float | None, float | None]:
    """R² against zero, winsorised and normalised, and its z."""
    known = np.maximum(result.scale, 1e-12)
    surprise = np.clip(result.actual - result.forecast / 2, -3 * known, 3 * known)
    gain = 2 * result.forecast * surprise / known**2
    zero = float(np.minimum((result.actual / known) ** 2, 9.0).mean())
    variance = scoring.long_run_variance(gain)
    if variance is None or zero <= 0:
        return None, None
    return float(gain.mean() / zero), float(gain.mean() / np.sqrt(variance / len(gain)))
