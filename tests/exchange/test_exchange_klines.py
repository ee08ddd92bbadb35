"""Which candles a window, a limit and a moment bring."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.core.errors import BadInput
from clm.exchange.market import Market, Row, merge
from tests.support.candles import random_walk

HOUR = 3_600_000
START = int(pd.Timestamp("2024-01-01", tz="UTC").timestamp() * 1000)
HOURS = 120
#: Hours that do not exist: one alone, the first two of a 4 h step, and a whole day.
GAPS = (5, 24, 25, *range(72, 96))


@cache
def gappy() -> pd.DataFrame:
    candles = random_walk(HOURS)
    return candles.drop(candles.index[list(GAPS)])


@cache
def market() -> Market:
    return merge([(Series("BTCUSDT", "1h"), gappy())])


def opens(rows: list[Row]) -> list[int]:
    return [int(row[0]) for row in rows]


moments = st.integers(START - 3 * HOUR, START + (HOURS + 5) * HOUR)
bounds = st.one_of(st.none(), moments, moments.map(lambda ms: ms // HOUR * HOUR))


@given(start=bounds, end=bounds, limit=st.integers(1, 200), now=moments)
def test_klines_are_those_of_a_naive_reading_of_binances_rules(
    start: int | None, end: int | None, limit: int, now: int
) -> None:
    """Bounds include; with a start the first `limit`, else the newest; nothing that opens after now."""
    existing = [START + k * HOUR for k in range(HOURS) if k not in GAPS]
    fitting = [
        t for t in existing if t <= now and (start is None or t >= start) and (end is None or t <= end)
    ]
    expected = fitting[:limit] if start is not None else fitting[-limit:]

    rows = market().rows("BTCUSDT", "1h", start, end, limit, now)

    assert opens(rows) == expected


@given(start=bounds, end=bounds, limit=st.integers(1, 60), now=moments)
def test_larger_candles_are_those_of_the_closed_and_opened_hours(
    start: int | None, end: int | None, limit: int, now: int
) -> None:
    step = 4 * HOUR
    existing = sorted(
        {(START + k * HOUR) // step * step for k in range(HOURS) if k not in GAPS and START + k * HOUR <= now}
    )
    fitting = [t for t in existing if (start is None or t >= start) and (end is None or t <= end)]
    expected = fitting[:limit] if start is not None else fitting[-limit:]

    rows = market().rows("BTCUSDT", "4h", start, end, limit, now)

    assert opens(rows) == expected


@given(now=moments, interval=st.sampled_from(["1h", "2h", "4h", "1d"]))
def test_a_candle_is_final_once_it_has_closed(now: int, interval: str) -> None:
    rows = market().rows("BTCUSDT", interval, None, None, 1000, now)
    afterwards = market().rows("BTCUSDT", interval, None, None, 1000, START + 10 * HOURS * HOUR)

    closed = [row for row in rows if int(row[6]) < now]

    assert closed == afterwards[: len(closed)]
    assert len(rows) - len(closed) <= 1


def test_rows_are_binances_twelve_fields() -> None:
    row = market().rows("BTCUSDT", "1h", START, None, 1, START + 2 * HOUR)[0]
    first = gappy().iloc[0]

    assert len(row) == 12
    assert row[0] == START
    assert row[6] == START + HOUR - 1
    assert row[8] == first["trades"]
    assert row[11] == "0"
    decimals = {
        1: "open",
        2: "high",
        3: "low",
        4: "close",
        5: "volume",
        7: "quote_volume",
        9: "taker_buy_base",
    }
    for field, name in decimals.items():
        assert isinstance(row[field], str)
        assert float(row[field]) == pytest.approx(first[name], abs=1e-8)


def test_a_larger_candle_adds_up_its_hours() -> None:
    row = market().rows("BTCUSDT", "4h", START + 8 * HOUR, None, 1, START + 200 * HOUR)[0]
    hours = gappy().loc["2024-01-01 08:00":"2024-01-01 11:00"]

    shown = [float(row[field]) for field in (1, 2, 3, 4, 5, 8)]

    expected = [
        hours["open"].iloc[0], hours["high"].max(), hours["low"].min(), hours["close"].iloc[-1],
        hours["volume"].sum(), hours["trades"].sum(),
    ]  # fmt: skip
    assert shown == pytest.approx(expected, abs=1e-7)


def test_candles_stamped_off_the_grid_are_served_as_stored_and_close_before_the_next() -> None:
    """Binance has such hours after an outage; a group they reach beyond is not final before they are."""
    candles = random_walk(6)
    shifted = candles.index.to_series()
    shifted.iloc[3:] += pd.Timedelta(minutes=28, seconds=14, milliseconds=789)
    candles.index = pd.DatetimeIndex(shifted, name="open_time")
    stamps = candles.index.as_unit("ms").asi8
    crossing = merge([(Series("BTCUSDT", "1h"), candles)])
    now = START + 4 * HOUR + 60_000

    hourly = crossing.rows("BTCUSDT", "1h", None, None, 10, int(stamps[-1]) + 2 * HOUR)
    early, late = (crossing.rows("BTCUSDT", "4h", START, None, 1, moment) for moment in (now, now + HOUR))

    assert opens(hourly) == stamps.tolist()
    assert np.all(np.array([int(row[6]) for row in hourly[:-1]]) < stamps[1:])
    assert early[0][5] != late[0][5]


def test_what_is_not_stored_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="15m"):
        market().rows("BTCUSDT", "15m", None, None, 1, START)
    with pytest.raises(BadInput, match="market"):
        merge([])
    assert [i for i in ("30m", "1h", "2h", "1d", "7m") if market().has_interval("BTCUSDT", i)] == [
        "1h",
        "2h",
        "1d",
    ]
