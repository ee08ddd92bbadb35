"""The leakage certificate: what a version may have seen, and two experiments that find who saw more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.certificate import CANARY_Z, check_truncation, shuffled_labels
from clm.core.domain import SCALE, TARGET, Outcome, VersionStatus
from clm.core.errors import TrainingFailed
from clm.core.protocols import TrainedModel
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk, real_candles
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC

CANDLES = random_walk(24 * 130, seed=4)


class _Peeking(QuantumFeatureEngineer):
    """One column smoothed over the candles around it: half of them have not happened yet."""

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        frame = super().transform(df)
        log_close = np.log(df["close"])
        centred = (log_close - log_close.rolling(5, center=True, min_periods=1).mean()).reindex(frame.index)
        frame.insert(0, "centred", centred.astype("float32"))
        return frame


def test_a_candidate_carries_what_it_saw_and_what_it_was_judged_on() -> None:
    registry = DictRegistry(BTC)
    client = FrameDataClient(CANDLES)
    manager_over(client, registry).run_full_cycle()
    version = registry.get_active("lightgbm")

    assert version is not None
    certificate = version.certificate
    assert certificate is not None
    assert certificate["problems"] == []
    assert certificate["purge_hours"] == 24
    assert certificate["holdout_candles"] == 720
    assert certificate["truncation"] == 0
    assert certificate["truncation_rows"] >= 5
    assert certificate["canary_z"] < CANARY_Z
    assert certificate["train_end"] == (client.now - timedelta(hours=48)).isoformat().replace("+00:00", "Z")


def test_our_features_do_not_change_when_the_future_is_cut_off() -> None:
    candles, engineer = real_candles(start="2024-01-01", end="2024-04-01"), QuantumFeatureEngineer()

    found = check_truncation(engineer, candles, engineer.transform(candles))

    assert (found.rows, found.deviation) == (8, 0.0)


def test_a_feature_that_peeks_is_found_by_name_and_the_candidate_rejected() -> None:
    registry = DictRegistry(BTC)

    report = manager_over(CANDLES, registry, features=_Peeking(use_advanced=False)).run_full_cycle()

    (decision,) = report.decisions
    assert (decision.outcome, decision.label) == (Outcome.REJECT, "certificate")
    assert "feature centred changes" in decision.reason
    assert registry.get_active("lightgbm") is None
    assert registry.get_model_history("lightgbm")[0].status is VersionStatus.RETIRED


class _Told(QuantumModelTrainer):
    """Its models know the outcomes of the rows they are handed, whatever they were trained on."""

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        model = super().train(model_type, df, params)
        inner = model.predict

        def predict(rows: pd.DataFrame) -> Any:
            told = rows[TARGET].fillna(0).to_numpy() if TARGET in rows else 0
            return inner(rows) + 0.3 * told

        model.predict = predict  # type: ignore[method-assign]
        return model


def test_the_canary_dies_where_the_outcome_is_told() -> None:
    registry, client = DictRegistry(BTC), FrameDataClient(CANDLES)
    whole = manager_over(client, registry)
    from dataclasses import replace

    whole.attempt = replace(whole.attempt, trainer=_Told())

    (decision,) = whole.run_full_cycle().decisions

    assert (decision.outcome, decision.label) == (Outcome.REJECT, "certificate")
    assert "shuffled labels" in decision.reason


class _NoSplits(QuantumModelTrainer):
    """Finds nothing in the canary's noise."""

    calls = 0

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        type(self).calls += 1
        if type(self).calls == 2:
            raise TrainingFailed("lightgbm: no tree found a split")
        return super().train(model_type, df, params)


def test_a_canary_that_finds_nothing_to_learn_is_alive() -> None:
    registry = DictRegistry(BTC)
    whole = manager_over(CANDLES, registry)
    from dataclasses import replace

    whole.attempt = replace(whole.attempt, trainer=_NoSplits())

    assert [d.label for d in whole.run_full_cycle().decisions] == ["first"]
    version = registry.get_active("lightgbm")
    assert version is not None
    assert version.certificate is not None
    assert version.certificate["canary_r2"] == 0


def test_shuffling_keeps_the_labels_and_loses_their_places() -> None:
    frame = pd.DataFrame({SCALE: np.ones(100), TARGET: np.arange(100.0)})

    shuffled = shuffled_labels(frame, 1)

    assert sorted(shuffled[TARGET]) == sorted(frame[TARGET])
    assert (shuffled[TARGET] != frame[TARGET]).mean() > 0.9
    assert shuffled.equals(shuffled_labels(frame, 1))


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_recipe_keeps_its_canary(seed: int) -> None:
    registry = DictRegistry(BTC)
    manager_over(random_walk(24 * 130, seed=seed), registry).run_full_cycle()
    version = registry.get_active("lightgbm")

    assert version is not None
    assert version.certificate is not None
    assert version.certificate["problems"] == []
