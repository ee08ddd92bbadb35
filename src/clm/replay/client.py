"""A data client whose exchange stands still at a moment of the past."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from clm.core.domain import Series, utc


class AsOfClient:
    """Candles out of a frame, as they were known at `now`; whoever holds it moves `now` forward."""

    def __init__(self, series: Series, candles: pd.DataFrame, now: datetime) -> None:
        self._series = series
        self._candles = candles
        self.now = utc(now)

    @property
    def series(self) -> Series:
        return self._series

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        # A candle is known once it has closed.
        last = pd.Timestamp(min(utc(end), self.now) - self._series.step)
        window: pd.DataFrame = self._candles.loc[pd.Timestamp(utc(start)) : last]
        return window

    def load_recent_data(self, days: float) -> pd.DataFrame:
        return self.load_training_data(self.now - timedelta(days=days), self.now)

    def load_validation_data(self, days: float) -> pd.DataFrame:
        return self.load_recent_data(days)

    def server_time(self) -> datetime:
        return self.now

    def clear_cache(self) -> None:
        """There is none: the candles are the replay's own."""

    def close(self) -> None:
        """Nothing is open."""
