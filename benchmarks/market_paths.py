"""The generator of the promotion benchmark: returns and forecasts whose true skill is known.

GARCH(1,1) with Student-t(5) innovations and a diurnal factor; forecasts are a persistent signal plus common
and own noise, calibrated to a given R². Several symbols: correlated innovations, signals and noises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
BASE = 0.006
_BURN_IN = 500
_PERSISTENCE = 0.7
#: Of signals and noises between symbols; of innovations between symbols.
_SHARED_SIGNAL, _SHARED_SHOCK = 0.3, 0.6


@dataclass(frozen=True, slots=True)
class Model:
    """Loadings on signal and noise; R² = 2·0.12·a − a² − b²."""

    a: float
    b: float

    @classmethod
    def calibrated(cls, r2: float) -> Model:
        a = r2 / 0.12
        return cls(a, float(np.sqrt(r2 - a * a)))

    @property
    def r2(self) -> float:
        return 0.24 * self.a - self.a**2 - self.b**2

    def with_r2(self, r2: float) -> Model:
        """The same noise, less (or more) signal."""
        return Model(0.12 - float(np.sqrt(0.12**2 - r2 - self.b**2)), self.b)


def worse_by(delta: float, better: Model) -> Model:
    """A model whose mean squared error is such that the better one's is (1 − δ) of it."""
    a = 0.003 / 0.12
    r2 = 1 - (1 - better.r2) / (1 - delta)
    return Model(a, float(np.sqrt(0.24 * a - a * a - r2)))


def ar1(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """AR(1) paths of unit variance along the last axis."""
    noise = rng.standard_normal((*shape[:-1], shape[-1] + 50)) * np.sqrt(1 - _PERSISTENCE**2)
    path: Array = lfilter([1.0], [1.0, -_PERSISTENCE], noise, axis=-1)[..., 50:]
    return path


def correlated(rng: np.random.Generator, symbols: int, shape: tuple[int, ...]) -> Array:
    """AR(1) paths of shape (symbols, *shape), correlated at 0.3 between symbols."""
    if symbols == 1:
        return ar1(rng, shape)[None]
    shared = np.sqrt(_SHARED_SIGNAL) * ar1(rng, shape)
    return np.stack([shared + np.sqrt(1 - _SHARED_SIGNAL) * ar1(rng, shape) for _ in range(symbols)])


def volatility(rng: np.random.Generator, symbols: int, n: int, hours: int) -> tuple[Array, Array]:
    """(σ_t, z_t), each of shape (symbols, n, hours)."""
    total = hours + _BURN_IN
    heavy = np.sqrt(3 / rng.chisquare(5, (n, total)))
    own = rng.standard_normal((symbols, n, total))
    if symbols > 1:
        shared = rng.standard_normal((n, total))
        own = np.sqrt(_SHARED_SHOCK) * shared + np.sqrt(1 - _SHARED_SHOCK) * own
    z = own * heavy
    h, level = np.empty_like(z), np.ones(z.shape[:-1])
    for t in range(total):
        h[..., t] = level
        level = 0.02 + level * (0.06 * z[..., t] ** 2 + 0.92)
    diurnal = np.exp(0.25 * np.cos(2 * np.pi * (np.arange(hours) - 15) / 24))
    diurnal /= np.sqrt(np.mean(diurnal**2))
    return BASE * diurnal * np.sqrt(h[..., _BURN_IN:]), z[..., _BURN_IN:]


def amplitude(sigma: Array) -> Array:
    """τ_t: forecasts grow with the square root of volatility."""
    scaled: Array = BASE * np.sqrt(sigma / BASE) / np.sqrt(np.mean(sigma / BASE))
    return scaled


def known_variance(r: Array) -> Array:
    """`clm.core.variance.predictable_variance` along the last axis of many paths at once."""
    known = np.empty_like(r)
    level = np.full(r.shape[:-1], BASE**2)
    for t in range(r.shape[-1]):
        known[..., t] = level
        level = 0.97 * level + 0.03 * np.minimum(r[..., t] ** 2, 16 * level)
    return known


def noise_correlation(one: Model, other: Model, target: float = 0.8) -> float:
    """Share of common noise that lets two models' forecasts correlate at `target`, at most 1."""
    norms = np.sqrt((one.a**2 + one.b**2) * (other.a**2 + other.b**2))
    return float(np.clip((target * norms - one.a * other.a) / (one.b * other.b), 0, 1))
