"""Every feature is a function of the last so many candles, to the last bit; and zero is zero."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import CANDLE_COLUMNS, TARGET
from clm.features.bars import Bars
from clm.features.catalogue import ADVANCED, BASIC, FORMER
from clm.features.engineer import QuantumFeatureEngineer
from clm.features.feature import Feature
from clm.features.newest import Newest
from tests.support.candles import random_walk

PRICES = ["open", "high", "low", "close"]
#: What sets the price against its own past.
AGAINST_THE_PAST = ("price_to_sma", "sma_to_sma", "trend_slope", "macd_log", "commodity_channel", "return")
ENGINEER = QuantumFeatureEngineer()


def dear(price: float, seed: int = 0, rows: int = 1200, volatility: float = 0.006) -> pd.DataFrame:
    """A random walk that begins at that price."""
    candles = random_walk(rows, seed=seed, volatility=volatility)
    candles[PRICES] *= price / candles["open"].iloc[0]
    return candles


def standing(candles: pd.DataFrame, since: int, price: float | None = None) -> pd.DataFrame:
    """Nothing is traded any more from there on."""
    still = candles.astype({"trades": "float64"})
    for name in CANDLE_COLUMNS:
        last = candles["close"].iloc[since - 1] if price is None else price
        still.iloc[since:, still.columns.get_loc(name)] = last if name in PRICES else 0.0
    return still


def markets() -> dict[str, pd.DataFrame]:
    """Prices of every size, and such as hardly move."""
    stable = random_walk(1200)
    price = 0.9998 + np.round(np.random.default_rng(5).normal(0, 0.00005, len(stable)), 4)
    stable[PRICES] = np.column_stack([price] * 4)
    tiny = dear(2e-8)
    tiny[PRICES] = np.round(tiny[PRICES], 10)
    tiny["high"], tiny["low"] = tiny[PRICES].max(axis=1), tiny[PRICES].min(axis=1)
    return {
        "a walk near 30,000": random_walk(1200),
        "a stablecoin": stable,
        "prices of 2e-8": tiny,
        "prices of 1e5": dear(1e5, seed=3),
        "a month without trades": standing(random_walk(1200), 700),
        "still since the first candle": standing(dear(0.9998), 1),
    }


def other_by_where_it_begins(features: Iterable[Feature], candles: pd.DataFrame) -> set[str]:
    """Names of features of which a value changes by a bit with the candles before or after those it is of."""
    whole, found = Bars.of(candles), set()
    for feature in features:
        full = feature.function(whole)
        for begin, end in ((1, 1200), (7, 900), (101, 1199), (333, 777), (720, 1111)):
            part = feature.function(Bars.of(candles.iloc[begin:end]))
            if not np.array_equal(part[feature.lookback :], full[begin + feature.lookback : end]):
                found.add(feature.name)
    return found


@pytest.mark.parametrize("market", list(markets()))
def test_no_value_depends_by_a_bit_on_where_the_candles_begin_or_end(market: str) -> None:
    assert other_by_where_it_begins(ADVANCED, markets()[market]) == set()


def test_that_very_check_finds_why_former_features_are_former() -> None:
    found = other_by_where_it_begins(FORMER, random_walk(1200))

    assert {"slope_6", "slope_168", "macd_12_26", "cci_20"} <= found


def test_no_new_model_is_given_a_former_feature() -> None:
    for engineer, catalogue in ((ENGINEER, ADVANCED), (QuantumFeatureEngineer(use_advanced=False), BASIC)):
        names = [str(name) for name in engineer.transform(random_walk(300)).drop(columns=TARGET)]

        assert names == [feature.name for feature in catalogue]
        assert not {feature.name for feature in FORMER} & set(names)


@settings(max_examples=40, deadline=None)
@given(price=st.floats(1e-9, 1e6), seed=st.integers(0, 100))
def test_where_no_price_moves_they_are_exactly_zero_in_the_batch_and_in_the_newest(
    price: float, seed: int
) -> None:
    candles = standing(dear(price, seed, rows=600), 300, price)
    wanted = [feature for feature in ADVANCED if feature.name.startswith(AGAINST_THE_PAST)]
    assert len(wanted) == 6 + 4 + 5 + 3 + 2 + 12 + 6

    bars = Bars.of(candles)
    newest = Newest(bars.opens[-2:], [column[-169:] for column in bars.columns])

    for feature in wanted:
        # 168 candles after the last move it has left every window.
        assert not feature.function(bars)[300 + 169 :].any(), feature.name
        assert feature.function(newest) == 0.0, feature.name


class TestAgainstWhatTheyMean:
    """Explicit sums of the log price, in more digits than a double has."""

    @pytest.mark.parametrize("price", [1.0, 2e-8, 1e5])
    @pytest.mark.parametrize("seed", range(30))
    def test_every_kind_within_a_billionth_of_its_spread(self, price: float, seed: int) -> None:
        candles = dear(price, seed, rows=420, volatility=10 ** -(1 + seed % 4))
        bars = Bars.of(candles)

        for name, made, meant in _meant(bars):
            off = float(np.abs(made[200:] - meant[200:]).max())
            # Of a price near 2e-8 the logarithm itself is known to 3.6e-15 only.
            known = 1e-9 * float(meant[200:].std()) + 1e-14
            assert off <= known, (name, off, known)

    @pytest.mark.parametrize("n", [6, 12, 24, 48, 168])
    def test_a_slope_is_the_one_numpy_fits(self, n: int) -> None:
        bars = Bars.of(random_walk(300))

        made = bars.slope(n)

        for at in (200, 251, 299):
            fitted = np.polyfit(np.arange(n), bars.log_close[at - n + 1 : at + 1], 1)[0]
            assert made[at] == pytest.approx(fitted, rel=1e-9, abs=1e-13)

    @pytest.mark.parametrize("n", [2, 3, 5, 7, 9, 31, 100])
    def test_windows_of_any_length_add_up(self, n: int) -> None:
        bars = Bars.of(random_walk(200))
        logs = bars.log_close

        slope, above = bars.slope(n), bars.above_mean(n)

        for at in (n, 120, 199):
            window = logs[at - n + 1 : at + 1]
            assert above[at] == pytest.approx(logs[at] - window.mean(), rel=1e-9, abs=1e-13)
            assert slope[at] == pytest.approx(np.polyfit(np.arange(n), window, 1)[0], rel=1e-8, abs=1e-13)


def _meant(bars: Bars) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """(name, as it is made, as it is meant)."""
    logs = np.log(bars.close.astype(np.longdouble))

    def summed(weights: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        """Σ weights[k] · log price k candles ago, in long doubles."""
        out = np.zeros(len(logs), dtype=np.longdouble)
        for k, weight in enumerate(weights):
            out[k:] += weight * logs[: len(logs) - k]
        return out

    for n in (6, 12, 24, 48, 168):
        centred = (n - 1) / np.longdouble(2) - np.arange(n)
        yield f"slope {n}", bars.slope(n), summed(centred / (centred @ centred))
    for n in (6, 24, 168):
        yield f"mean {n}", bars.above_mean(n), logs - summed(np.full(n, 1 / np.longdouble(n)))
    for fast, slow, n in ((6, 13, 52), (12, 26, 104), (24, 42, 168)):
        decays = 1 - 2 / (fast + 1), 1 - 2 / (slow + 1)
        powers = [np.longdouble(decay) ** np.arange(n + 1) for decay in decays]
        means = [summed(weights / weights.sum()) for weights in powers]
        yield f"macd {fast}", bars.mean_gap(decays[0], decays[1], n), means[0] - means[1]


@pytest.mark.parametrize("n", [20, 72])
def test_cci_is_tas_but_for_rounding_and_zero_where_the_price_stands_still(n: int) -> None:
    moving, still = Bars.of(random_walk(600)), Bars.of(standing(random_walk(600), 400))

    assert np.allclose(moving.cci(n)[n:], moving.dragged_cci(n)[n:], rtol=1e-9, atol=1e-9)
    assert not still.cci(n)[400 + n :].any()


@pytest.mark.parametrize("market", list(markets()))
def test_the_newest_row_is_the_batchs_also_where_all_is_zero(market: str) -> None:
    candles = markets()[market]
    batch = ENGINEER.transform(candles).drop(columns=TARGET)
    wanted = [k for k, name in enumerate(batch.columns) if str(name).startswith(AGAINST_THE_PAST)]

    for time in batch.index[::37]:
        row = ENGINEER.newest(candles.loc[:time]).astype(np.float64)
        expected = batch.loc[time].to_numpy(np.float64)
        assert np.abs(row - expected).max() <= 1e-6 * max(1.0, float(np.abs(expected).max()))
        # A tree may split between nothing and next to nothing.
        if not np.ptp(candles.loc[:time, PRICES].iloc[-169:].to_numpy()):
            assert not row[wanted].any()
            assert not expected[wanted].any()
