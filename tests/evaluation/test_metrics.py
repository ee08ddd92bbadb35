"""Scores mean what their names say, and luck is told from skill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.evaluation.metrics import REGIMES, score, score_by_regime
from clm.evaluation.significance import diebold_mariano


def _market(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = 0.006 * np.exp(rng.normal(0, 0.5, n))
    signal = rng.normal(0, 0.1, n) * scale
    return signal, signal + scale * rng.standard_t(5, n) * np.sqrt(3 / 5), scale


@given(st.integers(2, 200), st.integers(0, 1000))
def test_scores_equal_their_definitions(n: int, seed: int) -> None:
    forecast, actual, scale = _market(n, seed)

    metrics = score(forecast, actual, scale)

    error = forecast - actual
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert metrics["mae"] == pytest.approx(np.mean(np.abs(error)))
    assert metrics["r2"] == pytest.approx(1 - np.sum(error**2) / np.sum(actual**2))
    assert metrics["rmse"] ** 2 == pytest.approx(metrics["bias"] ** 2 + metrics["error_std"] ** 2)
    assert 0 <= metrics["directional_accuracy"] <= 1


def test_forecasting_zero_scores_zero_and_truth_scores_one() -> None:
    _, actual, scale = _market(100, 0)

    zero, truth = score(np.zeros(100), actual, scale), score(actual, actual, scale)

    assert (zero["r2"], zero["r2_normalised"], zero["directional_accuracy"]) == (0, 0, 0)
    assert zero["correlation"] is None
    assert (truth["r2"], truth["directional_accuracy"], truth["hit_rate"]) == (1, 1, 1)


def test_a_market_that_stands_still_leaves_ratios_undefined() -> None:
    still = np.zeros(50)

    metrics = score(np.full(50, 0.01), still, np.ones(50))

    assert metrics["r2"] is metrics["directional_accuracy"] is metrics["correlation"] is None
    assert metrics["rmse"] == pytest.approx(0.01)


def test_hit_rate_looks_at_the_boldest_half_only() -> None:
    actual = np.array([1.0, 1.0, 1.0, 1.0])
    forecast = np.array([-0.1, -0.1, 0.9, 0.9])

    metrics = score(forecast, actual, np.ones(4))

    assert (metrics["directional_accuracy"], metrics["hit_rate"]) == (0.5, 1.0)


def test_regimes_part_the_hours_in_three_by_known_volatility() -> None:
    forecast, actual, scale = _market(300, 1)

    regimes = score_by_regime(forecast, actual, scale)

    assert tuple(regimes) == REGIMES
    assert sum(int(regime["n_samples"] or 0) for regime in regimes.values()) == 300
    assert regimes["low_volatility"]["rmse"] < regimes["high_volatility"]["rmse"]


@pytest.mark.rehearse
def test_the_p_value_is_uniform_when_neither_model_is_better() -> None:
    """Two equally noisy forecasts of clustered returns: about 5 % of p-values lie below 5 %."""
    rng = np.random.default_rng(0)
    low = 0
    for seed in range(400):
        _, actual, scale = _market(400, seed)
        one, other = (rng.normal(0, 0.1, 400) * scale for _ in range(2))
        p = diebold_mariano(((one - actual) / scale) ** 2, ((other - actual) / scale) ** 2)
        low += p is not None and p < 0.05
    assert 0.02 <= low / 400 <= 0.085


def test_a_plainly_better_model_is_seen_and_the_test_has_one_side() -> None:
    signal, actual, scale = _market(2000, 3)

    better, worse = (((f - actual) / scale) ** 2 for f in (signal, -signal))

    assert diebold_mariano(better, worse) < 0.001
    assert diebold_mariano(worse, better) > 0.999


def test_too_few_hours_or_equal_losses_give_no_p_value() -> None:
    assert diebold_mariano(np.ones(29), np.zeros(29)) is None
    assert diebold_mariano(np.ones(100), np.ones(100)) is None
