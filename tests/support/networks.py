"""Small networks: a window of sixteen candles, a few steps; what they learn from, where they can be had."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core import plugins
from clm.core.domain import TARGET
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk

NEURAL = ("nhits", "patchtst")
SMALL: dict[str, Any] = {
    "input_size": 16, "max_steps": 20, "val_check_steps": 10, "hidden_size": 16, "batch_size": 128
}  # fmt: skip
_PATCHES = {"patch_len": 8, "stride": 4, "encoder_layers": 1, "n_heads": 2}

needs_deep = pytest.mark.skipif(
    any(plugins.lacking(name) for name in NEURAL), reason="the extra `deep` is not installed"
)


def small(family: str, **more: Any) -> dict[str, Any]:
    """Parameters of a network that trains in a second, besides the seconds PyTorch takes to load."""
    return {**SMALL, **(_PATCHES if family == "patchtst" else {}), **more}


@cache
def past_frame(rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Basic features of a random walk, with what small networks look back on. Do not write to it."""
    past = dict.fromkeys(("return_1", "shock", "taker_share"), 16)
    engineer = QuantumFeatureEngineer(use_advanced=False, past=past)
    features = engineer.transform(random_walk(rows + engineer.warmup + 1, seed=seed))
    return features.loc[np.isfinite(features[TARGET])]


@cache
def network(family: str, seed: int = 0, again: int = 0) -> Any:
    """A small one trained on `past_frame()`, once per process; again: a training of its own all the same."""
    return QuantumModelTrainer(params={family: small(family)}, seed=seed).train(family, past_frame())
