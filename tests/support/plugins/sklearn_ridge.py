"""A third-party package: scikit-learn's Ridge as a model family of CLM, on one page.

By its formula, not by the library: where scikit-learn is installed, every process that imports LightGBM
imports it too, which costs each of a test's processes more than a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy
from scipy.linalg import solve

from clm.core.domain import TARGET, FloatArray
from clm.core.errors import ArtifactCorrupt, BadInput, SchemaMismatch
from clm.core.space import Range


class RidgeModel:
    """Coefficients; the file is JSON."""

    model_type = "sklearn_ridge"
    suffix = ".json"

    def __init__(
        self, names: tuple[str, ...], coefficients: FloatArray, intercept: float, params: Mapping[str, Any]
    ) -> None:
        self.feature_names = names
        self._coefficients = coefficients
        self._intercept = intercept
        self.params = dict(params)

    def predict(self, df: pd.DataFrame) -> FloatArray:
        given = [name for name in df.columns if name != TARGET]
        if sorted(given) != sorted(self.feature_names):
            raise SchemaMismatch(f"expected {self.feature_names}, got {given}")
        return df[list(self.feature_names)].to_numpy(dtype=np.float64) @ self._coefficients + self._intercept

    def to_bytes(self) -> bytes:
        fields = {
            "names": self.feature_names,
            "coefficients": list(self._coefficients),
            "intercept": self._intercept,
            "params": self.params,
        }
        return json.dumps(fields, sort_keys=True).encode()


class RidgeFamily:
    """Registered as `sklearn_ridge` in the group `clm.trainers`."""

    def train(self, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> RidgeModel:
        unknown = set(params) - {"alpha"}
        if unknown:
            raise BadInput("sklearn_ridge parameter", sorted(unknown)[0], "alpha")
        names = tuple(str(name) for name in df.columns if name != TARGET)
        alpha = float(params.get("alpha", 1000.0))
        x, y = df[list(names)].to_numpy(dtype=np.float64), df[TARGET].to_numpy(dtype=np.float64)
        centre, level = x.mean(axis=0), float(y.mean())
        away = x - centre
        coefficients = solve(away.T @ away + alpha * np.eye(len(names)), away.T @ (y - level), assume_a="pos")
        params = {"alpha": alpha, "seed": seed}
        return RidgeModel(names, coefficients, level - float(centre @ coefficients), params)

    def from_bytes(self, raw: bytes) -> RidgeModel:
        try:
            read = json.loads(raw)
            names, params = tuple(map(str, read["names"])), dict(read["params"])
            coefficients = np.array(read["coefficients"], dtype=np.float64)
            intercept = float(read["intercept"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
            raise ArtifactCorrupt(f"sklearn_ridge: {exc}") from exc
        if coefficients.shape != (len(names),) or len(set(names)) != len(names):
            raise ArtifactCorrupt("sklearn_ridge: not one coefficient for each feature")
        # Returns of more than a millionfold are no forecasts, and cannot overflow either.
        if not (np.abs([*coefficients, intercept]) < 1e6).all():
            raise ArtifactCorrupt("sklearn_ridge: a coefficient is absurd")
        return RidgeModel(names, coefficients, intercept, params)

    def library_versions(self) -> Mapping[str, str]:
        return {"scipy": scipy.__version__}

    def space(self) -> Mapping[str, Range]:
        return {"alpha": Range(10, 100_000, log=True)}
