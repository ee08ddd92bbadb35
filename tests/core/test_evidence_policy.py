"""The decision table of the evidence policy: each gate, its reason, its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from clm.core.domain import Outcome
from clm.core.errors import InvalidSetting
from clm.core.evidence import Bet, Evidence
from clm.core.evidence_policy import EvidencePolicy
from clm.core.paired import Paired, r2_gain_bound
from clm.core.policy import Case, NewestPolicy, Standing, ThresholdPolicy

NOW = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def paired(n: int = 744, *, better_by: float = 0.0, shadow: int = 24, seed: int = 0) -> Paired:
    """n candles; the challenger's error is smaller by the share `better_by`."""
    rng = np.random.default_rng(seed)
    r = rng.normal(0, 0.006, n)
    champion = rng.normal(0, 0.0004, n)
    challenger = champion + better_by * (r - champion) / 2
    replayed = np.arange(n) >= n - shadow
    times = tuple(NOW - (n - k) * HOUR for k in range(n))
    return Paired(times, r, champion, challenger, np.full(n, 0.006**2), replayed)


def evidence(log_e: float, bets: int = 500) -> Evidence:
    """A ledger that reached `log_e` by equal gains."""
    state = Evidence.start(HOUR)
    gain = 0.05 if log_e > 0 else -0.05
    for k in range(bets):
        if (log_e > 0 and state.log_e >= log_e) or (log_e <= 0 and state.log_e <= log_e):
            break
        state = state.after([Bet(NOW - (bets - k) * HOUR, gain, 0.3)])
    return state


def case(**changes: Any) -> Case:
    """A challenger in the middle of its watch: nothing proven, nothing wrong."""
    standing: dict[str, Any] = {
        "evidence": evidence(1.0), "recipes": 1, "own": paired(), "pool": tuple, "same_recipe": True,
        "champion_age": timedelta(days=10), "refresh_tried_at": None, "cool_down_until": None, "parity": 0.0,
    }  # fmt: skip
    outer: dict[str, Any] = {
        "model_type": "lightgbm", "candidate_version": "v2", "champion_version": "v1", "as_of": NOW,
        "metrics": {"rmse": 0.005, "mae": 0.003}, "certificate": {"problems": []},
    }  # fmt: skip
    for name, value in changes.items():
        (standing if name in standing else outer)[name] = value
    return Case(**outer, standing=Standing(**standing) if outer["champion_version"] else None)


ANY_GAIN = EvidencePolicy(min_improvement=0.0)
BETTER = paired(better_by=0.02)


def decided(policy: EvidencePolicy, made: Case) -> tuple[Outcome, str]:
    decision = policy.decide(made)
    return decision.outcome, decision.label


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (Outcome.CONTINUE, "evidence")),
        ({"champion_version": None}, (Outcome.PROMOTE, "first")),
        ({"metrics": {"rmse": float("inf"), "mae": 1.0}}, (Outcome.REJECT, "sanity")),
        ({"certificate": None}, (Outcome.REJECT, "certificate")),
        ({"certificate": {"problems": ["features peek"]}}, (Outcome.REJECT, "certificate")),
        ({"champion_version": None, "certificate": None}, (Outcome.REJECT, "certificate")),
        ({"parity": 1e-6}, (Outcome.REJECT, "parity")),
        ({"parity": 1e-10}, (Outcome.CONTINUE, "evidence")),
        ({"parity": None}, (Outcome.CONTINUE, "evidence")),
        ({"own": paired(shadow=23)}, (Outcome.CONTINUE, "too_early")),
        ({"own": paired(better_by=-0.4)}, (Outcome.REJECT, "smoke")),
        ({"evidence": evidence(3.0), "own": paired(better_by=0.02)}, (Outcome.PROMOTE, "better")),
        ({"evidence": evidence(2.9), "own": paired(better_by=0.02)}, (Outcome.CONTINUE, "evidence")),
        ({"evidence": evidence(3.0), "own": paired(better_by=-0.02)}, (Outcome.CONTINUE, "evidence")),
        ({"evidence": evidence(3.0), "own": BETTER, "recipes": 2}, (Outcome.CONTINUE, "evidence")),
        ({"evidence": evidence(3.7), "own": BETTER, "recipes": 2}, (Outcome.PROMOTE, "better")),
        (
            {"evidence": evidence(5.0), "own": paired(better_by=0.02), "cool_down_until": NOW + HOUR},
            (Outcome.CONTINUE, "cool_down"),
        ),
        (
            {"evidence": evidence(5.0), "own": paired(better_by=0.02), "cool_down_until": NOW},
            (Outcome.PROMOTE, "better"),
        ),
    ],
)  # fmt: skip
def test_the_table(changes: dict[str, Any], expected: tuple[Outcome, str]) -> None:
    assert decided(ANY_GAIN, case(**changes)) == expected


