"""Whatever a family raises, it is a failed training with its cause, and nobody else's."""

from __future__ import annotations

from types import MappingProxyType

import pandas as pd
import pytest

from clm.core import scoring
from clm.core.domain import FloatArray
from clm.core.errors import TrainingFailed
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
