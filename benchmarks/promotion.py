"""Operating characteristics of the evidence ledger and of the threshold rule, on a realistic generator.

    make bench-promotion

Returns: GARCH(1,1) with Student-t(5) innovations and a diurnal factor; forecasts: a persistent signal plus
common and own noise, calibrated to a given R². Every figure stands beside the threshold rule's and a limit.
Of the whole table those rows that need no policy around the ledger; years of daily candidates, the guard and
the refresh lane come with the evidence policy.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from clm.core.evidence import POOLED_STAKES, STAKES, gains, log_growth

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_ALPHA = 0.05
_BURN_IN = 500
_BASE = 0.006
#: Variance of the own noise such that forecasts of two equal models correlate at 0.8.
_CORRELATION = 0.8


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


def worse_by(delta: float, better: Model) -> Model:
    """A model whose mean squared error is such that the better one's is (1 − δ) of it."""
    a = 0.003 / 0.12
    r2 = 1 - (1 - better.r2) / (1 - delta)
    return Model(a, float(np.sqrt(0.24 * a - a * a - r2)))


def simulate(
    n: int, hours: int, champion: Model, challenger: Model, *, symbols: int = 1, seed: int = 0
) -> tuple[Array, Array, Array, Array, Array]:
    """(d, bound, r, p_A, p_B), each of shape (n, hours); d and bound pooled, the rest of the first symbol."""
    rng = np.random.default_rng(seed)
    total = hours + _BURN_IN
    t = np.arange(hours)
    diurnal = np.exp(0.25 * np.cos(2 * np.pi * (t - 15) / 24))
    diurnal /= np.sqrt(np.mean(diurnal**2))
    shared_z = rng.standard_normal((n, total))
    heavy = np.sqrt(3 / rng.chisquare(5, (n, total)))
    share = _ar1(rng, n, hours), _ar1(rng, n, hours), _ar1(rng, n, hours), _ar1(rng, n, hours)
    gain_sum = bound_sum = np.zeros((n, hours))
    first: tuple[Array, Array, Array] | None = None
    corr = _noise_correlation(champion, challenger)
    for _ in range(symbols):
        own = rng.standard_normal((n, total))
        z = (np.sqrt(0.6) * shared_z + np.sqrt(0.4) * own if symbols > 1 else own) * heavy
        sigma = _BASE * diurnal * np.sqrt(_garch(z)[:, _BURN_IN:])
        z = z[:, _BURN_IN:]
        g, c, na, nb = (
            np.sqrt(0.3) * s + np.sqrt(0.7) * _ar1(rng, n, hours) if symbols > 1 else _ar1(rng, n, hours)
            for s in share
        )
        tau = _BASE * np.sqrt(sigma / _BASE)
        tau /= np.sqrt(np.mean(sigma / _BASE))
        r = 0.12 * tau * g + sigma * z
        pa, pb = (
            tau * (m.a * g + m.b * (np.sqrt(corr) * c + np.sqrt(1 - corr) * own_noise))
            for m, own_noise in ((champion, na), (challenger, nb))
        )
        d, bound = gains(r, pa, pb, _known_variance(r))
        gain_sum, bound_sum = gain_sum + d, bound_sum + bound
        first = first or (r, pa, pb)
    assert first is not None
    return gain_sum / symbols, bound_sum / symbols, *first


def _noise_correlation(one: Model, other: Model) -> float:
    """c such that corr(p_A, p_B) = 0.8, at most 1."""
    norms = np.sqrt((one.a**2 + one.b**2) * (other.a**2 + other.b**2))
    return float(np.clip((_CORRELATION * norms - one.a * other.a) / (one.b * other.b), 0, 1))


def _ar1(rng: np.random.Generator, n: int, hours: int) -> Array:
    from scipy.signal import lfilter

    noise = rng.standard_normal((n, hours + 50)) * np.sqrt(1 - 0.7**2)
    path: Array = lfilter([1.0], [1.0, -0.7], noise, axis=1)[:, 50:]
    return path


def _garch(z: Array) -> Array:
    h = np.empty_like(z)
    level = np.ones(len(z))
    for t in range(z.shape[1]):
        h[:, t] = level
        level = 0.02 + level * (0.06 * z[:, t] ** 2 + 0.92)
    return h


