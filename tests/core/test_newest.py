"""One forecast from the newest candles: the quick way says what the usual way says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET, FeatureRow
from clm.core.errors import InsufficientData, SchemaMismatch, TrainingFailed
from clm.core.newest import forecast_row, newest_row
from clm.core.protocols import FeatureEngineer, RowEngineer, RowModel, TrainedModel
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk

ENGINEER = QuantumFeatureEngineer(use_advanced=False)
CANDLES = random_walk(900, seed=3)
NAMES = ENGINEER.get_feature_names()


class Plain:
    """A part that knows the usual way only: all of another's but what is quick."""

    def __init__(self, part: Any, hidden: str) -> None:
        self._part, self._hidden = part, hidden

    def __getattr__(self, name: str) -> Any:
        if name == self._hidden:
            raise AttributeError(name)
        return getattr(self._part, name)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    features = ENGINEER.transform(CANDLES).dropna()
    return QuantumModelTrainer(seed=1).train("lightgbm", features, {"min_data_in_leaf": 50})


def test_both_ways_to_the_newest_row_are_the_same() -> None:
    plain: Any = Plain(ENGINEER, "newest")
    assert isinstance(ENGINEER, RowEngineer)
    assert isinstance(plain, FeatureEngineer)
    assert not isinstance(plain, RowEngineer)

    quick, usual = newest_row(ENGINEER, CANDLES), newest_row(plain, CANDLES)

    assert quick == pytest.approx(usual, rel=1e-6, abs=1e-8)
    assert quick.dtype == usual.dtype == np.float32


@pytest.mark.parametrize("hidden", ["newest", "nothing"])
def test_neither_way_bridges_a_gap(hidden: str) -> None:
    holed = CANDLES.drop(CANDLES.index[-10])

    with pytest.raises(InsufficientData, match="without a gap"):
        newest_row(Plain(ENGINEER, hidden), holed)


def test_both_ways_to_a_forecast_are_the_same(model: TrainedModel) -> None:
    plain: Any = Plain(model, "predict_row")
    assert isinstance(model, RowModel)
    assert not isinstance(plain, RowModel)
    row = newest_row(ENGINEER, CANDLES)
    expected = model.predict(ENGINEER.transform(CANDLES).drop(columns=TARGET))[-1]

    assert forecast_row(model, NAMES, row, "champion") == pytest.approx(expected, rel=1e-5)
    assert forecast_row(plain, NAMES, row, "champion") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hidden", ["predict_row", "nothing"])
def test_features_of_another_order_are_no_features(model: TrainedModel, hidden: str) -> None:
    row = newest_row(ENGINEER, CANDLES)

    with pytest.raises(SchemaMismatch):
        forecast_row(Plain(model, hidden), ["x", *NAMES[1:]], row, "champion")


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), "raise"])
def test_a_model_that_breaks_down_never_looks_like_a_forecast(model: TrainedModel, answer: Any) -> None:
    class Broken(Plain):
        def predict_row(self, row: FeatureRow) -> float:
            if answer == "raise":
                raise KeyError("no leaf")
            return float(answer)

    with pytest.raises(TrainingFailed, match="lightgbm: the champion"):
        forecast_row(Broken(model, "nothing"), NAMES, newest_row(ENGINEER, CANDLES), "champion")


def test_nothing_but_the_newest_candles_counts() -> None:
    before = pd.concat([CANDLES.iloc[:500] * 3, CANDLES.iloc[500:]])

    assert np.array_equal(newest_row(ENGINEER, before), newest_row(ENGINEER, CANDLES))
