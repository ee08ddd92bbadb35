"""The newest candle's features from its window alone: the same as in the batch, whatever came before."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import TARGET
from clm.core.errors import InsufficientData, InvalidCandles
from clm.features.engineer import QuantumFeatureEngineer
from tests.support.candles import random_walk, real_candles

ENGINEER = QuantumFeatureEngineer()


@pytest.mark.parametrize("advanced", [True, False])
@pytest.mark.parametrize("name", ["BTCUSDT-1h", "BTCUSDT-5m", "SOLUSDT-1h"])
def test_every_feature_equals_the_batchs_on_real_candles(name: str, advanced: bool) -> None:
    engineer = QuantumFeatureEngineer(use_advanced=advanced)
    candles = real_candles(name, start="2023-12-01", end="2024-02-01")
    batch = engineer.transform(candles).drop(columns=TARGET)
    for time in batch.index[:: len(batch) // 150]:
        end = candles.index.get_loc(time) + 1
        row = engineer.newest(candles.iloc[:end]).astype(np.float64)
        expected = batch.loc[time].to_numpy(np.float64)
        wrong = np.abs(row - expected) > 1e-6 * np.maximum(np.abs(expected), 1e-2)
        assert [batch.columns[k] for k in np.flatnonzero(wrong)] == []


def test_candles_that_stand_still_or_saw_no_trade_are_no_exception() -> None:
    candles = random_walk(400)
    quiet = candles.copy()
    quiet.iloc[-200:, :4] = quiet["close"].iloc[-201]
    quiet.iloc[-200:, 4:] = 0.0

    for frame in (candles, quiet):
        row = ENGINEER.newest(frame).astype(np.float64)
        expected = ENGINEER.transform(frame).drop(columns=TARGET).iloc[-1].to_numpy(np.float64)
        assert np.abs(row - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


#: To which no price is too far from the one before.
EVER = QuantumFeatureEngineer(max_jump=np.inf)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    column=st.sampled_from(
        ["volume", "quote_volume", "taker_buy_base", "trades", "close", "high", "low", "open"]
    ),
)
def test_absurd_amounts_and_prices_come_to_what_the_batch_comes_to_and_are_no_crash(
    data: st.DataObject, column: str
) -> None:
    amount = st.sampled_from([1e-320, 1e-300, 1e-9, 1.0, 1e9, 1e150, 1e300, 1.7e308])
    nothing = st.just(0.0) if column in ("volume", "quote_volume", "taker_buy_base", "trades") else amount
    candles = random_walk(180).astype({"trades": "float64"})
    for row in data.draw(st.lists(st.integers(-170, -1), min_size=1, max_size=6)):
        candles.iloc[row, candles.columns.get_loc(column)] = data.draw(st.one_of(amount, nothing))

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = EVER.newest(candles).astype(np.float64)
        expected = EVER.transform(candles).drop(columns=TARGET).iloc[-1].to_numpy(np.float64)

    sound = np.isfinite(row) & np.isfinite(expected)
    # Sums of numbers three hundred digits apart depend on their order; what can be told at all does not.
    names = np.array(ENGINEER.get_feature_names())
    assert list(names[np.isnan(row) & np.isfinite(expected)]) == []
    assert sound.sum() >= len(row) // 2


def test_a_gap_among_the_newest_candles_and_too_few_of_them_are_refused_with_their_number() -> None:
    candles = random_walk(300)
    size = ENGINEER.warmup + 1

    with pytest.raises(
        InsufficientData, match=f"newest {size} candles without a gap are needed; there are 50"
    ):
        ENGINEER.newest(candles.drop(candles.index[-51]))
    with pytest.raises(InsufficientData, match="there are 40"):
        ENGINEER.newest(candles.iloc[:40])
    with pytest.raises(InvalidCandles):
        ENGINEER.newest(candles.assign(close=np.nan))


def test_what_comes_later_is_not_there_to_be_seen() -> None:
    candles = random_walk(400)
    later = pd.concat([candles.iloc[:300], candles.iloc[300:] * 2])

    one, other = (ENGINEER.newest(frame.iloc[:300]) for frame in (candles, later))

    assert np.array_equal(one, other)
