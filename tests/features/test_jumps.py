"""A price that goes on in other units is a gap: nothing is learnt, measured or forecast across it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.certificate import TRUNCATION_TOLERANCE, check_truncation
from clm.core.domain import CANDLE_COLUMNS, TARGET, Series
from clm.core.errors import InsufficientData, InvalidSetting
from clm.core.jumps import jumps
from clm.core.variance import variance_after
from clm.features.engineer import QuantumFeatureEngineer
from clm.market.candles import validate
from tests.support.candles import random_walk

ENGINEER = QuantumFeatureEngineer()
PRICES = ["open", "high", "low", "close"]
AT = 600
FACTORS = [1000.0, 1 / 1000, 5.5, 1 / 5.5]


def redenominated(factor: float, rows: int = 1200, at: int = AT) -> pd.DataFrame:
    """A walk whose prices are told in other units from a candle on."""
    candles = random_walk(rows)
    candles.iloc[at:, [candles.columns.get_loc(name) for name in PRICES]] *= factor
    return candles


@pytest.mark.parametrize("factor", FACTORS)
def test_features_are_those_of_either_side_alone_and_no_target_reaches_across(factor: float) -> None:
    candles = redenominated(factor)

    found = ENGINEER.transform(candles)

    sides = [ENGINEER.transform(candles.iloc[:AT]), ENGINEER.transform(candles.iloc[AT:])]
    pd.testing.assert_frame_equal(found, pd.concat(sides), check_freq=False)
    assert found[TARGET].abs().max() < 0.05
    assert np.isnan(found.loc[candles.index[AT - 1], TARGET])


@pytest.mark.parametrize("factor", FACTORS)
def test_the_volatility_does_not_take_it_for_a_return(factor: float) -> None:
    plain, jumped = variance_after(random_walk(1200)), variance_after(redenominated(factor))

    assert (jumped / plain).max() < 1.2
    assert (jumped / plain).min() > 0.8
    assert variance_after(redenominated(factor, 3, 1)).iloc[-1] < 1e-3


@pytest.mark.parametrize("factor", FACTORS)
def test_the_newest_candle_is_not_forecast_until_it_lies_far_enough_behind(factor: float) -> None:
    candles = redenominated(factor)

    with pytest.raises(InsufficientData, match="without a jump of the price are needed; there are 100"):
        ENGINEER.newest(candles.iloc[: AT + 100])
    ENGINEER.newest(candles.iloc[: AT + ENGINEER.warmup + 1])


def test_it_is_reported_with_both_prices() -> None:
    report = validate(redenominated(1000.0), Series("BTCUSDT", "1h"))

    (said,) = report.jumps
    assert said.startswith("2024-01-26 00:00 UTC: from ")
    assert report.gaps == ()


def test_a_crash_inside_a_candle_stays_what_it_is() -> None:
    candles = random_walk(600)
    low = candles.columns.get_loc("low")
    candles.iloc[300, low] = candles.iloc[300, low] / 20

    assert not jumps(candles).any()
    assert len(ENGINEER.transform(candles)) == 600 - ENGINEER.warmup


def test_how_far_is_too_far_is_a_setting() -> None:
    candles = redenominated(8.0)

    assert not jumps(candles, 10).any()
    assert len(QuantumFeatureEngineer(max_jump=10).transform(candles)) > len(ENGINEER.transform(candles))
    with pytest.raises(InvalidSetting, match="max_jump"):
        QuantumFeatureEngineer(max_jump=1)


@settings(max_examples=25, deadline=None)
@given(at=st.integers(200, 900), factor=st.sampled_from(FACTORS), end=st.integers(950, 1200))
def test_what_comes_later_changes_nothing_before(at: int, factor: float, end: int) -> None:
    candles = redenominated(factor, at=at)

    known = ENGINEER.transform(candles.iloc[:end])

    whole = ENGINEER.transform(candles).loc[known.index].drop(columns=TARGET)
    pd.testing.assert_frame_equal(whole, known.drop(columns=TARGET), check_freq=False)
    before, after = variance_after(candles.iloc[:end]), variance_after(candles).iloc[:end]
    assert np.array_equal(before, after)


def awkward() -> dict[str, pd.DataFrame]:
    """Markets in which much is zero but for rounding."""
    rng = np.random.default_rng(5)
    stable = random_walk(3000)
    price = 0.9998 + np.round(rng.normal(0, 0.00005, 3000), 4)
    stable[PRICES] = np.column_stack([price] * 4)
    tiny = random_walk(3000)
    tiny[PRICES] = np.maximum(np.round(tiny[PRICES] * (2e-8 / 30_000), 10), 1e-10)
    tiny["high"], tiny["low"] = tiny[PRICES].max(axis=1), tiny[PRICES].min(axis=1)
    idle = random_walk(3000)
    still = slice(1500, 1500 + 30 * 24)
    for name in CANDLE_COLUMNS:
        column = idle.columns.get_loc(name)
        idle.iloc[still, column] = idle["close"].iloc[1499] if name in PRICES else 0
    return {"a stablecoin": stable, "prices of 2e-8": tiny, "a month without trades": idle}


@pytest.mark.parametrize("market", ["a stablecoin", "prices of 2e-8", "a month without trades"])
def test_noise_is_not_called_a_leak(market: str) -> None:
    candles = awkward()[market]

    found = check_truncation(ENGINEER, candles, ENGINEER.transform(candles))

    assert found.rows > 0
    assert found.deviation is not None
    assert found.deviation <= TRUNCATION_TOLERANCE, found.feature


def test_and_a_leak_still_is() -> None:
    class Leaking(QuantumFeatureEngineer):
        """Its first feature knows a hundredth of the next return."""

        def transform(self, df: pd.DataFrame) -> pd.DataFrame:
            found = super().transform(df)
            first = found.columns[0]
            ahead = (found[TARGET] / found[TARGET].std()).fillna(0)
            return found.assign(**{first: (found[first] + 0.01 * ahead).astype("float32")})

    candles = random_walk(2000)
    engineer = Leaking()

    found = check_truncation(engineer, candles, engineer.transform(candles))

    assert found.deviation is not None
    assert found.deviation > 100 * TRUNCATION_TOLERANCE
