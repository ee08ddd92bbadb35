"""Features: our catalogue against the same features written with pandas rolling windows.

Over six years of hours, and over a million minutes, there with the memory it takes besides what is there.
"""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.market import best_of, candles
from benchmarks.pandas_features import LEFT_OUT, pandas_features
from benchmarks.result import Result
from clm.core.domain import TARGET
from clm.features.engineer import QuantumFeatureEngineer

_DAYS, _MINUTES = 2190, 1_000_000
#: Both sides must mean the same: correlation of each feature with its peer.
_AGREEMENT = 0.995


def run(days: float = _DAYS, minutes: int = _MINUTES) -> list[Result]:
    """days: of hours."""
    engineer = QuantumFeatureEngineer()
    engineer.catalogue = tuple(f for f in engineer.catalogue if not f.name.startswith(LEFT_OUT))
    hours = candles(days)
    _check_agreement(engineer.transform(hours.iloc[:5000]), pandas_features(hours.iloc[:5000]))
    many = candles(minutes / 1440, "1m").iloc[:minutes]
    return [
        _compared("features: six years of hours", engineer, hours, 3),
        _compared("features: a million minutes", engineer, many, 2),
        _whole_catalogue(many),
    ]


def _compared(name: str, engineer: QuantumFeatureEngineer, frame: pd.DataFrame, rounds: int) -> Result:
    ours, peer = best_of(rounds, lambda: engineer.transform(frame), lambda: pandas_features(frame))
    columns = len(engineer.catalogue)
    speed = f"{len(frame) / ours / 1e6:.2f} M rows/s against {len(frame) / peer / 1e6:.2f}"
    return Result(name, "pandas rolling", ours, peer, f"{len(frame):,} candles × {columns} features, {speed}")


def _whole_catalogue(frame: pd.DataFrame) -> Result:
    """With Aroon and CCI, in a process of its own, whose memory shows."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        ours, peer, growth, columns = apart.submit(_measured, frame).result()
    note = f"{len(frame):,} candles × {columns} features; memory grows by {growth:.2f} times the matrix"
    return Result("features: the same, whole catalogue", "copying the matrix", ours, peer, note)


def _measured(frame: pd.DataFrame) -> tuple[float, float, float, int]:
    """Seconds of the features and of a copy of them; growth of this process by the matrix; columns."""
    engineer = QuantumFeatureEngineer()
    engineer.transform(frame.iloc[:5000])
    gc.collect()
    before = _resident("VmRSS")
    # The high-water mark begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    features = engineer.transform(frame)
    matrix = len(features) * len(engineer.catalogue) * 4
    growth = (_resident("VmHWM") - before) / matrix
    ours, peer = best_of(2, lambda: engineer.transform(frame), features.copy)
    return ours, peer, growth, len(engineer.catalogue)


def _resident(line: str) -> int:
    """Bytes of this process' memory, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(f"{line}:"))


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