def test_evidence_that_was_reached_once_counts_though_it_fell_since() -> None:
    risen = evidence(3.2)
    fallen = risen.after([Bet(NOW + k * HOUR, -0.05, 0.3) for k in range(30)])

    assert fallen.log_e < 3 < fallen.peak
    assert decided(ANY_GAIN, case(evidence=fallen, own=paired(better_by=0.02))) == (Outcome.PROMOTE, "better")


class TestThePointFilter:
    def test_holds_back_a_gain_too_small_to_matter_and_names_it(self) -> None:
        made = case(evidence=evidence(4.0), own=paired(better_by=0.004))

        decision = EvidencePolicy(min_improvement=0.5).decide(made)

        assert decision.outcome is Outcome.CONTINUE
        assert "below 50.0% in either" in decision.reason

    def test_is_passed_by_either_figure(self) -> None:
        own = paired(better_by=0.1)
        assert own.mse_gain is not None
        assert own.mse_gain >= 0.05

        assert decided(EvidencePolicy(min_improvement=0.05), case(evidence=evidence(4.0), own=own)) == (
            Outcome.PROMOTE, "better",
        )  # fmt: skip


class TestRefresh:
    OLD = timedelta(days=31)

    def test_admits_the_same_recipe_that_is_no_worse(self) -> None:
        decision = ANY_GAIN.decide(case(champion_age=self.OLD, own=paired(better_by=0.001)))

        assert (decision.outcome, decision.label) == (Outcome.PROMOTE, "refresh")
        assert "31 days old" in decision.reason
        assert "better" not in decision.label

    @pytest.mark.parametrize(
        "changes",
        [
            {"champion_age": timedelta(days=29)},
            {"same_recipe": False},
            {"own": paired(better_by=-0.004)},
            {"refresh_tried_at": NOW - timedelta(days=6)},
        ],
    )
    def test_admits_nothing_else(self, changes: dict[str, Any]) -> None:
        made = case(**{"champion_age": self.OLD, "own": paired(better_by=0.001), **changes})

        assert ANY_GAIN.decide(made).outcome is Outcome.CONTINUE

    def test_that_failed_is_on_record_and_weighed_again_after_a_week(self) -> None:
        worse = case(champion_age=self.OLD, own=paired(better_by=-0.004))

        first = ANY_GAIN.decide(worse)
        standing = worse.standing
        assert standing is not None
        soon, later = (
            replace(worse, standing=replace(standing, refresh_tried_at=NOW - timedelta(days=d)))
            for d in (6, 7)
        )

        assert first.numbers["refresh_weighed"] == 1
        assert "refresh_weighed" not in ANY_GAIN.decide(soon).numbers
        assert "refresh_weighed" in ANY_GAIN.decide(later).numbers

    def test_alone_reads_the_other_series(self) -> None:
        read: list[int] = []

        def pool() -> tuple[()]:
            read.append(1)
            return ()

        ANY_GAIN.decide(case(pool=pool))
        assert not read
        ANY_GAIN.decide(case(pool=pool, champion_age=self.OLD))
        assert read

    def test_can_be_switched_off(self) -> None:
        made = case(champion_age=timedelta(days=300), own=paired(better_by=0.001))

        assert decided(EvidencePolicy(refresh_after_days=0), made) == (Outcome.CONTINUE, "evidence")

    def test_its_bound_covers_the_true_loss_in_nineteen_of_twenty_cases(self) -> None:
        """The challenger's noise is larger by a known amount: the lower bound lies below the true gain."""
        rng, hits = np.random.default_rng(5), 0
        for _ in range(300):
            n = 744
            r = rng.standard_t(5, n) * np.sqrt(3 / 5)
            a, b = rng.normal(0, 0.05, n), rng.normal(0, 0.07, n)
            times = tuple(NOW + k * HOUR for k in range(n))
            made = Paired(times, r, a, b, np.ones(n), np.zeros(n, dtype=bool))
            bound = r2_gain_bound((made,))
            assert bound is not None
            true = (0.05**2 - 0.07**2) / np.mean(np.minimum(r**2, 9))
            hits += bound <= true

        assert 0.92 <= hits / 300 <= 0.985


