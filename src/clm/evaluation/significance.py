"""Is one forecast better than another, or was it lucky?"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from clm.core.domain import FloatArray
from clm.core.scoring import long_run_variance

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
    variance = long_run_variance(difference, horizon)
    if variance is None:
        return None
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = correction * difference.mean() / np.sqrt(variance / n)
    return float(1 - stdtr(n - 1, statistic))
