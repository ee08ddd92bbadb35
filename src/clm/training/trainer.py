"""The trainer: picks the family, hands it rows whose targets are known, one seed, one set of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import TARGET, ModelType
from clm.core.errors import BadInput, ClmError, InsufficientData, TrainingFailed
from clm.core.plugins import model_family
from clm.core.protocols import TrainedModel

#: Below this a fit is noise whatever the parameters.
MIN_ROWS = 200


class QuantumModelTrainer:
    """Trains every family registered on this machine.

    params: per family, merged over the family's defaults and under those of a call; `{"lightgbm":
    {"preset": "accurate"}}`. seed: of every random choice.
    """

    def __init__(self, *, params: Mapping[str, Mapping[str, Any]] | None = None, seed: int = 0) -> None:
        self._params = {str(name): dict(values) for name, values in (params or {}).items()}
        self.seed = seed

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        family = model_family(str(model_type))
        if TARGET not in df.columns:
            raise BadInput("df", list(df.columns)[:5], f"a feature frame with the column {TARGET!r}")
        known = np.isfinite(df[TARGET].to_numpy(dtype=np.float64))
        rows = df if known.all() else df.loc[known]
        if len(rows) < MIN_ROWS:
            raise InsufficientData(
                f"{model_type}: {len(rows)} rows to train on; at least {MIN_ROWS} are needed"
            )
        given = {**self._params.get(str(model_type), {}), **(params or {})}
        try:
            return family.train(rows, given, self.seed)
        except ClmError:
            raise
        except Exception as exc:
            # Families come from anywhere, and raise anything: one that breaks must not break the others.
            raise TrainingFailed(f"{model_type} broke down: {type(exc).__name__}: {exc}") from exc

    def train_xgboost(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.XGBOOST, df, params)

    def train_lightgbm(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.LIGHTGBM, df, params)

    def train_nhits(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.NHITS, df, params)

    def train_patchtst(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.PATCHTST, df, params)
