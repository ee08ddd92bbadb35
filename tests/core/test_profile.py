"""A candle like none in training is told from one that is merely rare."""

from __future__ import annotations

import numpy as np

from clm.core.domain import TARGET
from clm.core.profile import Profile
from clm.features.engineer import QuantumFeatureEngineer
from tests.support.candles import random_walk, real_candles

ENGINEER = QuantumFeatureEngineer()


def test_training_candles_are_hardly_ever_called_unlike_training() -> None:
    rows = ENGINEER.transform(random_walk(6000))
    profile = Profile.of(rows)

    values = rows.drop(columns=TARGET).to_numpy()
    unlike = np.mean([profile.unlike(profile.score(row)) for row in values])

    assert unlike <= 0.0015


def test_the_months_after_training_are_seldom_unlike_it_and_a_crash_is() -> None:
    candles = real_candles(start="2023-01-01", end="2024-06-01")
    rows = ENGINEER.transform(candles)
    profile = Profile.of(rows.loc[:"2023-12-31"])
    later = rows.loc["2024-01-01":].drop(columns=TARGET).to_numpy()
    crash = candles.copy()
    crash.iloc[-1, :4] *= [1.0, 1.0, 0.7, 0.7]
    crash.iloc[-1, 4:7] *= 50

    unlike = np.mean([profile.unlike(profile.score(row)) for row in later])
    fallen = ENGINEER.transform(crash).drop(columns=TARGET).iloc[-1].to_numpy()

    assert unlike < 0.03
    assert profile.unlike(profile.score(fallen))


def test_it_survives_being_written_down() -> None:
    profile = Profile.of(ENGINEER.transform(random_walk(1000)))

    again = Profile.from_json(profile.to_json())

    assert again.names == profile.names
    assert np.array_equal(again.lower, profile.lower)
    assert np.array_equal(again.upper, profile.upper)
    assert again.limit == profile.limit
