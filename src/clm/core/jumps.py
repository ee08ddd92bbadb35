"""Where a series goes on in other units: a redenomination, or another asset under the same name.

From one close to the next open no market moves fivefold; what does is no return, and no model should learn
from it, be judged on it or forecast across it. It is treated like a gap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import FloatArray

#: From one close to the next open, either way. Also the rule for σ̂², which stored evidence depends on.
MAX_JUMP = 5.0


def jumps(candles: pd.DataFrame, most: float = MAX_JUMP) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of each candle, whether its open lies more than `most` times above or below the close before it.

    The first never does, nor where there are closes alone. most: infinite: none does.
    """
    found = np.zeros(len(candles), dtype=bool)
    if "open" not in candles.columns:
        return found
    opens, closes = (candles[name].to_numpy(dtype=np.float64) for name in ("open", "close"))
    found[1:] = jumped(closes[:-1], opens[1:], most)
    return found


def jumped(close: FloatArray, following: FloatArray, most: float) -> Any:
    """Whether a price is more than `most` times another, or less than that part of it."""
    # Divided, not multiplied: the largest price there is must not overflow.
    return (following / most > close) | (close / most > following)
