"""Pins name the candles that are not what they were, without keeping them."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from clm.core.domain import CANDLE_COLUMNS
from clm.core.pins import Pins
from tests.support.candles import random_walk

HOUR = timedelta(hours=1)
#: From 2024-01-01 05:00 on, so that the first and the last day are not whole.
CANDLES = random_walk(500, start="2024-01-01 05:00")


def _said(now: pd.DataFrame, then: pd.DataFrame = CANDLES, step: timedelta = HOUR) -> str | None:
    return Pins.of(then, step).unlike(Pins.of(now, step), step)


@pytest.mark.parametrize("column", CANDLE_COLUMNS)
@pytest.mark.parametrize("row", [0, 18, 19, 250, 499])
def test_a_single_revised_candle_is_named_whatever_of_it_was_revised(column: str, row: int) -> None:
    now = CANDLES.copy()
    now.iloc[row, now.columns.get_loc(column)] += 1

    assert _said(now) == f"1 of 500 candles differs: {CANDLES.index[row]:%Y-%m-%d %H:%M} UTC"


def test_the_last_bit_counts() -> None:
    now = CANDLES.copy()
    now.iloc[100, 3] *= 1 + 2.3e-16

    assert _said(now) is not None


def test_several_of_one_day_or_of_one_hour_are_all_named() -> None:
    day, hour = CANDLES.copy(), CANDLES.copy()
    day.iloc[[20, 22], 3] += 1
    hour.iloc[[20, 44], 3] += 1

    assert _said(day) == "2 of 500 candles differ: 2024-01-02 01:00, 2024-01-02 03:00 UTC"
    assert _said(hour) == "2 of 500 candles differ: 2024-01-02 01:00, 2024-01-03 01:00 UTC"


def test_of_many_the_days_are_named_the_first_ones() -> None:
    now = CANDLES.copy()
    now.iloc[20:400, 3] += 1

    assert _said(now) == (
        "candles of 16 days differ: 2024-01-02, 2024-01-03, 2024-01-04, 2024-01-05, 2024-01-06 and 11 more"
    )


def test_a_candle_that_went_or_came_is_named_with_how_many_there_are() -> None:
    named = f"1 of 500 candles differs: {CANDLES.index[77]:%Y-%m-%d %H:%M} UTC; there were 500, there are 499"

    assert _said(CANDLES.drop(CANDLES.index[77])) == named
    came = _said(CANDLES, then=CANDLES.drop(CANDLES.index[77]))
    assert came is not None
    assert "there were 499, there are 500" in came


def test_days_that_are_missing_before_and_after_are_named() -> None:
    before, after = _said(CANDLES.iloc[19:]), _said(CANDLES.iloc[:-20])

    assert before is not None
    assert after is not None
    assert "2024-01-01" in before
    assert "2024-01-21" in after


def test_what_has_not_changed_is_like_itself() -> None:
    assert _said(CANDLES.copy()) is None
    as_stored = CANDLES.copy()
    as_stored.index = pd.DatetimeIndex(as_stored.index).as_unit("ms")
    assert _said(as_stored) is None


@pytest.mark.parametrize("freq", ["1min", "15min", "4h", "1D"])
def test_every_interval_is_pinned(freq: str) -> None:
    candles = random_walk(300, freq=freq)
    now = candles.copy()
    now.iloc[123, 4] += 1
    step = timedelta(seconds=pd.Timedelta(freq).total_seconds())

    assert _said(now, candles, step) == f"1 of 300 candles differs: {candles.index[123]:%Y-%m-%d %H:%M} UTC"


def test_pins_are_small_and_survive_as_json() -> None:
    year = Pins.of(random_walk(8928), HOUR)

    assert Pins.from_json(year.to_json()) == year
    assert len(year.days) + len(year.slots) < 3300