class TestReasons:
    def test_to_go_on_says_how_far_and_about_how_long(self) -> None:
        reason = ANY_GAIN.decide(case()).reason

        assert "not enough evidence yet: E = 2.7" in reason
        assert "of 20 after" in reason
        assert "more hours at the present pace" in reason

    def test_to_go_on_without_hope_says_so(self) -> None:
        assert "no better than the champion so far" in ANY_GAIN.decide(case(evidence=evidence(-1.0))).reason

    def test_numbers_hold_what_the_decision_rests_on(self) -> None:
        numbers = ANY_GAIN.decide(case()).numbers

        assert {"log_e", "log_e_peak", "log_e_needed", "evidence_candles", "own_gain", "mse_gain"} <= set(
            numbers
        )
        assert numbers["log_e_needed"] == pytest.approx(np.log(20))

    def test_a_certificate_that_is_missing_is_named(self) -> None:
        assert "features peek" in ANY_GAIN.decide(case(certificate={"problems": ["features peek"]})).reason


@pytest.mark.parametrize("policy", [ThresholdPolicy(), NewestPolicy()])
def test_without_a_certificate_no_policy_promotes(policy: Any) -> None:
    made = case(champion_version=None, certificate=None)

    assert (policy.decide(made).outcome, policy.decide(made).label) == (Outcome.REJECT, "certificate")


class TestTheGuard:
    def test_takes_a_promotion_back_at_its_own_level(self) -> None:
        assert ANY_GAIN.decide_rollback(evidence(2.2)) is None
        assert "E reached" in str(ANY_GAIN.decide_rollback(evidence(2.4)))

    def test_policies_of_point_estimates_have_none(self) -> None:
        assert ThresholdPolicy().decide_rollback(evidence(9.0)) is None
        assert ThresholdPolicy().guard_hours == NewestPolicy().guard_hours == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 0), ("alpha", 0.5), ("alpha_rollback", -1), ("refresh_after_days", -1), ("guard_hours", -5)],
)
def test_settings_that_cannot_be_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidSetting, match=name):
        EvidencePolicy(**{name: value})  # type: ignore[arg-type]


def test_pooled_series_are_weighed_candle_by_candle() -> None:
    good, bad = paired(better_by=0.004), paired(better_by=-0.004, seed=1)
    both = r2_gain_bound((good, bad))

    alone = [r2_gain_bound((p,)) for p in (good, bad)]
    assert both is not None
    assert alone[1] is not None
    assert alone[0] is not None
    assert alone[1] < both < alone[0]


def test_too_few_candles_give_no_bound() -> None:
    assert r2_gain_bound((paired(29),)) is None
    assert len(paired(100).up_to(NOW - 50 * HOUR)) == 51
