"""A forest of ours answers as the library that grew it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clm.core.domain import TARGET
from clm.core.errors import SchemaMismatch
from clm.core.protocols import RowModel
from clm.training.forest import Forest, forest_of_lightgbm, forest_of_xgboost
from clm.training.scaling import feature_matrix
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame

FAMILIES = ("xgboost", "lightgbm")
FRAME = feature_frame(3000)
MATRIX = feature_matrix(FRAME, [str(c) for c in FRAME.columns if c != TARGET])


def _both(family: str, params: dict[str, Any]) -> tuple[Forest, np.ndarray[Any, Any]]:
    model: Any = QuantumModelTrainer(seed=1).train(family, FRAME, params)
    booster = model._booster
    if family == "xgboost":
        return forest_of_xgboost(bytes(booster.save_raw("json"))), booster.inplace_predict(MATRIX)
    return forest_of_lightgbm(booster.dump_model()), booster.predict(MATRIX)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "params",
    [
        {"min_data_in_leaf": 50},
        {"preset": "fast"},
        {"preset": "accurate", "num_boost_round": 60},
        {"num_boost_round": 1, "max_depth": 1, "min_data_in_leaf": 50},
        {"max_depth": 12, "max_leaves": 300, "min_data_in_leaf": 2, "feature_fraction": 1.0},
    ],
)
def test_every_row_gets_the_librarys_answer_within_float32_rounding(
    family: str, params: dict[str, Any]
) -> None:
    forest, expected = _both(family, params)

    answers = np.array([forest.predict_row(row) for row in MATRIX])

    spread = np.abs(expected).max()
    assert np.abs(answers - expected).max() <= 1e-6 * spread
    assert len(np.unique(answers)) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_right_on_a_threshold_goes_where_the_library_sends_it(family: str) -> None:
    model: Any = QuantumModelTrainer(seed=1).train(family, FRAME, {"min_data_in_leaf": 50})
    forest, _ = _both(family, {"min_data_in_leaf": 50})
    splits = np.flatnonzero(np.isfinite(forest.threshold))[:200]
    rows = np.repeat(MATRIX[:1], len(splits), axis=0)
    for row, split in zip(rows, splits, strict=True):
        row[forest.feature[split]] = np.float32(forest.threshold[split])

    raw = model._booster.inplace_predict(rows) if family == "xgboost" else model._booster.predict(rows)

    answers = np.array([forest.predict_row(row) for row in rows])
    assert np.abs(answers - raw).max() <= 1e-6 * np.abs(raw).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_that_never_split_are_leaves(family: str) -> None:
    forest, expected = _both(family, {"min_data_in_leaf": 700, "lambda_l2": 1.0})

    assert forest.predict_row(MATRIX[0]) == pytest.approx(float(expected[0]), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scaling", [True, False])
def test_a_model_answers_one_row_as_it_answers_a_frame(family: str, scaling: bool) -> None:
    params = {"min_data_in_leaf": 50, "target_scaling": scaling}
    model: Any = QuantumModelTrainer(seed=1).train(family, FRAME, params)
    expected = model.predict(FRAME)

    answers = np.array([model.predict_row(row) for row in MATRIX])

    assert isinstance(model, RowModel)
    assert np.abs(answers - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_is_none_of_the_models_is_refused(family: str) -> None:
    model: Any = QuantumModelTrainer(seed=1).train(family, FRAME, {"min_data_in_leaf": 50})
    hollow = MATRIX[0].copy()
    hollow[3] = np.nan

    with pytest.raises(SchemaMismatch, match=f"{model.feature_names[3]} is not finite"):
        model.predict_row(hollow)
    with pytest.raises(SchemaMismatch, match="the row has 5"):
        model.predict_row(MATRIX[0][:5])
