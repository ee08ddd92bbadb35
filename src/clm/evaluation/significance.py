"""Is one forecast better than another, or was it lucky?"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from clm.core.domain import FloatArray

#: Fewer hours than this and the normal approximation below is a guess.
MIN_HOURS = 30


def diebold_mariano(candidate_loss: FloatArray, champion_loss: FloatArray, horizon: int = 1) -> float | None:
    """One-sided p-value of "the candidate is not better", from two series of losses on the same hours.

    Diebold & Mariano (1995) with the small-sample factor of Harvey, Leybourne & Newbold (1997) and Student's
    t with n − 1 degrees of freedom; the long-run variance is Newey–West with max(horizon − 1, ⌊n^⅓⌋) lags,
    because losses of hourly returns cluster with volatility. None for fewer than 30 hours or equal losses.
    """
    difference = champion_loss - candidate_loss
    n = len(difference)
    if n < MIN_HOURS or np.ptp(difference) == 0:
        return None
    lags = max(horizon - 1, int(n ** (1 / 3)))
    centred = difference - difference.mean()
    variance = float(np.mean(centred**2))
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(np.sum(centred[lag:] * centred[:-lag])) / n
    if variance <= 0:
        return None
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = correction * difference.mean() / np.sqrt(variance / n)
    return float(1 - stdtr(n - 1, statistic))
