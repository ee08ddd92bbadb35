"""Windows of a cycle, for any lengths and any moment."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clm.core.domain import INTERVALS, TARGET
from clm.core.errors import InvalidSetting
from clm.core.timeline import MIN_COMPARED, MIN_ROWS, TimelineRule, Window

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


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@given(MOMENTS, RULES, st.integers(1, 3000))
def test_where_half_of_what_there_is_has_room_nothing_adapts(
    moment: datetime, rule: TimelineRule, younger: int
) -> None:
    reserved = rule.holdout + rule.shadow + rule.purge
    span = max(rule.lookback - younger * HOUR, 2 * reserved, reserved + MIN_ROWS * HOUR)

    rule = replace(rule, lookback=max(rule.lookback, span))
    line = rule.at(moment, HOUR, rule.at(moment, HOUR).now - span)

    assert line == rule.at(moment, HOUR)
    assert rule.as_at(line) == rule


@given(
    MOMENTS, st.integers(14 * 24, 90 * 24), st.integers(0, 90 * 24), st.integers(2, 90), st.integers(1, 200),
    st.sampled_from(["5m", "15m", "1h"]),
)  # fmt: skip
def test_windows_adapt_to_a_fortnight_and_more_and_leave_enough_to_train_and_to_judge_on(
    moment: datetime, lookback: int, history: int, holdout: int, purge: int, interval: str
) -> None:
    step = INTERVALS[interval]
    rule = TimelineRule(lookback=lookback * HOUR, holdout=holdout * DAY, purge=purge * HOUR)
    assume(2 * (rule.holdout + rule.shadow + rule.purge) > rule.lookback or purge <= 24)
    rule.require(step)
    now = rule.at(moment, step).now
    span = min(rule.lookback, max(history * HOUR, rule.least(step)))

    line = rule.at(moment, step, now - span)

    rows = [(w.end - max(w.start, now - span)) // step for w in (line.fit, line.holdout, line.refit)]
    assert rows[0] >= MIN_ROWS
    assert rows[1] >= MIN_COMPARED
    assert rows[2] >= rows[0]
    assert line.fit.end + line.purge == line.holdout.start
    assert line.refit.end + line.purge == line.shadow.start == line.holdout.end
    assert line.purge <= rule.purge
    assert line.holdout.end - line.holdout.start <= rule.holdout
    # What is stored of it makes the training window again, whatever the history was.
    assert rule.as_at(line).at(moment, step).refit == line.refit


def test_a_month_with_the_defaults_keeps_half_for_the_holdout_the_shadow_and_the_purge() -> None:
    line = TimelineRule(lookback=30 * DAY).at(datetime(2024, 6, 1, tzinfo=UTC), HOUR)

    assert (line.holdout.end - line.holdout.start, line.purge) == (13 * DAY, 1 * DAY)
    assert line.fit.end - line.fit.start == 15 * DAY


@pytest.mark.parametrize(
    ("given", "interval", "named"),
    [
        (
            {"lookback": 12 * DAY},
            "1h",
            r"training_lookback_days: 12\.0 .* at least 12\.3: 220 candles of 1h",
        ),
        ({"lookback": 90 * DAY}, "1d", r"training_lookback_days: 90\.0 .* at least 252: 220 candles of 1d"),
        ({"purge": HOUR, "horizon": 2}, "1h", r"purge_hours: 1\.0 .* at least the label's, 2"),
        ({"shadow": 12 * HOUR}, "1d", r"shadow_test_hours: 12\.0 .* at least 24"),
        ({"holdout": 29 * HOUR}, "1h", r"holdout_days: 1\.2\d* .* at least 1\.25, 30 candles of 1h"),
    ],
    ids=["too-short", "too-coarse", "purge", "shadow", "holdout"],
)
def test_what_could_never_succeed_is_refused_by_the_settings_name(
    given: dict[str, Any], interval: str, named: str
) -> None:
    with pytest.raises(InvalidSetting, match=named):
        TimelineRule(**given).require(INTERVALS[interval])


@given(
    days=st.floats(0.001, 400), holdout=st.floats(0.001, 60), shadow=st.floats(0.01, 9000),
    purge=st.floats(0.01, 200), interval=st.sampled_from(["1m", "5m", "15m", "1h", "4h", "1d"]),
)  # fmt: skip
def test_what_a_refusal_calls_enough_is_enough(
    days: float, holdout: float, shadow: float, purge: float, interval: str
) -> None:
    told = {"training_lookback_days": days, "holdout_days": holdout, "shadow_test_hours": shadow,
            "purge_hours": purge}  # fmt: skip
    for _ in range(len(told) + 1):
        rule = TimelineRule(
            lookback=told["training_lookback_days"] * DAY, holdout=told["holdout_days"] * DAY,
            shadow=told["shadow_test_hours"] * HOUR, purge=told["purge_hours"] * HOUR,
        )  # fmt: skip
        try:
            rule.require(INTERVALS[interval])
        except InvalidSetting as refused:
            said = str(refused)
            name = said.partition(":")[0].removeprefix("CLM_").lower()
            (enough,) = re.findall(r"at least (?:the label's, )?(\d+(?:\.\d+)?(?:e-\d+)?)", said)
            assert told[name] < float(enough), said
            told[name] = float(enough)
        else:
            return
    raise AssertionError(f"refused again and again: {told}")


def test_a_fortnight_of_hours_is_enough_whatever_the_rest_says() -> None:
    TimelineRule(lookback=14 * DAY).require(HOUR)
    TimelineRule(lookback=14 * DAY, holdout=300 * DAY, purge=300 * DAY).require(HOUR)


def test_a_purge_shorter_than_the_label_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="purge"):
        TimelineRule(purge=timedelta(hours=1), horizon=2).at(
            datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1)
        )


def _frame(now: datetime, step: timedelta, start: datetime) -> pd.DataFrame:
    index = pd.date_range(start - 5 * step, now - step, freq=step, name="open_time")
    return pd.DataFrame({TARGET: 0.1}, index=index)
