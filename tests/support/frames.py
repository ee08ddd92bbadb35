"""Feature frames made by hand, for parts that only need columns with a known relation to the target."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm.core.domain import SCALE, TARGET


def feature_frame(
    rows: int = 4000, features: int = 12, *, signal: float = 0.2, seed: int = 0, start: str = "2024-01-01"
) -> pd.DataFrame:
    """`target` = σ·(signal·f0 + noise) with a volatility σ that wanders; hourly rows."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, features)).astype("float32")
    sigma = 0.006 * np.exp(0.4 * np.sin(np.arange(rows) / 200))
    frame = pd.DataFrame(
        values,
        columns=[f"f{i}" for i in range(features)],
        index=pd.DatetimeIndex(pd.date_range(start, periods=rows, freq="h", tz="UTC"), name="open_time"),
    )
    frame[SCALE] = sigma.astype("float32")
    frame[TARGET] = sigma * (signal * values[:, 0] + rng.standard_t(5, rows) * np.sqrt(3 / 5))
    return frame
