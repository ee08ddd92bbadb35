"""A file that is intact may still be understood otherwise: a version is asked what it is known to answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core import plugins
from clm.core.answers import KnownAnswer
from clm.core.domain import TARGET, FloatArray
from clm.core.protocols import TrainedModel
from tests.support.frames import feature_frame

TREES = {"num_trees": 20, "min_data_in_leaf": 20}
FAMILIES = {"xgboost": TREES, "lightgbm": TREES, "sklearn_ridge": {}}


def trained(model_type: str) -> tuple[TrainedModel, pd.DataFrame]:
    rows = feature_frame(600, 4, seed=3)
    return plugins.model_family(model_type).train(rows, FAMILIES[model_type], 0), rows


class Otherwise:
    """A model as another library might understand its file: everything as it was, the forecast moved."""

    def __init__(self, model: Any, moved: float) -> None:
        self._model, self._moved = model, moved

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, df: pd.DataFrame) -> FloatArray:
        return self._model.predict(df) + self._moved


class OtherwiseByRow(Otherwise):
    """Only the quick way to one forecast is another."""

    def predict(self, df: pd.DataFrame) -> FloatArray:
        return self._model.predict(df)

    def predict_row(self, row: Any) -> float:
        return self._model.predict_row(row) + self._moved


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_model_read_back_answers_what_is_known(model_type: str) -> None:
    model, rows = trained(model_type)
    known = KnownAnswer.from_json(json.loads(json.dumps(KnownAnswer.of(model, rows).to_json())))
    again = plugins.model_family(model_type).from_bytes(model.to_bytes())

    assert known.strayed(model) is None
    assert known.strayed(again) is None
    assert known.rows.shape == (16, len(model.feature_names))


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("share", [-0.5, 0.01, 30.0])
def test_one_that_answers_otherwise_is_found_out_and_how_far_it_is_off(model_type: str, share: float) -> None:
    model, rows = trained(model_type)
    known = KnownAnswer.of(model, rows)
    moved = share * float(np.ptp(known.answers))

    strayed = known.strayed(Otherwise(model, moved))

    assert strayed is not None
    assert strayed.now - strayed.known == pytest.approx(moved)
    assert strayed.known in known.answers


def test_both_ways_of_forecasting_are_asked() -> None:
    model, rows = trained("xgboost")
    known = KnownAnswer.of(model, rows)

    assert known.strayed(OtherwiseByRow(model, 1e-3)) is not None


def test_other_features_are_another_model() -> None:
    model, rows = trained("lightgbm")
    fewer = plugins.model_family("lightgbm").train(rows.drop(columns=rows.columns[0]), TREES, 0)

    assert KnownAnswer.of(model, rows).strayed(fewer) is not None


def test_the_rows_span_what_the_model_can_say() -> None:
    model, rows = trained("xgboost")
    said = model.predict(rows.iloc[-512:].drop(columns=TARGET).astype("float32"))

    known = KnownAnswer.of(model, rows)

    assert (known.answers.min(), known.answers.max()) == pytest.approx((said.min(), said.max()))


@given(
    answers=st.lists(st.floats(-1, 1), min_size=1, max_size=16),
    width=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_it_is_kept_to_the_last_bit(answers: list[float], width: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(0, 1, (len(answers), width)).astype(np.float32)
    known = KnownAnswer(rows, np.array(answers))

    again = KnownAnswer.from_json(json.loads(json.dumps(known.to_json())))

    assert (again.rows.tobytes(), again.answers.tobytes()) == (rows.tobytes(), known.answers.tobytes())
