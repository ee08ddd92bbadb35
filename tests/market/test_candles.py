"""What is no candle frame is refused row by row; what is mended is said; gaps are told, never filled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.core.errors import InvalidCandles
from clm.market.candles import Gap, empty_candles, find_gaps, repair, validate
from tests.support.candles import random_walk, real_candles

HOURLY = Series("BTCUSDT", "1h")


def _with(row: int, **values: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(candles: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            candles[name] = candles[name].astype(np.float64)
            candles.iloc[row, candles.columns.get_loc(name)] = value
        return candles

    return change


def _stamped(row: int, stamp: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(candles: pd.DataFrame) -> pd.DataFrame:
        times = candles.index.to_list()
        times[row] = pd.Timestamp(stamp, tz="UTC")
        return candles.set_axis(pd.DatetimeIndex(times, name="open_time"))

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_with(5, close=np.nan), "2024-01-01T05:00:00Z: a value is missing or not finite"),
        (_with(5, volume=np.inf), "2024-01-01T05:00:00Z: a value is missing or not finite"),
        (_with(5, low=-1), "2024-01-01T05:00:00Z: a price is not positive"),
        (_with(5, low=0), "2024-01-01T05:00:00Z: a price is not positive"),
        (_with(5, volume=-1), "2024-01-01T05:00:00Z: an amount is negative"),
        (_with(5, high=1), "2024-01-01T05:00:00Z: high is below open or close"),
        (_with(5, low=1e9, high=2e9), "2024-01-01T05:00:00Z: low is above open or close"),
        (_with(5, taker_buy_base=1e9), "2024-01-01T05:00:00Z: takers bought more than was traded"),
        (_stamped(5, "2024-01-01 05:28:14.789"), "stamped off the 1h grid"),
        (_stamped(5, "2024-01-01 04:00"), "2024-01-01T04:00:00Z: stamped like an earlier candle"),
        (_stamped(5, "2023-12-31 04:00"), "2023-12-31T04:00:00Z: out of order"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_and_can_be_left_out(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    candles = spoil(random_walk(20))

    with pytest.raises(InvalidCandles) as refused:
        validate(candles, HOURLY)
    mended, report = repair(candles, HOURLY)

    assert said in str(refused.value)
    assert any(said in row for row in refused.value.rows)
    validate(mended, HOURLY)
    if "order" not in said:
        assert report.dropped == refused.value.rows
        assert len(mended) == 19


@pytest.mark.parametrize(
    "frame",
    [
        random_walk(5).drop(columns=["trades", "low"]),
        random_walk(5).reset_index(drop=True),
        random_walk(5).tz_localize(None),
        random_walk(5).tz_convert("Europe/Berlin"),
    ],
    ids=["columns missing", "no times", "times without zone", "times of another zone"],
)
def test_what_is_no_candle_frame_at_all_is_refused_even_for_repair(frame: pd.DataFrame) -> None:
    with pytest.raises(InvalidCandles):
        validate(frame, HOURLY)
    with pytest.raises(InvalidCandles):
        repair(frame, HOURLY)


def test_gaps_are_told_with_their_first_candle_and_length() -> None:
    candles = random_walk(100)

    report = validate(candles.drop(candles.index[[10, 11, 50]]), HOURLY)

    assert report.gaps == (Gap(candles.index[10], 2), Gap(candles.index[50], 1))
    assert report.missing == 3
    assert str(report.gaps[0]) == "2024-01-01 10:00 UTC: 2 missing"


def test_six_real_years_keep_the_rules_and_show_their_outages() -> None:
    report = validate(real_candles(), HOURLY)

    assert (report.rows, len(report.gaps), report.missing) == (52_549, 20, 59)
    assert max(gap.count for gap in report.gaps) == 10
    assert report.without_trades == 4


def test_the_anomalies_of_2018_are_refused_by_row_and_mended_with_a_report() -> None:
    from tests.support.candles import REAL, _read

    real_candles()
    raw = _read(REAL / "anomalies" / "BTCUSDT-1h-2018.parquet")

    with pytest.raises(InvalidCandles, match="43 of 8699 candles break the rules") as refused:
        validate(raw, HOURLY)
    mended, report = repair(raw, HOURLY)

    assert refused.value.rows[0] == "2018-02-09T09:28:14.789000Z: stamped off the 1h grid"
    assert len(refused.value.rows) == len(report.dropped) == 43
    assert len(mended) == 8656
    assert report.missing == 8760 - 8656
    validate(mended, HOURLY)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gaps_and_candles_together_make_the_whole_grid(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 200))
    candles = random_walk(rows)
    missing = data.draw(st.sets(st.integers(1, rows - 1), max_size=rows - 2))
    kept = candles.drop(candles.index[sorted(missing - {rows - 1})])

    gaps = find_gaps(pd.DatetimeIndex(kept.index), HOURLY)

    absent = [gap.first + k * HOURLY.step for gap in gaps for k in range(gap.count)]
    assert sorted([*kept.index, *absent]) == list(candles.index)


def test_an_empty_frame_is_a_candle_frame() -> None:
    assert validate(empty_candles(), HOURLY).rows == 0
