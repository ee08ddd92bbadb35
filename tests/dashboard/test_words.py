"""States, times and numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clm.dashboard.words import basis_points, metric, state_of, when

NOW = datetime(2024, 6, 20, 12, tzinfo=UTC)


def _standing(age_days: float = 3, guard: dict[str, Any] | None = None, *e: float) -> dict[str, Any]:
    champion = {
        "version": "v1", "age_days": age_days, "since": "2024-05-01T00:00:00Z",
        "refresh_due": "2024-05-31T00:00:00Z",
    }  # fmt: skip
    return {"champion": champion, "guard": guard, "challengers": [{"e": one, "e_needed": 20.0} for one in e]}


def test_a_state_says_what_matters_most() -> None:
    guard = {"until": "2024-07-20T00:30:00Z", "e": 1.0, "e_needed": 10.0}

    assert state_of({"champion": None}) == ("no champion yet: start a retraining", "none")
    assert state_of(_standing()) == ("healthy", "good")
    assert state_of(_standing(3, None, 0.4, 7.2)) == ("challenger ahead, E = 7.2 of 20", "busy")
    # What is shown as 1 is not ahead.
    assert state_of(_standing(3, None, 1.004)) == ("healthy; 1 challenger(s) in shadow", "good")
    assert state_of(_standing(3, guard)) == ("guarded until 2024-07-20, E = 1 of 10", "busy")
    assert state_of(_standing(40)) == ("stale: 40 days old", "warn")


@pytest.mark.parametrize(
    ("r2", "said"),
    [
        ({"on its holdout": 0.004, "live": None}, ("healthy", "good")),
        ({"on its holdout": -0.0042}, ("unproven: R² against zero is −0.42 % on its holdout", "warn")),
        (
            {"on its holdout": 0.004, "live": -0.04},
            ("unproven: R² against zero is −4.00 % live", "warn"),
        ),
    ],
)
def test_no_champion_that_loses_to_zero_is_called_healthy(
    r2: dict[str, float | None], said: tuple[str, str]
) -> None:
    words, tone = state_of(_standing(), r2)

    assert (words.replace("\u00a0", " "), tone) == said
    assert state_of(_standing(3, None, 0.4), r2)[0].endswith("; 1 challenger(s) in shadow")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("r2", -0.0183, "−1.83 %"), ("rmse", 0.0073, "73.0 bp"), ("directional_accuracy", None, "—")],
)
def test_numbers_carry_units_and_a_minus(name: str, value: float | None, said: str) -> None:
    assert metric(name, value).replace("\u00a0", " ") == said


def test_a_return_carries_its_sign_and_its_unit() -> None:
    assert basis_points(-0.000917) == "−9.17\u00a0bp"


def test_times_say_utc_and_how_long_ago() -> None:
    assert when("2024-06-20T09:00:00Z", now=NOW) == "2024-06-20 09:00 UTC · 3.0 h ago"
    assert when("2024-06-22T12:00:00Z", now=NOW) == "2024-06-22 12:00 UTC · in 2.0 d"
    assert when(None) == "—"
