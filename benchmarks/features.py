"""Features: our catalogue against the same features written with pandas rolling windows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.market import best_of, candles
from benchmarks.pandas_features import LEFT_OUT, pandas_features
from benchmarks.result import Result
from clm.core.domain import TARGET
from clm.features.engineer import QuantumFeatureEngineer

_DAYS = 2190
#: Both sides must mean the same: correlation of each feature with its peer.
_AGREEMENT = 0.995


def run() -> list[Result]:
    frame = candles(_DAYS)
    engineer = QuantumFeatureEngineer()
    engineer.catalogue = tuple(f for f in engineer.catalogue if not f.name.startswith(LEFT_OUT))
    _check_agreement(engineer.transform(frame.iloc[:5000]), pandas_features(frame.iloc[:5000]))
    ours, peer = best_of(3, lambda: engineer.transform(frame), lambda: pandas_features(frame))
    cells = len(frame) * len(engineer.catalogue)
    note = f"{len(frame):,} candles × {len(engineer.catalogue)} features: {cells / ours / 1e6:.0f} M values/s"
    return [Result("features: catalogue", "pandas rolling", ours, peer, note)]


def _check_agreement(ours: pd.DataFrame, peer: pd.DataFrame) -> None:
    left, right = ours.drop(columns=TARGET), peer.loc[ours.index]
    missing = set(map(str, left)) ^ set(map(str, right))
    if missing:
        raise SystemExit(f"the two sides compute different features: {sorted(missing)}")
    wrong = [
        name for name in left
        if np.corrcoef(left[name], right[name])[0, 1] < _AGREEMENT
    ]  # fmt: skip
    if wrong:
        raise SystemExit(f"the two sides disagree about {wrong}")
