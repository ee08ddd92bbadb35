"""Intervals cover what they say, whatever the market does; and they know nothing of the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.errors import BadInput
from clm.core.intervals import STEP, IntervalTracker
from clm.core.variance import variance_after
from tests.support.candles import real_candles

T0 = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _walk(scores: list[float], level: float = 0.9) -> IntervalTracker:
    tracker = IntervalTracker(level)
    for k, score in enumerate(scores):
        tracker = tracker.after(0.0, 1.0, T0 + k * HOUR, score)
    return tracker


@given(st.lists(st.floats(-8, 8), min_size=200, max_size=600), st.sampled_from([0.8, 0.9, 0.95]))
def test_coverage_holds_on_any_sequence_up_to_its_bound(scores: list[float], level: float) -> None:
    tracker = _walk(scores, level)

    # q·f cannot exceed the largest score by more than a step; f is at least what one hour of silence leaves.
    most = 8 / min(tracker.factors) + STEP
    assert tracker.coverage is not None
    assert tracker.coverage >= level - (most + STEP) / (STEP * len(scores))


@pytest.mark.parametrize("name", ["BTCUSDT-1h", "ETHUSDT-1h", "SOLUSDT-1h"])
def test_ninety_percent_is_ninety_percent_in_every_quarter_of_2024_and_at_every_hour(name: str) -> None:
    candles = real_candles(name, start="2023-06-01", end="2024-12-31 23:00")
    returns = np.log(candles["close"]).diff().shift(-1)
    sigma = np.sqrt(variance_after(candles))
    tracker, inside = IntervalTracker(), {}
    for time, r, s in zip(candles.index[:-1], returns.iloc[:-1], sigma.iloc[:-1], strict=True):
        made_at = time.to_pydatetime() + HOUR
        interval = tracker.around(0.0, float(s), made_at)
        inside[made_at] = interval.lower <= r <= interval.upper
        tracker = tracker.after(0.0, float(s), made_at, float(r))
    covered = pd.Series(inside).loc["2024"]

    quarters = covered.resample("QS").mean().iloc[:4]
    hours = covered.groupby(covered.index.hour).mean()

    assert quarters.between(0.87, 0.93).all(), quarters
    assert hours.between(0.85, 0.95).all(), hours


def test_an_interval_knows_only_what_has_happened() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_t(4, 500).tolist()

    one, other = _walk(scores[:300]), _walk([*scores[:300], *(10 * x for x in scores[300:])])
    before = [_walk(scores[:k]).around(0.001, 0.01, T0 + k * HOUR) for k in (0, 100, 300)]

    assert before[2] == one.around(0.001, 0.01, T0 + 300 * HOUR)
    assert other.quantile != one.quantile


def test_it_widens_where_the_market_does_and_more_in_stormy_hours_than_in_calm_ones() -> None:
    calm = _walk([0.5] * 400)
    storm = _walk([0.5] * 200 + [3.0] * 200)
    by_hour = IntervalTracker()
    for k in range(2400):
        by_hour = by_hour.after(0.0, 1.0, T0 + k * HOUR, 3.0 if k % 24 == 14 else 0.5)

    assert _width(storm, 0) > 2 * _width(calm, 0)
    assert _width(by_hour, 14) > 3 * _width(by_hour, 3)


def test_an_outcome_counts_once_and_in_its_time() -> None:
    tracker = _walk([1.0, 2.0, 0.5])

    assert tracker.after(0.0, 1.0, T0, 9.0) is tracker
    assert tracker.candles == 3


@given(st.lists(st.floats(-5, 5), max_size=60))
def test_it_survives_being_written_down(scores: list[float]) -> None:
    tracker = _walk(scores)

    assert IntervalTracker.from_json(tracker.to_json()) == tracker


@pytest.mark.parametrize("level", [0.4, 1.0, -1.0])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(BadInput, match="level"):
        IntervalTracker(level)


def _width(tracker: IntervalTracker, hour: int) -> float:
    interval = tracker.around(0.0, 1.0, T0 + hour * HOUR)
    return interval.upper - interval.lower
