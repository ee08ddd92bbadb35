"""No look-ahead, over the whole cycle: the future changes nothing, noise cannot be forecast, and every hour
two models are compared on lies after both trainings. Each check is shown to find a leak that was planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET, ModelArtifact, RetrainReport, Series
from clm.core.policy import NewestPolicy
from clm.core.protocols import TrainedModel
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk, real_candles
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC

HOUR = timedelta(hours=1)
PURGE = timedelta(hours=24)


class _Watching(QuantumModelTrainer):
    """Trains as ours and writes down the moment the last label it was handed became known."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[pd.Timestamp] = []

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        labelled = df.index[df[TARGET].notna()]
        self.known.append(labelled[-1] + 2 * HOUR)
        return super().train(model_type, df, params)


class _Lying(DictRegistry):
    """Says of every champion that its training ended a month before it did: a planted leak."""

    def for_series(self, series: Series) -> DictRegistry:
        return self

    def get_active(self, model_type: str) -> ModelArtifact | None:
        found = super().get_active(model_type)
        return found and replace(found, train_end=found.train_end - timedelta(days=30))


def _cycles(candles: pd.DataFrame, registry: DictRegistry) -> tuple[list[RetrainReport], list[pd.Timestamp]]:
    """Five cycles, each model the champion of the next; with the training end of each artifact."""
    client, trainer, reports, ends = FrameDataClient(candles), _Watching(), [], []
    manager = manager_over(
        client, registry, promotion_policy=NewestPolicy(), training_lookback_days=120, models=("lightgbm",)
    )
    manager.attempt = replace(manager.attempt, trainer=trainer)
    client.now -= timedelta(days=40)
    for _ in range(5):
        reports.append(manager.run_full_cycle(force=True))
        ends.append(trainer.known[-1])
        client.now += timedelta(days=8)
    # Each cycle trains three times: on what comes before the holdout, the same with shuffled labels, and
    # up to the shadow window.
    for report, judged_end in zip(reports, trainer.known[::3], strict=True):
        assert report.evaluations[0].times[0] + HOUR - judged_end >= PURGE
    return reports, ends


def _hours_in_training(reports: list[RetrainReport], ends: list[pd.Timestamp]) -> int:
    """Compared hours that lie before the champion's own training end plus purge."""
    inside = 0
    for report, champions_end in zip(reports[1:], ends, strict=False):
        for evaluation in report.evaluations:
            if evaluation.role == "champion":
                inside += int((evaluation.times + HOUR < champions_end + PURGE).sum())
    return inside


def test_no_hour_is_compared_that_lies_in_anyones_training() -> None:
    candles = real_candles(start="2024-01-01", end="2024-09-01")

    reports, ends = _cycles(candles, DictRegistry(BTC))

    assert [d.label for r in reports for d in r.decisions] == ["first", *["newest"] * 4]
    assert sum(e.role == "champion" for r in reports for e in r.evaluations) == 4
    assert _hours_in_training(reports, ends) == 0


def test_hours_of_a_training_that_are_compared_all_the_same_are_found_by_that_very_check() -> None:
    candles = random_walk(24 * 240, seed=1)

    assert _hours_in_training(*_cycles(candles, DictRegistry(BTC))) == 0
    assert _hours_in_training(*_cycles(candles, _Lying(BTC))) > 1000


def test_what_happens_after_now_changes_no_bit_of_a_cycle() -> None:
    candles = real_candles(start="2024-01-01", end="2024-09-01")
    now = pd.Timestamp("2024-07-15 12:20", tz="UTC")
    other = candles.copy()
    later = other.index + HOUR > now
    other.loc[later, ["open", "high", "low", "close"]] *= 1.7

    def run(frame: pd.DataFrame) -> tuple[RetrainReport, bytes]:
        registry, client = DictRegistry(BTC), FrameDataClient(frame)
        client.now = now.to_pydatetime()
        features = QuantumFeatureEngineer()
        ticks = iter(range(100))
        manager = manager_over(
            client, registry, features=features, training_lookback_days=150, clock=lambda: float(next(ticks)),
            wall=now.to_pydatetime,
        )  # fmt: skip
        report = manager.run_full_cycle()
        version = registry.get_active("lightgbm")
        assert version is not None
        assert version.model is not None
        return report, version.model.to_bytes()

    assert later.any()
    assert run(candles) == run(other)


class _Peeking(QuantumFeatureEngineer):
    """Ours, with one column that knows a little of the next candle: a planted leak."""

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        frame = super().transform(df)
        noise = np.random.default_rng(0).normal(0, 0.03, len(frame))
        frame.insert(len(frame.columns) - 1, "hint", frame[TARGET].fillna(0).to_numpy() + noise)
        return frame


def _holdout_r2(seed: int, features: QuantumFeatureEngineer) -> list[float]:
    candles = random_walk(24 * 370 + 200, seed=seed)
    manager = manager_over(
        candles, features=features, training_lookback_days=365, models=("lightgbm", "xgboost")
    )
    return [float(e.metrics["r2"] or 0) for e in manager.run_full_cycle().evaluations]


def _forecastable(r2: np.ndarray) -> bool:
    """Whether the mean over seeds lies above zero by more than two standard errors, for either family."""
    error = r2.std(axis=0, ddof=1) / np.sqrt(len(r2))
    return bool((r2.mean(axis=0) > 2 * error).any())


@pytest.mark.rehearse
def test_a_random_walk_cannot_be_forecast_but_a_planted_hint_can() -> None:
    """Over 20 seeds the holdout R² centres at or below zero; with a hint the very same check goes off."""
    ours = QuantumFeatureEngineer(use_advanced=False)

    honest = np.array([_holdout_r2(seed, ours) for seed in range(20)])
    leaking = np.array([_holdout_r2(seed, _Peeking(use_advanced=False)) for seed in range(5)])

    assert not _forecastable(honest), honest.mean(axis=0)
    assert np.median(honest) <= 0
    assert _forecastable(leaking)
