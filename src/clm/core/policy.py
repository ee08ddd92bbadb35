"""Promotion policies: pure functions from stored evidence to a Decision with its reason in plain words.

A policy sees a `Case` and nothing else: no clock, no registry, no model. Two questions come before every
policy: did the candidate answer sanely, and is there a champion at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from clm.core.domain import Comparison, Decision, EvaluationResult, Outcome, ShadowTestResult
from clm.core.errors import InvalidSetting

#: Below this many candles that are out-of-sample for both models a point estimate says nothing.
MIN_COMPARED = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A candidate and everything known about it; champion_version and comparison are None without one."""

    model_type: str
    candidate_version: str
    champion_version: str | None
    evaluation: EvaluationResult
    comparison: Comparison | None
    shadow: ShadowTestResult


class PromotionPolicy(Protocol):
    """One rule for who answers."""

    @property
    def name(self) -> str:
        """As in `CLM_PROMOTION_POLICY`."""
        ...

    def decide(self, case: Case) -> Decision:
        """PROMOTE, CONTINUE (not enough to go by yet) or REJECT, with reason and numbers."""
        ...


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """Promote on point estimates: gain of squared error *or* of directional accuracy ≥ the threshold, and
    the shadow test passed. Simple and lucky: equals get promoted, see docs/decisions/0007.

    min_improvement: relative, 0.02 = 2 %.
    """

    min_improvement: float = 0.02
    name: str = "threshold"

    def __post_init__(self) -> None:
        if not 0 <= self.min_improvement < 1:
            raise InvalidSetting(
                "min_improvement_threshold", self.min_improvement, "a fraction from 0 to below 1; 0.02 = 2 %"
            )

    def decide(self, case: Case) -> Decision:
        settled = _sane_and_first(case, self.name)
        if settled is not None:
            return settled
        comparison, needed = case.comparison, f"{self.min_improvement:.2%} better"
        if comparison is None or comparison.hours < MIN_COMPARED:
            hours = comparison.hours if comparison else 0
            return _decision(
                case, self.name, Outcome.CONTINUE, "too_early",
                f"only {hours} candles are out-of-sample for both candidate and champion; "
                f"{MIN_COMPARED} are needed to compare them",
            )  # fmt: skip
        gains = (comparison.mse_gain, comparison.direction_gain)
        found = f"{_change(gains[0], 'squared error', 'smaller', 'larger')} and "
        found += f"{_change(gains[1], 'directional accuracy', 'higher', 'lower')} than the champion's "
        found += f"on {comparison.hours} candles neither was trained on"
        if not case.shadow.passed:
            return _decision(
                case, self.name, Outcome.REJECT, "shadow", f"shadow test failed: {case.shadow.reason}"
            )
        if any(gain is not None and gain >= self.min_improvement for gain in gains):
            return _decision(
                case, self.name, Outcome.PROMOTE, "threshold", f"{found}; {needed} in either is enough"
            )
        return _decision(
            case, self.name, Outcome.REJECT, "threshold", f"{found}; {needed} in either is needed"
        )


@dataclass(frozen=True, slots=True)
class NewestPolicy:
    """Every sane candidate is promoted: no model grows old, and nothing protects from a worse one."""

    name: str = "newest"

    def decide(self, case: Case) -> Decision:
        return _sane_and_first(case, self.name) or _decision(
            case, self.name, Outcome.PROMOTE, "newest", "the newest model always answers under this policy"
        )


def _sane_and_first(case: Case, policy: str) -> Decision | None:
    """What is settled before any comparison: an insane candidate, or no champion to beat."""
    for name in ("rmse", "mae"):
        value = case.evaluation.metrics.get(name)
        if value is None or not isfinite(value):
            return _decision(
                case, policy, Outcome.REJECT, "sanity", f"the candidate's {name} on its holdout is {value}"
            )
    if case.champion_version is None:
        return _decision(
            case, policy, Outcome.PROMOTE, "first", "first model of this series: it passed the sanity checks"
        )
    return None


def _decision(case: Case, policy: str, outcome: Outcome, label: str, reason: str) -> Decision:
    numbers: dict[str, float | int | str | None] = {
        f"holdout_{name}": case.evaluation.metrics.get(name)
        for name in ("rmse", "directional_accuracy", "r2_normalised")
    }
    if case.comparison is not None:
        numbers |= {
            "compared_candles": case.comparison.hours,
            "mse_gain": case.comparison.mse_gain,
            "direction_gain": case.comparison.direction_gain,
            "dm_p_value": case.comparison.dm_p_value,
        }
    numbers["shadow_mse_ratio"] = case.shadow.mse_ratio
    return Decision(
        model_type=case.model_type,
        candidate_version=case.candidate_version,
        champion_version=case.champion_version,
        outcome=outcome,
        label=label,
        policy=policy,
        reason=reason,
        numbers=numbers,
    )


def _change(gain: float | None, of_what: str, better: str, worse: str) -> str:
    if gain is None:
        return f"{of_what} that cannot be compared"
    return f"{of_what} {abs(gain):.2%} {better if gain >= 0 else worse}"
