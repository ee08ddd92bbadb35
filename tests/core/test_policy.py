"""What each policy says of a candidate, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clm.core.domain import Comparison, Outcome, ShadowTestResult
from clm.core.errors import InvalidSetting
from clm.core.policy import Case, NewestPolicy, PromotionPolicy, ThresholdPolicy

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def _case(
    *,
    champion: str | None = "v1",
    hours: int = 200,
    mse_gain: float = 0.0,
    direction_gain: float = 0.0,
    shadow_passed: bool = True,
    rmse: float = 0.005,
) -> Case:
    return Case(
        model_type="xgboost",
        candidate_version="v2",
        champion_version=champion,
        as_of=NOW,
        metrics={"rmse": rmse, "mae": 0.003},
        certificate={"problems": []},
        comparison=Comparison(
            hours=hours, mse_gain=mse_gain, direction_gain=direction_gain, dm_p_value=0.4
        ) if champion else None,
        shadow=ShadowTestResult(
            model_type="xgboost", start=NOW, end=NOW, hours=24, n_samples=24, candidate_rmse=rmse,
            candidate_mae=0.003, candidate_directional_accuracy=0.5, passed=shadow_passed, reason="1.4",
        ),
    )  # fmt: skip


@pytest.mark.parametrize("policy", [ThresholdPolicy(), NewestPolicy()])
def test_without_a_champion_a_sane_candidate_is_promoted_as_first(policy: PromotionPolicy) -> None:
    decision = policy.decide(_case(champion=None))

    assert (decision.outcome, decision.label) == (Outcome.PROMOTE, "first")
    assert decision.policy == policy.name


@pytest.mark.parametrize("policy", [ThresholdPolicy(), NewestPolicy()])
@pytest.mark.parametrize("champion", [None, "v1"])
def test_a_candidate_with_figures_that_are_not_finite_is_rejected_by_every_policy(
    policy: PromotionPolicy, champion: str | None
) -> None:
    decision = policy.decide(_case(champion=champion, rmse=float("nan"), mse_gain=0.5))

    assert (decision.outcome, decision.label) == (Outcome.REJECT, "sanity")
    assert "rmse" in decision.reason


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (_case(mse_gain=0.02), Outcome.PROMOTE),
        (_case(direction_gain=0.02), Outcome.PROMOTE),
        (_case(mse_gain=0.0199, direction_gain=0.0199), Outcome.REJECT),
        (_case(mse_gain=-0.5, direction_gain=0.02), Outcome.PROMOTE),
        (_case(mse_gain=0.5, shadow_passed=False), Outcome.REJECT),
        (_case(mse_gain=0.5, hours=29), Outcome.CONTINUE),
    ],
)
def test_the_threshold_policy_is_the_guides_rule_to_the_letter(case: Case, outcome: Outcome) -> None:
    assert ThresholdPolicy(0.02).decide(case).outcome is outcome


def test_a_decision_says_in_words_and_numbers_what_it_rests_on() -> None:
    decision = ThresholdPolicy(0.02).decide(_case(mse_gain=0.003, direction_gain=-0.01))

    assert "squared error 0.30% smaller" in decision.reason
    assert "directional accuracy 1.00% lower" in decision.reason
    assert "200 candles" in decision.reason
    assert decision.numbers["mse_gain"] == 0.003
    assert decision.champion_version == "v1"


def test_a_comparison_without_hours_never_promotes() -> None:
    case = replace(
        _case(), comparison=Comparison(hours=0, mse_gain=None, direction_gain=None, dm_p_value=None)
    )

    assert ThresholdPolicy(0.0).decide(case).outcome is Outcome.CONTINUE


def test_newest_promotes_even_a_worse_model() -> None:
    assert NewestPolicy().decide(_case(mse_gain=-0.5)).outcome is Outcome.PROMOTE


@pytest.mark.parametrize("threshold", [-0.01, 1, 2])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidSetting, match="min_improvement_threshold"):
        ThresholdPolicy(threshold)
