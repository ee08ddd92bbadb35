"""A minimal third-party data client, as anyone might plug in: candles from memory, a clock set by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from clm.core.domain import Series, utc


class FrameDataClient:
    """Candles of one series out of memory; `now` is whatever the test says."""

    def __init__(self, candles: pd.DataFrame, series: Series | None = None) -> None:
        self.series = series or Series("BTCUSDT", "1h")
        self._candles = candles
        self.now = utc(candles.index[-1] + self.series.step)
        self.loads = 0

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        self.loads += 1
        last = pd.Timestamp(min(end, self.now) - self.series.step)
        return self._candles.loc[pd.Timestamp(start) : last]

    def load_recent_data(self, days: float) -> pd.DataFrame:
        return self.load_training_data(self.now - timedelta(days=days), self.now)

    def load_validation_data(self, days: float) -> pd.DataFrame:
        return self.load_recent_data(days)

    def server_time(self) -> datetime:
        return self.now
