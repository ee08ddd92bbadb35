"""The feature engineer: cuts candles at gaps, fills one matrix, knows its own warm-up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, TARGET
from clm.core.errors import InsufficientData, InvalidCandles, InvalidSetting
from clm.features.bars import Bars
from clm.features.catalogue import ADVANCED, BASIC


class QuantumFeatureEngineer:
    """Features of the catalogue, float32, and the target.

    use_advanced: the whole catalogue (100+), else the basic 25 or so. horizon: candles the target is ahead.
    """

    def __init__(self, use_advanced: bool = True, *, horizon: int = 1) -> None:
        if horizon < 1:
            raise InvalidSetting("horizon", horizon, "a whole number of candles, at least 1")
        self.catalogue = ADVANCED if use_advanced else BASIC
        self.horizon = horizon

    @property
    def warmup(self) -> int:
        """Candles before the first row: the longest look-back of the catalogue."""
        return max(feature.lookback for feature in self.catalogue)

    def get_feature_names(self) -> list[str]:
        return [feature.name for feature in self.catalogue]

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        """Rows with full history, of shape (rows, features + 1); see `FeatureEngineer.transform`."""
        _check(df)
        opens = pd.DatetimeIndex(df.index).as_unit("ns").asi8
        starts = _segment_starts(opens)
        ends = np.append(starts[1:], len(df))
        long = [(s, e) for s, e in zip(starts, ends, strict=True) if e - s > self.warmup]
        if not long:
            raise InsufficientData(
                f"no run of candles without a gap is longer than {self.warmup} candles, the warm-up; "
                f"given: {len(df)} candles with {len(starts) - 1} gaps"
            )
        rows = sum(e - s - self.warmup for s, e in long)
        matrix = np.empty((rows, len(self.catalogue)), dtype=np.float32, order="F")
        target = np.full(rows, np.nan)
        kept = np.empty(rows, dtype=np.int64)
        at = 0
        for start, end in long:
            bars = Bars(df.iloc[start:end])
            size = end - start - self.warmup
            for column, feature in enumerate(self.catalogue):
                matrix[at : at + size, column] = feature.function(bars)[self.warmup :]
            known = size - self.horizon
            if known > 0:
                level = bars.log_close[self.warmup :]
                target[at : at + known] = level[self.horizon :] - level[: -self.horizon]
            kept[at : at + size] = np.arange(start + self.warmup, end)
            at += size
        frame = pd.DataFrame(matrix, index=df.index[kept], columns=self.get_feature_names(), copy=False)
        frame.index.name = "open_time"
        frame[TARGET] = target
        return frame


def _segment_starts(
    opens: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each run without a gap begins. The step is the smallest distance between two candles."""
    steps = np.diff(opens)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmin(steps > 0)) + 1
        raise InvalidCandles(f"candles are not in strictly increasing order at row {row}")
    gaps = np.flatnonzero(steps != steps.min()) + 1 if len(steps) else np.empty(0, dtype=np.int64)
    return np.concatenate(([0], gaps)).astype(np.int64)


def _check(df: pd.DataFrame) -> None:
    """Refuses what would give numbers that look like features and are none."""
    missing = [column for column in CANDLE_COLUMNS if column not in df.columns]
    if missing:
        raise InvalidCandles(f"candles lack the columns {', '.join(missing)}")
    if not isinstance(df.index, pd.DatetimeIndex):
        raise InvalidCandles("candles must be indexed by their open time (DatetimeIndex, UTC)")
    prices = df[["open", "high", "low", "close"]].to_numpy(dtype=np.float64)
    amounts = df[["volume", "quote_volume", "taker_buy_base", "trades"]].to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(prices).all(axis=1) & np.isfinite(amounts).all(axis=1))
    bad |= (prices <= 0).any(axis=1) | (amounts < 0).any(axis=1)
    if bad.any():
        rows = tuple(str(stamp) for stamp in df.index[bad])
        raise InvalidCandles(
            f"{len(rows)} candles hold a price that is not positive, a negative amount or a missing value, "
            f"the first at {rows[0]}",
            rows,
        )
