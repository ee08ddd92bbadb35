"""What every model family promises, ours and anybody's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clm.core import plugins
from clm.core.domain import TARGET
from clm.core.errors import ArtifactCorrupt, BadInput, InsufficientData, SchemaMismatch, UnknownModelType
from clm.core.protocols import ModelFamily, ModelTrainer, TrainedModel
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame

FAMILIES = ("xgboost", "lightgbm", "sklearn_ridge")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_trainer_is_one() -> None:
    assert isinstance(QuantumModelTrainer(), ModelTrainer)


def test_every_installed_family_is_trainable_by_its_name(family: str) -> None:
    assert family in plugins.trainable_model_types()
    assert isinstance(plugins.model_family(family), ModelFamily)


def test_a_trained_model_says_what_it_is(family: str) -> None:
    frame = feature_frame(2000)

    model = QuantumModelTrainer(seed=5).train(family, frame)

    assert isinstance(model, TrainedModel)
    assert model.model_type == family
    assert model.feature_names == tuple(frame.columns.drop(TARGET))
    assert model.params["seed"] == 5
    json.dumps(dict(model.params))
    assert model.suffix.startswith(".")


def test_forecasts_are_one_finite_log_return_per_row_of_sensible_size(family: str) -> None:
    frame = feature_frame(3000)

    forecast = QuantumModelTrainer().train(family, frame).predict(frame)

    assert forecast.shape == (3000,)
    assert forecast.dtype == np.float64
    assert np.abs(forecast).max() < 0.05


def test_a_forecast_depends_on_its_own_row_alone(family: str) -> None:
    frame = feature_frame(2000)
    model = QuantumModelTrainer().train(family, frame)

    assert np.allclose(model.predict(frame)[100:110], model.predict(frame.iloc[100:110]), rtol=0, atol=1e-15)


def test_same_frame_and_seed_give_the_same_bytes(family: str) -> None:
    frame = feature_frame(2000)

    one, two = (QuantumModelTrainer(seed=1).train(family, frame).to_bytes() for _ in range(2))

    assert one == two


def test_bytes_give_the_model_back(family: str) -> None:
    frame = feature_frame(2000)
    model = QuantumModelTrainer().train(family, frame)

    back = plugins.model_family(family).from_bytes(model.to_bytes())

    assert np.array_equal(back.predict(frame), model.predict(frame))
    assert back.to_bytes() == model.to_bytes()


def test_bytes_are_no_pickle(family: str) -> None:
    raw = QuantumModelTrainer().train(family, feature_frame(2000)).to_bytes()

    assert not raw.startswith(b"\x80")


def test_foreign_bytes_are_refused(family: str) -> None:
    with pytest.raises(ArtifactCorrupt):
        plugins.model_family(family).from_bytes(b"not a model")


def test_other_features_are_refused(family: str) -> None:
    frame = feature_frame(2000)
    model = QuantumModelTrainer().train(family, frame)

    with pytest.raises(SchemaMismatch):
        model.predict(frame.drop(columns="f1"))
    with pytest.raises(SchemaMismatch):
        model.predict(frame.assign(extra=0.0))


def test_an_unknown_parameter_is_refused(family: str) -> None:
    with pytest.raises(BadInput, match="colour"):
        QuantumModelTrainer().train(family, feature_frame(2000), {"colour": "blue"})


def test_too_few_rows_are_refused(family: str) -> None:
    with pytest.raises(InsufficientData):
        QuantumModelTrainer().train(family, feature_frame(50))


def test_library_versions_are_said(family: str) -> None:
    assert all(plugins.model_family(family).library_versions().values())


@pytest.mark.parametrize("name", ["prophet", "nhits", "", "XGBOOST"])
def test_an_unknown_family_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownModelType, match="lightgbm, sklearn_ridge, xgboost"):
        QuantumModelTrainer().train(name, feature_frame(500))
