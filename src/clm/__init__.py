"""Continuous Learning Manager: the public names, resolved when first used so that `import clm` stays fast."""

from __future__ import annotations

from importlib import import_module  # noqa: TID251  # of names that stand below
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clm.core.domain import ModelType as ModelType
    from clm.core.manager import ContinuousLearningManager as ContinuousLearningManager
    from clm.evaluation.evaluator import QuantumModelEvaluator as QuantumModelEvaluator
    from clm.features.engineer import QuantumFeatureEngineer as QuantumFeatureEngineer
    from clm.market.binance import BinanceDataClient as BinanceDataClient
    from clm.registry.sql import SQLModelRegistry as SQLModelRegistry
    from clm.settings import Settings as Settings
    from clm.shadow.tester import QuantumShadowTester as QuantumShadowTester
    from clm.training.trainer import QuantumModelTrainer as QuantumModelTrainer

_HOMES = {
    "ContinuousLearningManager": "clm.core.manager",
    "ModelType": "clm.core.domain",
    "BinanceDataClient": "clm.market.binance",
    "QuantumFeatureEngineer": "clm.features.engineer",
    "QuantumModelTrainer": "clm.training.trainer",
    "QuantumModelEvaluator": "clm.evaluation.evaluator",
    "QuantumShadowTester": "clm.shadow.tester",
    "SQLModelRegistry": "clm.registry.sql",
    "Settings": "clm.settings",
}

__all__ = [
    "BinanceDataClient",
    "ContinuousLearningManager",
    "ModelType",
    "QuantumFeatureEngineer",
    "QuantumModelEvaluator",
    "QuantumModelTrainer",
    "QuantumShadowTester",
    "SQLModelRegistry",
    "Settings",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
