"""Promotion policies: pure functions from stored evidence to a Decision with its reason in plain words.

A policy sees a `Case` and nothing else: no clock, no registry, no model. Three questions come before every
policy: did the candidate answer sanely, is it certified free of leakage, and is there a champion at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Protocol

from clm.core.domain import Comparison, Decision, Outcome, Series, ShadowTestResult
from clm.core.errors import InvalidSetting
from clm.core.evidence import Evidence
from clm.core.paired import Paired
from clm.core.timeline import MIN_COMPARED


@dataclass(frozen=True, slots=True)
class Beside:
    """A pooled series: its champion, its newest challenger of the same recipe, and what both forecast."""

    series: Series
    champion_version: str
    challenger_version: str
    paired: Paired


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a challenger stands against the champion by what is stored.

    evidence: the ledger of this reign and recipe. recipes: how many have a ledger in this reign. own: the
    candles this very version and the champion both forecast out-of-sample; pool: reads the same of the other
    series that share their evidence, which only a refresh is weighed with, and which costs as much as they
    are many. same_recipe: as the champion's. champion_age: since it was trained.
    refresh_tried_at: when a refresh was last weighed in this reign. cool_down_until: no promotion before
    (after a rollback). parity: largest relative difference between a stored live forecast and its replay;
    None when there was none to check.
    """

    evidence: Evidence
    recipes: int
    own: Paired
    pool: Callable[[], Sequence[Beside]]
    same_recipe: bool
    champion_age: timedelta
    refresh_tried_at: datetime | None
    cool_down_until: datetime | None
    parity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A candidate and everything known about it at `as_of`, the exchange's time.

    metrics: of the candidate on its holdout. certificate: as stored with the version, None without one.
    champion_version, comparison, standing: None without a champion. comparison and shadow are the training
    cycle's; a case taken up again between cycles has none. unreadable: why the process that decides cannot
    use the champion, which therefore cannot be compared with; None: it can.
    """

    model_type: str
    candidate_version: str
    champion_version: str | None
    as_of: datetime
    metrics: Mapping[str, float | None]
    certificate: Mapping[str, Any] | None
    comparison: Comparison | None = None
    shadow: ShadowTestResult | None = None
    standing: Standing | None = None
    unreadable: str | None = None


class PromotionPolicy(Protocol):
    """One rule for who answers."""

    @property
    def name(self) -> str:
        """As in `CLM_PROMOTION_POLICY`."""
        ...

    @property
    def continuous(self) -> bool:
        """Decides at every closed candle, not only at the end of a training cycle."""
        ...

    @property
    def guard_hours(self) -> float:
        """How long a replaced champion is watched after a promotion; 0: not at all."""
        ...

    @property
    def cool_down_hours(self) -> float:
        """No promotion for so long after a rollback by the guard."""
        ...

    def decide(self, case: Case) -> Decision:
        """PROMOTE, CONTINUE (not enough to go by yet) or REJECT, with reason and numbers."""
        ...

    def decide_rollback(self, evidence: Evidence) -> str | None:
        """Why the guard takes the promotion back, by the replaced champion's evidence; None: not yet."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Name and parameters: what it takes to decide the same again."""
        ...


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """Promote on point estimates: gain of squared error *or* of directional accuracy ≥ the threshold, and
    the shadow test passed. Simple and lucky: equals get promoted, see docs/decisions/0007.

    min_improvement: relative, 0.02 = 2 %.
    """

    min_improvement: float = 0.02
    name: str = "threshold"
    continuous: bool = False
    guard_hours: float = 0
    cool_down_hours: float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_improvement < 1:
            raise InvalidSetting(
                "min_improvement_threshold", self.min_improvement, "a fraction from 0 to below 1; 0.02 = 2 %"
            )

    def decide(self, case: Case) -> Decision:
        settled = settled_beforehand(case, self.name)
        if settled is not None:
            return settled
        comparison, needed = case.comparison, f"{self.min_improvement:.2%} better"
        if comparison is None or comparison.hours < MIN_COMPARED:
            hours = comparison.hours if comparison else 0
            return decision_of(
                case, self.name, Outcome.CONTINUE, "too_early",
                f"only {hours} candles are out-of-sample for both candidate and champion; "
                f"{MIN_COMPARED} are needed to compare them",
            )  # fmt: skip
        gains = (comparison.mse_gain, comparison.direction_gain)
        found = f"{_change(gains[0], 'squared error', 'smaller', 'larger')} and "
        found += f"{_change(gains[1], 'directional accuracy', 'higher', 'lower')} than the champion's "
        found += f"on {comparison.hours} candles neither was trained on"
        if case.shadow is not None and not case.shadow.passed:
            return decision_of(
                case, self.name, Outcome.REJECT, "shadow", f"shadow test failed: {case.shadow.reason}"
            )
        if any(gain is not None and gain >= self.min_improvement for gain in gains):
            return decision_of(
                case, self.name, Outcome.PROMOTE, "threshold", f"{found}; {needed} in either is enough"
            )
        return decision_of(
            case, self.name, Outcome.REJECT, "threshold", f"{found}; {needed} in either is needed"
        )

    def decide_rollback(self, evidence: Evidence) -> str | None:
        return None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "min_improvement": self.min_improvement}


