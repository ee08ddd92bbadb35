"""Windows of a cycle, for any lengths and any moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import INTERVALS, TARGET
from clm.core.errors import InvalidSetting
from clm.core.timeline import TimelineRule, Window

MOMENTS = st.datetimes(datetime(2018, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
RULES = st.builds(
    lambda holdout, shadow, purge, extra: TimelineRule(
        holdout=timedelta(hours=holdout),
        shadow=timedelta(hours=shadow),
        purge=timedelta(hours=purge),
        lookback=2 * timedelta(hours=holdout + shadow + purge) + timedelta(hours=extra),
    ),
    st.integers(1, 800), st.integers(1, 100), st.integers(24, 100), st.integers(0, 5000),
)  # fmt: skip


@given(MOMENTS, RULES, st.sampled_from(sorted(INTERVALS)))
def test_windows_follow_one_another_and_end_at_the_last_closed_candle(
    moment: datetime, rule: TimelineRule, interval: str
) -> None:
    step = INTERVALS[interval]

    line = rule.at(moment, step)

    assert moment - step < line.now <= moment
    assert line.fit.start == line.now - rule.lookback
    assert line.fit.end + rule.purge == line.holdout.start
    assert line.holdout.end == line.shadow.start == line.refit.end + rule.purge
    assert line.shadow.end == line.now


@given(MOMENTS, RULES, st.integers(1, 5))
def test_no_candle_is_used_on_both_sides_of_a_purge(
    moment: datetime, rule: TimelineRule, horizon: int
) -> None:
    """The last candle a training label touches closes at least a purge before the first judged forecast."""
    step = timedelta(hours=1)
    line = rule.at(moment, step)
    frame = _frame(line.now, step, line.now - rule.lookback)

    for training, judged in ((line.fit, line.holdout), (line.refit, line.shadow)):
        trained = training.rows(frame, step, horizon)
        scored = judged.rows(frame, step, horizon)
        if trained.empty or scored.empty:
            continue
        last_label_known = trained.index[-1] + (1 + horizon) * step
        first_forecast = scored.index[0] + step
        assert last_label_known <= training.end
        assert first_forecast - last_label_known >= rule.purge


@given(MOMENTS, st.integers(0, 1000))
def test_a_champion_is_judged_only_after_its_own_training_end_and_purge(moment: datetime, age: int) -> None:
    rule, step = TimelineRule(), timedelta(hours=1)
    line = rule.at(moment, step)
    train_end = line.now - timedelta(hours=age)

    rows = line.out_of_sample(train_end).rows(_frame(line.now, step, line.now - rule.lookback), step)

    assert all(rows.index + step >= train_end + rule.purge)
    assert len(rows) <= 720


def test_a_row_whose_outcome_is_unknown_is_in_no_window() -> None:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    frame = _frame(now, timedelta(hours=1), now - timedelta(hours=48))
    frame.iloc[10, 0] = np.nan

    rows = Window(now - timedelta(hours=48), now).rows(frame, timedelta(hours=1))

    assert frame.index[10] not in rows.index
    assert len(rows) == 47


@pytest.mark.parametrize("name", ["lookback", "holdout", "shadow", "purge"])
@pytest.mark.parametrize("value", [timedelta(0), timedelta(days=-1)])
def test_a_window_without_length_is_refused_by_name(name: str, value: timedelta) -> None:
    with pytest.raises(InvalidSetting, match=name):
        TimelineRule(**{name: value})


def test_a_lookback_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="twice holdout"):
        TimelineRule(lookback=timedelta(days=60))


def test_a_purge_shorter_than_the_label_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="purge"):
        TimelineRule(purge=timedelta(hours=1), horizon=2).at(
            datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
        )


def _frame(now: datetime, step: timedelta, start: datetime) -> pd.DataFrame:
    index = pd.date_range(start - 5 * step, now - step, freq=step, name="open_time")
    return pd.DataFrame({TARGET: 0.1}, index=index)
