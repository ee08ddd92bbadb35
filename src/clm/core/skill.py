"""How good were a version's forecasts, and is it worse than forecasting nothing?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clm.core.book import Forecast
from clm.core.evidence import CLIP, gains
from clm.core.scoring import directional_accuracy, long_run_variance

#: One-sided z at which a model is called worse than forecasting zero: 95 %.
_WORSE_Z = -1.645
#: Fewer candles than this tell nothing.
LEAST = 100


@dataclass(frozen=True, slots=True)
class Skill:
    """candles: scored. r2: against forecasting zero, normalised by the volatility known beforehand.

    r2_clipped: with the surprise winsorised at 3 σ̂; z: of that gain (Newey–West). None where undefined.
    """

    candles: int
    r2: float | None = None
    r2_clipped: float | None = None
    directional_accuracy: float | None = None
    z: float | None = None

    @property
    def worse_than_zero(self) -> bool:
        """Whether it loses to forecasting zero, beyond what luck explains in one of twenty cases."""
        return self.z is not None and self.candles >= LEAST and self.z < _WORSE_Z

    @classmethod
    def of(cls, forecasts: Iterable[Forecast]) -> Skill:
        """Of the forecasts whose outcome is known."""
        scored = [(f.forecast, f.actual, f.variance) for f in forecasts if f.actual is not None]
        if not scored:
            return cls(0)
        forecast, actual, variance = np.array(scored, dtype=np.float64).T
        zero = np.minimum(actual**2 / variance, CLIP**2)
        gain, _ = gains(actual, np.zeros_like(forecast), forecast, variance)
        spread = long_run_variance(gain.reshape(-1)) if len(gain) > 1 else None
        plain, loss = (actual**2 / variance).sum(), ((actual - forecast) ** 2 / variance).sum()
        return cls(
            len(scored),
            float(1 - loss / plain) if plain > 0 else None,
            float(gain.sum() / zero.sum()) if zero.sum() > 0 else None,
            directional_accuracy(forecast, actual),
            float(gain.mean() / np.sqrt(spread / len(gain))) if spread else None,
        )
