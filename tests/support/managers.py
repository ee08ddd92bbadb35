"""Managers put together from real parts over candles in memory."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clm.core.manager import ContinuousLearningManager
from clm.core.protocols import DataClient, FeatureEngineer, ModelRegistry, ModelTrainer
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.features.engineer import QuantumFeatureEngineer
from clm.shadow.tester import QuantumShadowTester
from clm.training.trainer import QuantumModelTrainer
from tests.support.parts import DictRegistry, FrameDataClient


def manager_over(
    candles: pd.DataFrame | DataClient,
    registry: ModelRegistry | None = None,
    *,
    features: FeatureEngineer | None = None,
    trainer: ModelTrainer | None = None,
    trainer_params: dict[str, dict[str, Any]] | None = None,
    **settings: Any,
) -> ContinuousLearningManager:
    """A manager with our trainer, evaluator and shadow tester; lookback 90 days unless told otherwise."""
    client = FrameDataClient(candles) if isinstance(candles, pd.DataFrame) else candles
    engineer = features or QuantumFeatureEngineer(use_advanced=False)
    return ContinuousLearningManager(
        data_client=client,
        feature_engineer=engineer,
        model_trainer=trainer or QuantumModelTrainer(params=trainer_params or {}),
        model_evaluator=QuantumModelEvaluator(engineer),
        shadow_tester=QuantumShadowTester(client, engineer),
        model_registry=registry or DictRegistry(client.series),
        **{"training_lookback_days": 90, "models": ("lightgbm",), **settings},
    )
