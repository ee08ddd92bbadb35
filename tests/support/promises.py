"""The promises of a candle frame (`core/protocols.DataClient`), checked without our own checker."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm.core.domain import Series


def assert_candle_frame(frame: pd.DataFrame, series: Series) -> None:
    """Every promise."""
    times = frame.index
    assert isinstance(times, pd.DatetimeIndex)
    assert (times.name, str(times.tz)) == ("open_time", "UTC")
    assert times.is_monotonic_increasing
    assert times.is_unique
    assert not times.hasnans
    assert all(moment.value % (series.step.total_seconds() * 10**9) == 0 for moment in times)
    assert {str(frame[name].dtype) for name in frame.columns.drop("trades")} <= {"float64"}
    assert str(frame["trades"].dtype) == "int64"
    values = frame.to_numpy(dtype=np.float64)
    assert values.shape[1] == 8
    assert np.isfinite(values).all()
    assert (frame[["open", "high", "low", "close"]] > 0).all().all()
    assert (frame[["volume", "quote_volume", "taker_buy_base", "trades"]] >= 0).all().all()
    assert (frame["high"] >= frame[["open", "close", "low"]].max(axis=1)).all()
    assert (frame["low"] <= frame[["open", "close", "high"]].min(axis=1)).all()