def _known_variance(r: Array) -> Array:
    """`clm.core.evidence.predictable_variance` for many paths at once."""
    known = np.empty_like(r)
    level = np.full(len(r), _BASE**2)
    for t in range(r.shape[1]):
        known[:, t] = level
        level = 0.97 * level + 0.03 * np.minimum(r[:, t] ** 2, 16 * level)
    return known


def log_e(d: Array, bound: Array, symbols: int = 1) -> Array:
    """log E after every hour, shape (n, hours)."""
    stakes = POOLED_STAKES if symbols >= 3 else STAKES
    wealth = np.cumsum(log_growth(d, bound, stakes), axis=1)
    evidence: Array = np.logaddexp.reduce(wealth, axis=2) - np.log(len(stakes))
    return evidence


def _promoted_once(paths: tuple[Array, ...]) -> float:
    """Share of holdouts on which E reaches 1/α at some hour and Σd > 0 at the end."""
    d, bound = paths[:2]
    reached = log_e(d, bound).max(axis=1) >= np.log(1 / _ALPHA)
    return float(np.mean(reached & (d.sum(axis=1) > 0)))


def _naive(paths: tuple[Array, ...]) -> float:
    """Share of single decisions with 2 % better MSE or direction: the rule before its shadow test."""
    _, _, r, pa, pb = paths
    mse = 1 - ((r - pb) ** 2).mean(axis=1) / ((r - pa) ** 2).mean(axis=1)
    right_a, right_b = ((np.sign(p) == np.sign(r)).mean(axis=1) for p in (pa, pb))
    return float(np.mean((mse >= 0.02) | (right_b / right_a - 1 >= 0.02)))


def _within(paths: tuple[Array, ...], hours: int, symbols: int = 1) -> float:
    d, bound = paths[:2]
    reached = log_e(d[:, :hours], bound[:, :hours], symbols).max(axis=1) >= np.log(1 / _ALPHA)
    return float(np.mean(reached))


def run(n: int) -> list[tuple[str, float, float | None, str]]:
    """(quantity, evidence, naive rule, what must be reached)."""
    equal, better = Model.calibrated(0.005), Model.calibrated(0.008)
    rows: list[tuple[str, float, float | None, str]] = []
    for hours, seen in ((500, 0.5), (1000, 1.3), (2000, 2.0)):
        paths = simulate(n, hours, equal, equal, seed=hours)
        rows.append((f"equal models, one decision from {hours} h", _promoted_once(paths), _naive(paths),
                     f"≤ 5 % ({seen} % seen)"))  # fmt: skip
    paths = simulate(n, 8760, equal, equal, seed=1)
    rows.append(
        ("equal candidate peeked at hourly for a year", _within(paths, 8760), None, "≤ 5 % (4.2 % seen)")
    )
    for delta, must in ((0.005, 20), (0.01, 70), (0.02, 93), (0.05, 98)):
        paths = simulate(n, 1000, worse_by(delta, better), better, seed=int(delta * 1e4))
        rows.append(
            (f"power, 1,000 holdout h, δ = {delta:.1%}", _promoted_once(paths), _naive(paths), f"≥ {must} %")
        )
    paths = simulate(n, 2160, worse_by(0.01, better), better, seed=2)
    rows.append(("live only, 1 symbol, δ = 1 %, within 30 d", _within(paths, 720), None, "≥ 52 %"))
    rows.append(("live only, 1 symbol, δ = 1 %, within 90 d", _within(paths, 2160), None, "≥ 95 %"))
    for delta, must in ((0.005, 55), (0.01, 98)):
        few = max(100, n // 5)
        paths = simulate(few, 720, worse_by(delta, better), better, symbols=10, seed=3)
        rows.append((f"live only, 10 symbols, δ = {delta:.1%}, within 30 d", _within(paths, 720, 10), None,
                     f"≥ {must} %"))  # fmt: skip
    return rows


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'share of promotions':<52} {'evidence':>9} {'naive':>8}  must be")
    for name, ours, naive, must in run(n):
        other = "" if naive is None else f"{naive:.1%}"
        print(f"{name:<52} {ours:>9.1%} {other:>8}  {must}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
