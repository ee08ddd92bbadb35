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


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What features look like in training, and how far blocks of it keep from the whole of it.

    names: n features. edges, shares: per feature the inner deciles of training, and the share of its rows in
    each bin. limits: the Kolmogorov–Smirnov distance 95 % of training blocks keep, shape (n,). worst_block:
    the largest share of features that were beyond their limit in one training block, 0 to 1.
    """

    names: tuple[str, ...]
    edges: tuple[Array, ...]
    shares: tuple[Array, ...]
    limits: Array
    worst_block: float
    size: int

    @classmethod
    def of(cls, trained: pd.DataFrame, size: int) -> Usual:
        """Of feature rows with at least one block, of `size` rows, in them."""
        names = tuple(name for name in feature_columns(trained.columns) if not is_past(name))
        blocks = len(trained) // size
        distances, every, whole = np.empty((len(names), blocks)), [], []
        for at, name in enumerate(names):
            values = trained[name].to_numpy(dtype=np.float64)[-blocks * size :]
            edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
            shares = _shares(values, edges, size, size)
            every.append(edges)
            whole.append(np.rint(shares * size).sum(axis=0) / len(values))
            distances[at] = _ks(shares, whole[at])
        limits = np.quantile(distances, _QUANTILE, axis=1)
        worst = float((distances > limits[:, None]).mean(axis=0).max())
        return cls(names, tuple(every), tuple(whole), limits, worst, size)

    def moved(self, rows: pd.DataFrame, stride: int) -> tuple[Array, Array]:
        """How far blocks are from training: (Kolmogorov–Smirnov distances, population stability indices).

        The last block ends with the newest row, each other one `stride` rows, a divisor of `size`, before the
        next. Both of shape (n, blocks), blocks = 1 + (len(rows) − size) // stride.
        """
        distances = np.empty((len(self.names), 1 + (len(rows) - self.size) // stride))
        stability = np.empty_like(distances)
        for at, (name, edges, whole) in enumerate(zip(self.names, self.edges, self.shares, strict=True)):
            shares = _shares(rows[name].to_numpy(dtype=np.float64), edges, self.size, stride)
            distances[at], stability[at] = _ks(shares, whole), _psi(shares, whole)
        return distances, stability


def feature_drift(window: Window) -> str | None:
    """Whether more features have moved than in any block of the training window; a sentence if so.

    Per feature the Kolmogorov–Smirnov distance (on deciles of training) of a block to the whole training
    window; drifted: beyond the distance 95 % of training blocks keep. Alarm: a larger share of features has
    drifted than in every training block, which accounts for dependence between hours and between features.
    """
    if not window.ready:
        return None
    usual = Usual.of(window.trained, window.size)
    distances, stability = usual.moved(window.recent, window.size)
    drifted = distances[:, 0] > usual.limits
    if drifted.mean() <= usual.worst_block:
        return None
    most = int(np.argmax(stability[:, 0]))
    return (
        f"Feature drift: {int(drifted.sum())} of {len(usual.names)} features moved, more than in any "
        f"training block ({usual.worst_block:.0%}); most {usual.names[most]}, population stability index "
        f"{stability[most, 0]:.2f}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Regime:
    """How volatile the last `RECENT` were, over what came before them.

    ratio: by the candle it was known at, UTC. low, high: what 99.9 % of the training window's candles kept
    to. before: what it is compared with.
    """

    ratio: pd.Series[float]
    low: float
    high: float
    before: timedelta


def regime(window: Window) -> Regime | None:
    """None where too little is known to say what is usual."""
    rows = pd.concat([window.trained[TARGET], window.since[TARGET]])
    rows = rows[np.isfinite(rows.to_numpy(dtype=np.float64))]
    size, before = (
        np.abs(rows.to_numpy(dtype=np.float64)),
        min(REGIME // window.step, len(window.trained) // 4),
    )
    ratio = _recent_over_before(size, window.size, before)
    known = ratio[: len(ratio) - len(window.since)]
    if len(known) < MIN_BLOCKS * window.size // 2 or not np.isfinite(ratio).all():
        return None
    low, high = np.quantile(known, (1 - _RARE, _RARE))
    return Regime(
        pd.Series(ratio, index=rows.index[len(rows) - len(ratio) :]),
        float(low),
        float(high),
        before * window.step,
    )


def regime_shift(window: Window) -> str | None:
    """Whether volatility jumped as it hardly ever did in training; a sentence if so.

    Mean absolute return of the recent block over that of the `REGIME` before it (a quarter of the training
    window where that is shorter). Alarm: beyond what 99.9 % of the training window's candles kept to.
    """
    found = regime(window) if window.ready else None
    if found is None or found.low <= found.ratio.iloc[-1] <= found.high:
        return None
    return (
        f"Regime shift: returns of the last {RECENT.days} days are {found.ratio.iloc[-1]:.2f} × as large as "
        f"in the {found.before / timedelta(days=1):.0f} days before; in training that was "
        f"{found.low:.2f} to {found.high:.2f} ×"
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


def _shares(values: Array, edges: Array, size: int, stride: int) -> Array:
    """Of blocks of `size` values, one every `stride` to the last, the share in each bin: (blocks, bins)."""
    bins, chunks = len(edges) + 1, len(values) // stride
    placed = np.searchsorted(edges, values[len(values) - chunks * stride :], side="right")
    placed += bins * np.repeat(np.arange(chunks), stride)
    counts = np.zeros((chunks + 1, bins), dtype=np.int64)
    np.cumsum(np.bincount(placed, minlength=bins * chunks).reshape(chunks, bins), axis=0, out=counts[1:])
    shares: Array = (counts[size // stride :] - counts[: chunks + 1 - size // stride]) / size
    return shares


def _ks(shares: Array, whole: Array) -> Array:
    """Kolmogorov–Smirnov distance of each block, 0 to 1."""
    distance: Array = np.abs(np.cumsum(shares - whole, axis=1)).max(axis=1)
    return distance


def _psi(shares: Array, whole: Array) -> Array:
    """Population stability index of each block; empty bins count as a thousandth."""
    now, then = np.maximum(shares, 1e-3), np.maximum(whole, 1e-3)
    index: Array = np.sum((now - then) * np.log(now / then), axis=1)
    return index
