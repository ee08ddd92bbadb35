"""What every feature engineer promises: causal rows with full history, the next return as target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET
from clm.core.errors import BadData
from clm.core.protocols import FeatureEngineer
from clm.features.engineer import QuantumFeatureEngineer
from tests.support.candles import random_walk
from tests.support.parts import TwoFeatures

CANDLES = random_walk(900, seed=4)


@pytest.fixture(params=["advanced", "basic", "third party"])
def engineer(request: pytest.FixtureRequest) -> FeatureEngineer:
    if request.param == "third party":
        return TwoFeatures()
    return QuantumFeatureEngineer(use_advanced=request.param == "advanced")


def test_it_is_one(engineer: FeatureEngineer) -> None:
    assert isinstance(engineer, FeatureEngineer)


def test_columns_are_the_named_features_and_the_target(engineer: FeatureEngineer) -> None:
    frame = engineer.transform(CANDLES)

    assert list(frame.columns) == [*engineer.get_feature_names(), TARGET]
    assert {str(dtype) for dtype in frame.drop(columns=TARGET).dtypes} == {"float32"}
    assert frame[TARGET].dtype == np.float64


def test_rows_begin_after_the_warm_up_and_end_with_the_newest_candle(engineer: FeatureEngineer) -> None:
    frame = engineer.transform(CANDLES)

    assert frame.index[0] == CANDLES.index[engineer.warmup]
    assert frame.index[-1] == CANDLES.index[-1]
    assert np.isfinite(frame.drop(columns=TARGET).to_numpy()).all()


def test_the_target_is_the_next_candles_log_return(engineer: FeatureEngineer) -> None:
    frame = engineer.transform(CANDLES)

    close = np.log(CANDLES["close"])
    assert np.allclose(frame[TARGET].iloc[:-1], (close.shift(-1) - close).loc[frame.index].iloc[:-1])
    assert np.isnan(frame[TARGET].iloc[-1])


@pytest.mark.parametrize("cut", [500, 777, 899])
def test_cutting_off_the_future_changes_no_feature_by_a_bit(engineer: FeatureEngineer, cut: int) -> None:
    whole, part = engineer.transform(CANDLES), engineer.transform(CANDLES.iloc[:cut])

    pd.testing.assert_frame_equal(
        part.drop(columns=TARGET), whole.loc[part.index].drop(columns=TARGET), check_exact=True
    )


def test_the_warm_up_is_history_enough(engineer: FeatureEngineer) -> None:
    whole = engineer.transform(CANDLES).drop(columns=TARGET).iloc[-1]

    alone = engineer.transform(CANDLES.iloc[-engineer.warmup - 2 :]).drop(columns=TARGET).iloc[-1]

    assert np.allclose(alone, whole, rtol=1e-6, atol=1e-7)


def test_no_row_and_no_target_reaches_over_a_gap(engineer: FeatureEngineer) -> None:
    broken = CANDLES.drop(CANDLES.index[450:453])

    frame = engineer.transform(broken)

    assert np.isnan(frame.loc[CANDLES.index[449], TARGET])
    after = frame.index[frame.index > CANDLES.index[452]]
    assert after[0] == CANDLES.index[453 + engineer.warmup]


def test_what_gives_no_row_or_is_no_candle_is_an_error(engineer: FeatureEngineer) -> None:
    with pytest.raises(BadData):
        engineer.transform(CANDLES.iloc[: engineer.warmup])
    with pytest.raises(BadData):
        engineer.transform(CANDLES.drop(columns="close"))
