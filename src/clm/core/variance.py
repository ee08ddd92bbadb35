"""σ̂²: the variance of the next return as known before it; what every gain is measured in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import FloatArray
from clm.core.errors import BadInput
from clm.core.jumps import jumps

VARIANCE_DECAY = 0.97
VARIANCE_CLIP = 4.0
#: Candles σ̂² remembers: what lies further back weighs less than 0.97⁴⁰⁰ = 5·10⁻⁶.
VARIANCE_MEMORY = 400
#: Returns the first σ̂² is made of; and the least σ̂², for a market that does not move at all.
_SETTLING = 100
_LEAST_VARIANCE = 1e-12


def predictable_variance(returns: FloatArray, start: float) -> FloatArray:
    """σ̂² of each candle as known before it: an EWMA of squared returns, each capped at 16 σ̂².

    returns: shape (n,); start: σ̂² before the first. Result: shape (n,); each value is used first and updated
    with its candle's return afterwards.
    """
    if not start > 0:
        raise BadInput("start", start, "a positive variance")
    known = np.empty(len(returns))
    level = float(start)
    for t, square in enumerate((returns**2).tolist()):
        known[t] = level
        level = _updated(level, square)
    return known


def variance_after(candles: pd.DataFrame) -> pd.Series:
    """σ̂² known at the close of each candle, by the log returns of closes up to it; index as `candles`.

    The EWMA of the last `VARIANCE_MEMORY` returns, begun at the mean square of the oldest hundred of them: so
    it is the same to the last bit however much history the frame holds besides. A return across a gap counts
    as one return; for one across a jump stands the one before it, if any. Where the frame holds less history,
    the first return stands in for what is missing.
    """
    closes = np.log(candles["close"].to_numpy(dtype=np.float64))
    squares = np.diff(closes) ** 2
    if len(squares) == 0:
        raise BadInput("candles", len(candles), "at least two candles")
    for at in np.flatnonzero(jumps(candles)[1:]):
        squares[at] = squares[at - 1] if at else 0.0
    padded = np.concatenate((np.full(VARIANCE_MEMORY, squares[0]), squares))
    windows = np.lib.stride_tricks.sliding_window_view(padded, VARIANCE_MEMORY)
    # Column by column, never a reduction: numpy may add those up in another order for another length.
    level = np.zeros(len(windows))
    for k in range(_SETTLING):
        level = level + windows[:, k]
    level = np.maximum(level / _SETTLING, _LEAST_VARIANCE)
    for k in range(VARIANCE_MEMORY):
        level = _updated(level, windows[:, k])
    return pd.Series(np.maximum(level, _LEAST_VARIANCE), index=candles.index)


def _updated(level: Any, square: Any) -> Any:
    capped = np.minimum(square, VARIANCE_CLIP**2 * level)
    return VARIANCE_DECAY * level + (1 - VARIANCE_DECAY) * capped
