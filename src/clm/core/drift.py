"""Has the world moved away from what a model was trained on? Three questions, calibrated on its training.

Hourly data depend on one another and features on each other, so no textbook p-value holds. What is unusual
is read off the training window itself: it is cut into blocks as long as the recent window, and the recent
one must lie beyond every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from clm.core.domain import TARGET, FloatArray, feature_columns, is_past
from clm.core.evidence import CLIP, Array
from clm.core.scoring import long_run_variance

#: What is called recent; blocks of the training window are as long.
RECENT = timedelta(days=5)
#: What volatility is compared with.
REGIME = timedelta(days=90)
#: Fewer blocks than this cannot tell what is usual.
MIN_BLOCKS = 20
#: Mean time between false alarms of the decay detector: this long at least, whatever the market does.
DECAY_RUN_LENGTH = timedelta(days=90)
_BINS = 10
_STAKES = (1 / 8, 1 / 4, 1 / 2, 1.0)
_QUANTILE, _RARE = 0.95, 0.999


@dataclass(frozen=True, slots=True)
class Window:
    """Feature rows of the training window, and those after it."""

    trained: pd.DataFrame
    since: pd.DataFrame
    step: timedelta

    @property
    def size(self) -> int:
        """Rows of a block."""
        return max(1, RECENT // self.step)

    @property
    def ready(self) -> bool:
        """Whether there is a whole recent block, and enough of them in training to know what is usual."""
        return len(self.since) >= self.size and len(self.trained) >= MIN_BLOCKS * self.size

    @property
    def recent(self) -> pd.DataFrame:
        """The newest block."""
        return self.since.iloc[-self.size :]


def feature_drift(window: Window) -> str | None:
    """Whether more features have moved than in any block of the training window; a sentence if so.

    Per feature the Kolmogorov–Smirnov distance (on deciles of training) of a block to the whole training
    window; drifted: beyond the distance 95 % of training blocks keep. Alarm: a larger share of features has
    drifted than in every training block, which accounts for dependence between hours and between features.
    """
    if not window.ready:
        return None
    names = [name for name in feature_columns(window.trained.columns) if not is_past(name)]
    size, blocks = window.size, len(window.trained) // window.size
    distances, recent, stability = np.empty((len(names), blocks)), np.empty(len(names)), np.empty(len(names))
    for at, name in enumerate(names):
        trained = window.trained[name].to_numpy(dtype=np.float64)[-blocks * size :]
        edges = np.unique(np.quantile(trained, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = len(edges) + 1
        placed = np.searchsorted(edges, trained, side="right")
        whole = np.bincount(placed, minlength=bins) / len(placed)
        rows = placed + bins * np.repeat(np.arange(blocks), size)
        shares = np.bincount(rows, minlength=bins * blocks).reshape(blocks, bins) / size
        now = np.searchsorted(edges, window.recent[name].to_numpy(dtype=np.float64), side="right")
        share = np.bincount(now, minlength=bins) / len(now)
        distances[at] = np.abs(np.cumsum(shares - whole, axis=1)).max(axis=1)
        recent[at] = np.abs(np.cumsum(share - whole)).max()
        stability[at] = _psi(share, whole)
    usual = np.quantile(distances, _QUANTILE, axis=1)
    drifted = recent > usual
    worst_block = float((distances > usual[:, None]).mean(axis=0).max())
    if drifted.mean() <= worst_block:
        return None
    most = int(np.argmax(stability))
    return (
        f"Feature drift: {int(drifted.sum())} of {len(names)} features moved, more than in any training "
        f"block ({worst_block:.0%}); most {names[most]}, population stability index {stability[most]:.2f}"
    )


def regime_shift(window: Window) -> str | None:
    """Whether volatility jumped as it hardly ever did in training; a sentence if so.

    Mean absolute return of the recent block over that of the `REGIME` before it (a quarter of the training
    window where that is shorter). Alarm: beyond what 99.9 % of the training window's candles kept to.
    """
    if not window.ready:
        return None
    returns = pd.concat([window.trained[TARGET], window.since[TARGET]]).to_numpy(dtype=np.float64)
    size, before = np.abs(returns[np.isfinite(returns)]), min(REGIME // window.step, len(window.trained) // 4)
    ratio = _recent_over_before(size, window.size, before)
    known = ratio[: -len(window.since)]
    if len(known) < MIN_BLOCKS * window.size // 2 or not np.isfinite(ratio).all():
        return None
    low, high = np.quantile(known, (1 - _RARE, _RARE))
    if low <= ratio[-1] <= high:
        return None
    return (
        f"Regime shift: returns of the last {RECENT.days} days are {ratio[-1]:.2f} × as large as in the "
        f"{before * window.step / timedelta(days=1):.0f} days before; in training that was "
        f"{low:.2f} to {high:.2f} ×"
    )


def _recent_over_before(size: FloatArray, recent: int, before: int) -> Array:
    """At each candle: mean of the last `recent` values over the mean of the `before` ones before them."""
    total = np.concatenate(([0.0], np.cumsum(size)))
    at = np.arange(recent + before, len(size) + 1)
    now, then = total[at] - total[at - recent], total[at - recent] - total[at - recent - before]
    ratio: Array = np.divide(now * before, then * recent, out=np.full(len(at), np.nan), where=then > 0)
    return ratio


def performance_decay(
    live: tuple[FloatArray, FloatArray, FloatArray],
    evaluated: tuple[FloatArray, FloatArray, FloatArray],
    step: timedelta,
) -> str | None:
    """Whether a model forecasts worse than its own evaluation promised; a sentence if so.

    live, evaluated: (forecast, actual, σ̂²) after training, and on its holdout. A Shiryaev–Roberts e-detector
    (Shin, Ramdas & Rinaldo 2022) on the winsorised gain over forecasting zero, against the evaluation's mean
    less two of its standard errors: the mean time to a false alarm is at least `DECAY_RUN_LENGTH`.
    """
    gain, bound = _gain_over_zero(*live)
    promised, _ = _gain_over_zero(*evaluated)
    if len(gain) == 0 or len(promised) < 2:
        return None
    variance = long_run_variance(promised)
    floor = float(promised.mean()) - 2 * float(np.sqrt((variance or 0.0) / len(promised)))
    limit = DECAY_RUN_LENGTH / step
    if _detector(floor - gain, bound + abs(floor)) < limit:
        return None
    return (
        f"Performance decay: on {len(gain):,} candles since training its gain over forecasting zero is "
        f"{gain.mean():+.2%} a candle; on its holdout it was {promised.mean():+.2%}"
    )


def _detector(excess: Array, bound: Array) -> float:
    """The largest value of the e-detector, started anew at every candle: S ← (S + 1)·(1 + λ x)."""
    worth = [0.0] * len(_STAKES)
    top = 0.0
    for x, most in zip(excess.tolist(), _largest_stakes(bound), strict=True):
        worth = [(w + 1.0) * (1.0 + min(stake, most) * x) for w, stake in zip(worth, _STAKES, strict=True)]
        top = max(top, sum(worth) / len(worth))
    return top


def _largest_stakes(bound: Array) -> Iterable[float]:
    return (0.5 / b if b > 0 else 0.0 for b in bound.tolist())


def _gain_over_zero(forecast: FloatArray, actual: FloatArray, variance: FloatArray) -> tuple[Array, Array]:
    sigma = np.sqrt(variance)
    surprise = np.clip(actual - forecast / 2, -CLIP * sigma, CLIP * sigma)
    return 2 * forecast * surprise / variance, 2 * CLIP * np.abs(forecast) / sigma


def _psi(share: Array, whole: Array) -> float:
    """Population stability index; empty bins count as a thousandth."""
    now, then = np.maximum(share, 1e-3), np.maximum(whole, 1e-3)
    return float(np.sum((now - then) * np.log(now / then)))