@dataclass(frozen=True, slots=True)
class NewestPolicy:
    """Every sane candidate is promoted: no model grows old, and nothing protects from a worse one."""

    name: str = "newest"
    continuous: bool = False
    guard_hours: float = 0
    cool_down_hours: float = 0

    def decide(self, case: Case) -> Decision:
        return settled_beforehand(case, self.name) or decision_of(
            case, self.name, Outcome.PROMOTE, "newest", "the newest model always answers under this policy"
        )

    def decide_rollback(self, evidence: Evidence) -> str | None:
        return None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


def settled_beforehand(case: Case, policy: str) -> Decision | None:
    """What is settled before any comparison: an insane or uncertified candidate, or no champion to beat."""
    for name in ("rmse", "mae"):
        value = case.metrics.get(name)
        if value is None or not isfinite(value):
            return decision_of(
                case, policy, Outcome.REJECT, "sanity", f"the candidate's {name} on its holdout is {value}"
            )
    if case.certificate is None or case.certificate["problems"]:
        why = "; ".join(case.certificate["problems"]) if case.certificate else "it has none"
        return decision_of(case, policy, Outcome.REJECT, "certificate", f"no leakage certificate: {why}")
    if case.champion_version is None:
        return decision_of(
            case, policy, Outcome.PROMOTE, "first", "first model of this series: it passed the sanity checks"
        )
    if case.unreadable is not None:
        return decision_of(
            case, policy, Outcome.PROMOTE, "first",
            f"first model that can be read here: it passed the sanity checks, and could not be compared with "
            f"{case.champion_version}, which can be rolled back to. Why: {case.unreadable}",
        )  # fmt: skip
    return None


def decision_of(
    case: Case,
    policy: str,
    outcome: Outcome,
    label: str,
    reason: str,
    numbers: Mapping[str, float | int | str | None] | None = None,
) -> Decision:
    """A decision about `case` with the figures every policy shows, and `numbers` of its own."""
    shown: dict[str, float | int | str | None] = {
        f"holdout_{name}": case.metrics.get(name)
        for name in ("rmse", "directional_accuracy", "r2_normalised")
    }
    if case.comparison is not None:
        shown |= {
            "compared_candles": case.comparison.hours,
            "mse_gain": case.comparison.mse_gain,
            "direction_gain": case.comparison.direction_gain,
            "dm_p_value": case.comparison.dm_p_value,
        }
    if case.shadow is not None:
        shown["shadow_mse_ratio"] = case.shadow.mse_ratio
    gain = case.metrics.get("r2")
    if outcome is Outcome.PROMOTE and gain is not None and gain < 0:
        reason += f"; on its holdout it is worse than forecasting zero (R² {gain:+.3%})"
    return Decision(
        model_type=case.model_type,
        candidate_version=case.candidate_version,
        champion_version=case.champion_version,
        outcome=outcome,
        label=label,
        policy=policy,
        reason=reason,
        numbers={**shown, **(numbers or {})},
        decided_at=case.as_of,
    )


def _change(gain: float | None, of_what: str, better: str, worse: str) -> str:
    if gain is None:
        return f"{of_what} that cannot be compared"
    return f"{of_what} {abs(gain):.2%} {better if gain >= 0 else worse}"
