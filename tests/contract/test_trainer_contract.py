"""What every model family promises, ours and anybody's."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest

from clm.core import plugins, scoring
from clm.core.domain import TARGET
from clm.core.errors import ArtifactCorrupt, BadInput, InsufficientData, SchemaMismatch, UnknownModelType
from clm.core.protocols import ModelFamily, ModelTrainer, TrainedModel
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame
from tests.support.networks import NEURAL, needs_deep, network, past_frame, small

FAMILIES = (
    "xgboost", "lightgbm", "sklearn_ridge",
    *(pytest.param(name, marks=[needs_deep, pytest.mark.rehearse]) for name in NEURAL),
)  # fmt: skip


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def frame_for(family: str) -> pd.DataFrame:
    """Rows the family can learn from."""
    return past_frame() if family in NEURAL else feature_frame(2000)


@cache
def trained(family: str, seed: int = 0, again: int = 0) -> TrainedModel:
    """On those rows, once per seed; again: a training of its own all the same."""
    if family in NEURAL:
        model: TrainedModel = network(family, seed, again)
        return model
    return QuantumModelTrainer(seed=seed).train(family, frame_for(family))


def inputs(family: str) -> pd.DataFrame:
    """What the trained model is asked with."""
    return scoring.inputs(trained(family), frame_for(family))


def test_the_trainer_is_one() -> None:
    assert isinstance(QuantumModelTrainer(), ModelTrainer)


def test_every_installed_family_is_trainable_by_its_name(family: str) -> None:
    assert family in plugins.trainable_model_types()
    assert isinstance(plugins.model_family(family), ModelFamily)


def test_a_trained_model_says_what_it_is(family: str) -> None:
    model = trained(family)

    assert isinstance(model, TrainedModel)
    assert model.model_type == family
    assert set(model.feature_names) <= set(frame_for(family).columns.drop(TARGET))
    assert model.params["seed"] == 0
    json.dumps(dict(model.params))
    assert model.suffix.startswith(".")


def test_forecasts_are_one_finite_log_return_per_row_of_sensible_size(family: str) -> None:
    forecast = trained(family).predict(inputs(family))

    assert forecast.shape == (len(frame_for(family)),)
    assert forecast.dtype == np.float64
    assert np.abs(forecast).max() < 0.05


def test_a_forecast_depends_on_its_own_row_alone(family: str) -> None:
    model, rows = trained(family), inputs(family)

    assert np.allclose(model.predict(rows)[100:110], model.predict(rows.iloc[100:110]), rtol=0, atol=1e-15)


def test_same_frame_and_seed_give_the_same_bytes(family: str) -> None:
    assert trained(family).to_bytes() == trained(family, again=1).to_bytes()


def test_bytes_give_the_model_back(family: str) -> None:
    model, rows = trained(family), inputs(family)

    back = plugins.model_family(family).from_bytes(model.to_bytes())

    assert np.array_equal(back.predict(rows), model.predict(rows))
    assert back.to_bytes() == model.to_bytes()


def test_bytes_are_no_pickle(family: str) -> None:
    raw = trained(family).to_bytes()

    assert not raw.startswith(b"\x80")


def test_foreign_bytes_are_refused(family: str) -> None:
    with pytest.raises(ArtifactCorrupt):
        plugins.model_family(family).from_bytes(b"not a model")


def test_other_features_are_refused(family: str) -> None:
    model, rows = trained(family), inputs(family)

    with pytest.raises(SchemaMismatch):
        model.predict(rows.drop(columns=model.feature_names[1]))
    with pytest.raises(SchemaMismatch):
        model.predict(rows.assign(extra=0.0))


def test_an_unknown_parameter_is_refused(family: str) -> None:
    with pytest.raises(BadInput, match="colour"):
        QuantumModelTrainer().train(family, frame_for(family), {"colour": "blue"})


def test_too_few_rows_are_refused(family: str) -> None:
    with pytest.raises(InsufficientData):
        QuantumModelTrainer(params={family: small(family)} if family in NEURAL else {}).train(
            family, frame_for(family).iloc[:50]
        )


def test_library_versions_are_said(family: str) -> None:
    assert all(plugins.model_family(family).library_versions().values())


@pytest.mark.parametrize("name", ["prophet", "", "XGBOOST"])
def test_an_unknown_family_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownModelType, match=r"lightgbm, .*sklearn_ridge, xgboost"):
        QuantumModelTrainer().train(name, feature_frame(500))
