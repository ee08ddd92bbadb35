"""The open candle shows what has elapsed, and nothing more."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.exchange.market import Market, Row, merge
from clm.exchange.simulate import simulate_market
from tests.support.candles import needs_real_candles, random_walk, real_candles

HOUR = 3_600_000
START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)


@cache
def simulated() -> Market:
    return simulate_market(
        start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 7, 1, tzinfo=UTC), signal=0.05, seed=3
    )


def at(market: Market, now: int, interval: str = "1h") -> Row:
    """The newest candle at `now`."""
    return market.rows("BTCUSDT", interval, None, None, 1, now)[0]


def numbers(row: Row) -> dict[str, float]:
    names = (
        "open",
        "high",
        "low",
        "close",
        "volume",
        "end",
        "quote_volume",
        "trades",
        "taker",
        "taker_quote",
    )
    return dict(zip(names, map(float, row[1:11]), strict=True))


@given(hour=st.integers(0, 4000), first=st.floats(0, 0.999), second=st.floats(0, 0.999))
def test_it_only_grows_and_stays_within_the_final_candle(hour: int, first: float, second: float) -> None:
    opened = START + hour * HOUR
    early, late = (numbers(at(simulated(), opened + int(part * HOUR))) for part in sorted((first, second)))
    final = numbers(simulated().rows("BTCUSDT", "1h", opened, None, 1, opened + 2 * HOUR)[0])

    for before, after in ((early, late), (late, final)):
        assert before["open"] == after["open"]
        assert before["high"] <= after["high"]
        assert before["low"] >= after["low"]
        for name in ("volume", "quote_volume", "trades", "taker"):
            assert before[name] <= after[name] + 1e-7
    assert late["low"] <= min(late["open"], late["close"])
    assert late["high"] >= max(late["open"], late["close"])
    assert late["taker"] <= late["volume"]


@given(hour=st.integers(0, 4000), part=st.floats(0.01, 0.999))
def test_no_final_value_shows_before_the_close(hour: int, part: float) -> None:
    opened = START + hour * HOUR
    partial = numbers(at(simulated(), opened + int(part * HOUR)))
    final = numbers(simulated().rows("BTCUSDT", "1h", opened, None, 1, opened + 2 * HOUR)[0])

    for name in ("volume", "quote_volume", "trades", "taker"):
        assert partial[name] < final[name]
    for name in ("high", "low"):
        assert partial[name] != final[name] or final[name] == final["open"]
    assert partial["close"] != final["close"] or partial["high"] - partial["low"] < 0.011


def test_a_candle_that_has_just_opened_has_not_traded() -> None:
    row = numbers(at(simulated(), START + 7 * HOUR))

    assert row["open"] == row["high"] == row["low"] == row["close"]
    assert row["volume"] == row["quote_volume"] == row["trades"] == 0


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_its_move_says_of_the_final_one_what_the_elapsed_part_of_a_random_walk_says(part: float) -> None:
    """Squared correlation of ranks, about the elapsed fraction: no more of the future than has passed."""
    hours = range(0, 4000)
    opened = [START + hour * HOUR for hour in hours]
    partial = [numbers(at(simulated(), t + int(part * HOUR))) for t in opened]
    final = [
        numbers(row)
        for t in range(0, 4000, 1000)
        for row in simulated().rows("BTCUSDT", "1h", opened[t], None, 1000, START + 9000 * HOUR)
    ]
    moves = [
        np.argsort(np.argsort([row["close"] / row["open"] for row in rows])) for rows in (partial, final)
    ]

    told = float(np.corrcoef(*moves)[0, 1] ** 2)

    assert part - 0.1 < told < part + 0.1


def test_the_share_of_buyers_is_not_known_before_the_close() -> None:
    """The share carries the signal: known early, it would forecast the next candle while this one is open."""
    errors = []
    for hour in range(500):
        opened = START + hour * HOUR
        partial = numbers(at(simulated(), opened + HOUR // 2))
        final = numbers(simulated().rows("BTCUSDT", "1h", opened, None, 1, opened + 2 * HOUR)[0])
        errors.append(partial["taker"] / partial["volume"] - final["taker"] / final["volume"])

    assert np.std(errors) > 0.05


def test_it_does_not_depend_on_later_candles() -> None:
    candles = random_walk(48)
    other = candles.copy()
    other.iloc[25:, :4] *= 1.5
    markets = [merge([(Series("BTCUSDT", "1h"), frame)]) for frame in (candles, other)]

    for interval in ("1h", "4h", "1d"):
        rows = [at(market, START + 24 * HOUR + HOUR // 3, interval) for market in markets]

        assert rows[0] == rows[1]


def test_the_larger_open_candle_is_its_closed_hours_and_the_open_one() -> None:
    now = START + 9 * HOUR + HOUR // 2
    row = numbers(at(simulated(), now, "4h"))
    hours = [numbers(hour) for hour in simulated().rows("BTCUSDT", "1h", START + 8 * HOUR, None, 9, now)]

    assert len(hours) == 2
    assert row["volume"] == pytest.approx(sum(hour["volume"] for hour in hours), abs=1e-6)
    assert row["high"] == max(hour["high"] for hour in hours)
    assert (row["open"], row["close"]) == (hours[0]["open"], hours[1]["close"])


def test_a_candle_without_a_trade_is_served_without_one() -> None:
    still = random_walk(3)
    still.iloc[1, 1:4] = still.iloc[1, 0]
    still.iloc[1, 4:] = 0
    market = merge([(Series("BTCUSDT", "1h"), still)])

    row = numbers(at(market, START + HOUR + HOUR // 2))

    assert row["high"] == row["low"] == row["close"] == row["open"]
    assert row["volume"] == row["trades"] == 0


@needs_real_candles
def test_real_candles_keep_their_final_values_to_themselves_too() -> None:
    candles = real_candles("BTCUSDT-1h", "2024-01-01", "2024-02-01")
    market = merge([(Series("BTCUSDT", "1h"), candles)])

    for hour in range(len(candles)):
        opened = START + hour * HOUR
        partial = numbers(at(market, opened + 2 * HOUR // 3))
        final = candles.iloc[hour]

        assert final["low"] <= partial["low"] <= partial["close"] <= partial["high"] <= final["high"]
        assert partial["close"] != final["close"]
        assert partial["volume"] < final["volume"]
        assert partial["high"] < final["high"] or final["high"] == final["open"]
        assert partial["low"] > final["low"] or final["low"] == final["open"]
