"""An ensemble never regrets more than its bound; a new member neither pays nor inherits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.ensemble import Ensemble, Weighting

T0 = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIGMA = 0.006


def _candles(members: int) -> st.SearchStrategy[list[tuple[list[float], float]]]:
    forecast = st.floats(-1, 1).map(lambda x: x * SIGMA)
    return st.lists(
        st.tuples(st.lists(forecast, min_size=members, max_size=members), st.floats(-10, 10)), max_size=120
    )


def _walk(candles: list[tuple[list[float], float]]) -> Ensemble:
    ensemble = Ensemble()
    for k, (forecasts, score) in enumerate(candles):
        named = {f"m{n}": p for n, p in enumerate(forecasts)}
        ensemble = ensemble.after(named, SIGMA, score * SIGMA, T0 + k * HOUR)
    return ensemble


@given(st.integers(1, 4).flatmap(_candles))
def test_it_never_loses_more_to_its_best_member_than_its_bound(
    candles: list[tuple[list[float], float]],
) -> None:
    ensemble = _walk(candles)

    assert ensemble.regret <= ensemble.bound + 1e-9


@pytest.mark.parametrize("surprise", [0.5, 3.0])
def test_the_bound_holds_where_one_member_is_right_each_time_and_the_rest_are_wrong(surprise: float) -> None:
    ensemble = Ensemble()
    for k in range(5000):
        ensemble = ensemble.after({"a": -SIGMA, "b": SIGMA}, SIGMA, surprise * SIGMA, T0 + k * HOUR)

    assert 0 < ensemble.regret <= ensemble.bound
    assert ensemble.bound == pytest.approx(24.5 * np.log(2))


def test_the_better_member_comes_to_weigh_more_and_in_the_end_nearly_all() -> None:
    rng = np.random.default_rng(1)
    ensemble, shares = Ensemble(), []
    for k in range(4000):
        r = rng.normal(0, SIGMA)
        forecasts = {"good": 0.1 * r, "bad": -0.1 * r}
        shares.append(ensemble.weights(["bad", "good"])["good"])
        ensemble = ensemble.after(forecasts, SIGMA, r, T0 + k * HOUR)

    assert shares[0] == 0.5
    assert shares[500] > 0.9
    assert shares[-1] > 0.999


@pytest.mark.parametrize("weighting", list(Weighting))
def test_weights_add_up_to_one_and_the_forecast_lies_among_the_members(weighting: Weighting) -> None:
    rng = np.random.default_rng(2)
    ensemble = _walk([(rng.normal(0, 0.001, 3).tolist(), float(rng.normal())) for _ in range(200)])
    forecasts = {"m0": -0.001, "m1": 0.0005, "m2": 0.002}

    weights = ensemble.weights(list(forecasts), weighting)

    assert sum(weights.values()) == pytest.approx(1)
    assert all(weight > 0 for weight in weights.values())
    assert (
        min(forecasts.values()) <= ensemble.forecast(forecasts, SIGMA, weighting) <= max(forecasts.values())
    )


def test_a_member_that_joins_late_stands_where_the_mixture_stands() -> None:
    rng = np.random.default_rng(3)
    ensemble = _walk([(rng.normal(0, 0.001, 2).tolist(), float(rng.normal())) for _ in range(500)])

    weights = ensemble.weights(["m0", "m1", "new"])
    joined = ensemble.after({"m0": 0.0, "m1": 0.0, "new": 0.0}, SIGMA, 0.001, T0 + 1000 * HOUR)

    assert min(weights["m0"], weights["m1"]) <= weights["new"] <= max(weights["m0"], weights["m1"]) + 0.2
    assert joined.losses["new"] == pytest.approx(ensemble.loss + (0.001 / SIGMA) ** 2)


def test_a_member_that_sleeps_is_charged_what_the_mixture_lost() -> None:
    ensemble = _walk([([0.001, -0.001], 1.0)] * 10)

    after = ensemble.after({"m0": 0.001}, SIGMA, SIGMA, T0 + 100 * HOUR)

    assert after.losses["m1"] - ensemble.losses["m1"] == pytest.approx(after.loss - ensemble.loss)


def test_a_candle_counts_once_and_nobody_forecasts_nothing() -> None:
    ensemble = _walk([([0.001, -0.001], 1.0)] * 10)

    assert ensemble.after({"m0": 0.001, "m1": 0.0}, SIGMA, 0.1, T0) is ensemble
    assert ensemble.after({}, SIGMA, 0.1, T0 + 99 * HOUR) is ensemble
    assert ensemble.weights([]) == {}


@given(st.integers(1, 3).flatmap(_candles))
def test_it_survives_being_written_down(candles: list[tuple[list[float], float]]) -> None:
    ensemble = _walk(candles)

    assert Ensemble.from_json(ensemble.to_json()) == ensemble
