"""Whatever a family raises, it is a failed training with its cause, and nobody else's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytest

from clm.core import scoring
from clm.core.certificate import shuffled_labels
from clm.core.domain import FloatArray
from clm.core.errors import TrainingFailed
from clm.training.boosting import XGBoostFamily
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame
from tests.support.versions import small_model


def test_a_family_that_breaks_down_is_a_failed_training_that_names_the_cause() -> None:
    with pytest.raises(TrainingFailed, match="sklearn_ridge broke down: ValueError: could not convert"):
        QuantumModelTrainer().train("sklearn_ridge", feature_frame(300), {"alpha": "boom"})


class _Breaking:
    model_type = "breaking"
    feature_names = small_model().feature_names
    params = MappingProxyType[str, object]({})
    suffix = ".json"

    def predict(self, df: pd.DataFrame) -> FloatArray:
        raise ZeroDivisionError("by nothing")

    def to_bytes(self) -> bytes:
        return b""


def test_a_model_that_breaks_down_forecasting_never_looks_like_a_forecast() -> None:
    with pytest.raises(TrainingFailed, match="candidate broke down: ZeroDivisionError: by nothing"):
        scoring.forecasts(_Breaking(), feature_frame(300), "candidate")


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_rows_with_other_labels_are_binned_once_and_the_models_are_the_same_to_the_bit(family: str) -> None:
    rows = feature_frame(2500)
    shuffled, longer = shuffled_labels(rows, seed=1), feature_frame(2600)
    small = {"min_data_in_leaf": 20}
    trainer = QuantumModelTrainer()

    together = [trainer.train(family, frame, small).to_bytes() for frame in (rows, shuffled, longer, rows)]

    apart = [
        QuantumModelTrainer().train(family, frame, small).to_bytes() for frame in (rows, shuffled, longer)
    ]
    assert together == [*apart, apart[0]]
    assert len(set(apart)) == 3


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_trainings_side_by_side_come_to_the_models_they_come_to_one_by_one(family: str) -> None:
    rows = feature_frame(2500)
    frames = [rows, feature_frame(2600), shuffled_labels(rows, seed=1)]
    params = {family: {"min_data_in_leaf": 20}}
    trainer = QuantumModelTrainer(params=params, threads=2)
    trainer.anticipate(family, frames)

    together = [trainer.train(family, frame).to_bytes() for frame in frames]
    trainer.forget()

    alone = QuantumModelTrainer(params=params)
    assert together == [alone.train(family, frame).to_bytes() for frame in frames]


def test_a_training_begun_early_that_fails_says_so_in_its_turn() -> None:
    trainer = QuantumModelTrainer(params={"sklearn_ridge": {"alpha": "boom"}}, threads=2)
    trainer.anticipate("sklearn_ridge", [feature_frame(300)])

    with pytest.raises(TrainingFailed, match="sklearn_ridge broke down: ValueError: could not convert"):
        trainer.train("sklearn_ridge", feature_frame(300))
    trainer.forget()


def test_a_cycle_bins_the_rows_of_the_evaluation_fit_and_the_canary_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, trainer = feature_frame(2500), QuantumModelTrainer()
    binned: list[int] = []
    bins = XGBoostFamily.bins

    def counted(self: XGBoostFamily, df: pd.DataFrame, params: Mapping[str, Any]) -> Any:
        binned.append(len(df))
        return bins(self, df, params)

    monkeypatch.setattr(XGBoostFamily, "bins", counted)

    for frame in (rows, shuffled_labels(rows, seed=1), rows.iloc[:-100]):
        trainer.train("xgboost", frame, {"min_data_in_leaf": 20})

    assert binned == [2500, 2400]
