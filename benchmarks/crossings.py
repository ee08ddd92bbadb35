"""Frozen pairs of models, watched: when does the evidence first reach a threshold?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.market_paths import (
    Array,
    Model,
    amplitude,
    correlated,
    known_variance,
    noise_correlation,
    volatility,
)
from clm.core.evidence import gains, log_growth, stakes_for


@dataclass(frozen=True, slots=True)
class Crossing:
    """When E of one pair of models first reached a threshold, in hours (-1: never), and Σd at the end."""

    hour: int
    total: float
    naive: bool


def pairs(job: tuple[int, int, int, Model, Model, int, float, bool]) -> list[Crossing]:
    """Frozen pairs of models, watched for `hours`; one job of a process."""
    seed, n, hours, champion, challenger, symbols, log_target, naive = job
    rng = np.random.default_rng(seed)
    sigma, z = volatility(rng, symbols, n, hours)
    tau = amplitude(sigma)
    signal, common, own_a, own_b = (correlated(rng, symbols, (n, hours)) for _ in range(4))
    r = 0.12 * tau * signal + sigma * z
    share = noise_correlation(champion, challenger)
    pa, pb = (
        tau * (m.a * signal + m.b * (np.sqrt(share) * common + np.sqrt(1 - share) * own))
        for m, own in ((champion, own_a), (challenger, own_b))
    )
    d, bound = (x.mean(axis=0) for x in gains(r, pa, pb, known_variance(r)))
    stakes = stakes_for(symbols)
    wealth = np.zeros((n, len(stakes)))
    first = np.full(n, -1)
    growth = log_growth(d, bound, stakes)
    for hour in range(hours):
        wealth += growth[:, hour]
        reached = np.logaddexp.reduce(wealth, axis=1) - np.log(len(stakes)) >= log_target
        first[(first < 0) & reached] = hour + 1
    lucky = _naive(r[0], pa[0], pb[0]) if naive else np.zeros(n, dtype=bool)
    return [Crossing(int(h), float(s), bool(x)) for h, s, x in zip(first, d.sum(axis=1), lucky, strict=True)]


def _naive(r: Array, pa: Array, pb: Array) -> Array:
    """2 % better squared error or direction on the holdout, then no worse in the last 24 hours."""
    loss_a, loss_b = (r - pa) ** 2, (r - pb) ** 2
    mse = 1 - loss_b[:, :-24].mean(axis=1) / loss_a[:, :-24].mean(axis=1)
    right_a, right_b = ((np.sign(p) == np.sign(r))[:, :-24].mean(axis=1) for p in (pa, pb))
    shadow = loss_b[:, -24:].mean(axis=1) <= loss_a[:, -24:].mean(axis=1)
    lucky: Array = ((mse >= 0.02) | (right_b / right_a - 1 >= 0.02)) & shadow
    return lucky
