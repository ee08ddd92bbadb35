"""Candidates for registries: a small real model and the row that goes with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from clm.core import plugins
from clm.core.domain import ModelArtifact, Series, version_name
from clm.core.protocols import TrainedModel
from tests.support.frames import feature_frame

BTC = Series("BTCUSDT", "1h")
ETH = Series("ETHUSDT", "1h")
T0 = datetime(2024, 5, 1, tzinfo=UTC)


@cache
def small_model(model_type: str = "sklearn_ridge", seed: int = 0) -> TrainedModel:
    """A model that is made and loaded in a blink."""
    params = {} if model_type == "sklearn_ridge" else {"num_trees": 3, "min_data_in_leaf": 20}
    return plugins.model_family(model_type).train(feature_frame(300, 4, seed=seed), params, seed)


def candidate(
    day: int = 0, *, series: Series = BTC, model_type: str = "sklearn_ridge", **fields: Any
) -> ModelArtifact:
    """A candidate trained `day` days after T0."""
    trained = T0 + timedelta(days=day)
    given: dict[str, Any] = {
        "series": series,
        "model_type": model_type,
        "version": version_name(trained),
        "trained_at": trained,
        "train_start": trained - timedelta(days=365),
        "train_end": trained - timedelta(days=2),
        "training_samples": 8000,
        "metrics": {"rmse": 0.005, "mae": 0.003, "directional_accuracy": None},
        "params": {"alpha": 1.0},
        "seed": 7,
        "recipe_id": "abc",
        "feature_schema_hash": "f" * 64,
        "data_fingerprint": "d" * 64,
        "library_versions": {"numpy": "2"},
        "notes": "a note",
        "model": small_model(model_type),
    }
    return ModelArtifact(**{**given, **fields})
