"""Experiments: callers are divided as the split says, and equals are called unequal no oftener than α."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.evidence import STAKES, Bet, gains, log_growth
from clm.core.experiments import Arm, arm_drawn, drawn
from clm.core.variance import predictable_variance
from clm.core.verdicts import Score
from tests.support.experiments import experiment
from tests.support.versions import BTC, T0

HOUR = timedelta(hours=1)
CALLERS = 1500


@given(st.text("0123456789abcdef", min_size=1, max_size=12), st.floats(0, 1))
@settings(max_examples=60)
def test_the_share_of_callers_that_get_b_is_the_split_within_binomial_bounds(name: str, split: float) -> None:
    found = sum(arm_drawn(experiment(name, split=split), f"bot {k}") is Arm.B for k in range(CALLERS))

    # Six standard deviations, and one caller for splits next to 0 or 1.
    assert abs(found - split * CALLERS) <= 6 * np.sqrt(split * (1 - split) * CALLERS) + 1


@given(st.text(min_size=1, max_size=50), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_split_takes_nobody_from_b(caller: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if arm_drawn(experiment(split=low), caller) is Arm.B:
        assert arm_drawn(experiment(split=high), caller) is Arm.B


def test_lots_of_two_experiments_have_nothing_to_do_with_one_another() -> None:
    lots = np.array([[drawn(name, f"bot {k}") for k in range(4000)] for name in ("x1", "x2")])

    assert abs(np.corrcoef(lots)[0, 1]) < 0.08
    assert np.abs(np.histogram(lots[0], 20, (0, 1))[0] - 200).max() < 80


def _paths(n: int, candles: int, seed: int, skill: float = 0.0) -> tuple[np.ndarray, ...]:
    """Returns with fat tails in changing volatility, and two forecasts; skill: B's share of the truth."""
    rng = np.random.default_rng(seed)
    z = rng.standard_t(5, (n, candles)) / np.sqrt(5 / 3)
    sigma = 0.006 * np.exp(0.4 * np.sin(np.arange(candles) / 60)) * np.ones((n, 1))
    truth, common = rng.normal(0, 1, (2, n, candles))
    noise = rng.normal(0, 1, (2, n, candles))
    forecasts = 0.05 * sigma * (0.6 * common + 0.8 * noise)
    forecasts[1] += skill * 0.25 * sigma * truth
    actual = sigma * z + 0.25 * sigma * truth
    variance = np.array([predictable_variance(row, 3.6e-5) for row in actual])
    return actual, forecasts[0], forecasts[1], variance


def _log_e(gain: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Of every path, after each candle."""
    wealth = np.cumsum(log_growth(gain, bound, STAKES), axis=-2)
    top = wealth.max(axis=-1)
    found: np.ndarray = top + np.log(np.exp(wealth - top[..., None]).mean(axis=-1))
    return found


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_equals_are_called_unequal_in_either_direction_no_oftener_than_alpha(alpha: float) -> None:
    paths, target = 1500, np.log(2 / alpha)
    gain, bound = gains(*_paths(paths, 700, seed=5))

    wrong = (np.maximum(_log_e(gain, bound), _log_e(-gain, bound)).max(axis=1) >= target).mean()

    assert 0 < wrong <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / paths)


def test_a_better_arm_is_mostly_found_and_hardly_ever_the_other() -> None:
    gain, bound = gains(*_paths(300, 1500, seed=6, skill=1.0))
    target = np.log(2 / 0.05)

    found, wrong = (
        (_log_e(sign * gain, bound).max(axis=1) >= target).mean() for sign in (1, -1)
    )  # fmt: skip

    assert found > 0.9
    assert wrong < 0.03


def test_the_simulated_evidence_is_that_of_the_ledgers() -> None:
    gain, bound = gains(*_paths(1, 200, seed=7, skill=0.5))
    score, found = Score.start(BTC, 1), []
    for k, (d, b) in enumerate(zip(gain[0], bound[0], strict=True)):
        score = score.after(Bet(T0 + k * HOUR, float(d), float(b)))
        found.append((score.b_better.log_e, score.a_better.log_e))

    both = np.array([_log_e(gain, bound)[0], _log_e(-gain, bound)[0]]).T
    assert np.array(found) == pytest.approx(both, rel=1e-9, abs=1e-12)
    assert (np.array(found).min(axis=1) <= 1e-12).all()
