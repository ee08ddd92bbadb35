"""The evidence policy: promote the proven better, refresh by the proven no worse, else go on watching."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from math import ceil, exp, log
from typing import Any

from clm.core.domain import Decision, Outcome
from clm.core.errors import InvalidSetting
from clm.core.evidence import Evidence, log_threshold
from clm.core.paired import r2_gain_bound
from clm.core.policy import Case, Standing, decision_of, settled_beforehand

#: Largest relative difference between a live forecast and its replay that rounding explains.
PARITY_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePolicy:
    """The decision table of docs/promotion.md; pure.

    alpha: the chance that a reign is ever ended by a challenger that is no better. min_improvement: the
    point filter, a fraction. shadow_candles: a version's least number of shadow candles. max_shadow_ratio:
    of normalised squared error over the champion's in the shadow candles. refresh_after_days: a champion
    this old may be refreshed by its own recipe, weighed every refresh_every_days; 0: never. refresh_margin:
    R² the candidate may at most lose, at the lower 95 % bound. alpha_rollback, guard_hours: the guard's level
    and how long it watches. cool_down_hours: no promotion for so long after a rollback.
    """

    alpha: float = 0.05
    min_improvement: float = 0.02
    shadow_candles: int = 24
    max_shadow_ratio: float = 1.25
    refresh_after_days: float = 30
    refresh_every_days: float = 7
    refresh_margin: float = 0.002
    alpha_rollback: float = 0.10
    guard_hours: float = 720
    cool_down_hours: float = 168
    name: str = "evidence"
    continuous: bool = True

    def __post_init__(self) -> None:
        for name, low, high, allowed in (
            ("alpha", 0, 0.5, "a probability above 0 and below 0.5"),
            ("alpha_rollback", 0, 0.5, "a probability above 0 and below 0.5"),
            ("min_improvement", -1e-12, 1, "a fraction from 0 to below 1; 0.02 = 2 %"),
            ("refresh_after_days", -1e-12, 1e5, "days, at least 0; 0: never"),
            ("guard_hours", -1e-12, 1e6, "hours, at least 0; 0: no guard"),
            ("cool_down_hours", -1e-12, 1e6, "hours, at least 0"),
        ):
            if not low < getattr(self, name) < high:
                shown = "min_improvement_threshold" if name == "min_improvement" else name
                raise InvalidSetting(shown, getattr(self, name), allowed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def decide(self, case: Case) -> Decision:
        settled = settled_beforehand(case, self.name)
        if settled is not None:
            return settled
        standing = case.standing
        if standing is None:
            raise InvalidSetting("case.standing", None, "the standing against the champion")
        refusal = self._refusal(case, standing)
        if refusal is not None:
            return refusal
        numbers = self._numbers(standing)
        proven = self._proven(standing)
        if proven is None:
            return decision_of(case, self.name, Outcome.PROMOTE, "better", self._better(standing), numbers)
        refresh, numbers = self._refresh(case, standing, numbers)
        if refresh is not None and refresh > -self.refresh_margin:
            age = standing.champion_age.days
            return decision_of(
                case, self.name, Outcome.PROMOTE, "refresh",
                f"the champion is {age} days old, and the same recipe trained anew is no worse: its R² "
                f"changes by no less than {refresh:+.3%} (lower 95 % bound; {-self.refresh_margin:+.1%} is "
                "allowed)",
                numbers,
            )  # fmt: skip
        return decision_of(case, self.name, Outcome.CONTINUE, "evidence", proven, numbers)

    def decide_rollback(self, evidence: Evidence) -> str | None:
        target = log_threshold(self.alpha_rollback)
        if evidence.peak < target:
            return None
        return (
            f"the replaced champion forecasts better than its successor: E reached {_e(evidence.peak)} of "
            f"{_e(target)} over {evidence.bets} candles since the promotion"
        )

    def _refusal(self, case: Case, standing: Standing) -> Decision | None:
        """What speaks against promotion whatever the evidence says."""
        if standing.parity is not None and standing.parity > PARITY_TOLERANCE:
            return decision_of(
                case, self.name, Outcome.REJECT, "parity",
                f"a stored live forecast and its offline replay differ by {standing.parity:.1e} relative; "
                f"{PARITY_TOLERANCE:.0e} is allowed",
                {"parity": standing.parity},
            )  # fmt: skip
        seen, ratio = standing.own.shadow_candles, standing.own.shadow_ratio
        numbers = {**self._numbers(standing), "shadow_candles": seen, "shadow_ratio": ratio}
        if seen < self.shadow_candles:
            return decision_of(
                case, self.name, Outcome.CONTINUE, "too_early",
                f"{seen} of {self.shadow_candles} shadow candles beside the champion so far", numbers,
            )  # fmt: skip
        if ratio is not None and ratio > self.max_shadow_ratio:
            return decision_of(
                case, self.name, Outcome.REJECT, "smoke",
                f"its normalised squared error in {seen} shadow candles is {ratio:.3f} of the champion's; at "
                f"most {self.max_shadow_ratio:.2f} passes", numbers,
            )  # fmt: skip
        until = standing.cool_down_until
        if until is not None and case.as_of < until:
            return decision_of(
                case, self.name, Outcome.CONTINUE, "cool_down",
                f"no promotion before {until:%Y-%m-%d %H:%M} UTC: a promotion was rolled back", numbers,
            )  # fmt: skip
        return None

    def _proven(self, standing: Standing) -> str | None:
        """None: proven better. Otherwise what is still missing, in words."""
        evidence, target = standing.evidence, log_threshold(self.alpha, standing.recipes)
        needed = f"{_e(target)}" + (f" ({standing.recipes} recipes at once)" if standing.recipes > 1 else "")
        if evidence.peak < target:
            found = (
                f"not enough evidence yet: E = {_e(evidence.log_e)} of {needed} after {evidence.bets} candles"
            )
            more = evidence.candles_to_go(target)
            if more is None and sum(ledger.total for ledger in evidence.ledgers) <= 0:
                return f"{found}; it forecasts no better than the champion so far"
            if more is None:
                return f"{found}; at the present pace it would take more than ten years"
            hours = ceil(more * evidence.step / timedelta(hours=1))
            return f"{found}, about {_rounded(hours)} more hours at the present pace"
        found = f"E reached {_e(evidence.peak)} of {needed}"
        if standing.own.total_gain <= 0:
            return f"{found}, but this version itself did no better than the champion on its own candles"
        gains = (standing.own.mse_gain, standing.own.direction_gain)
        if not any(gain is not None and gain >= self.min_improvement for gain in gains):
            shown = ", ".join(
                f"{name} {gain:+.2%}"
                for name, gain in zip(("squared error", "directional accuracy"), gains, strict=True)
                if gain is not None
            )
            return f"{found}, but the gain is below {self.min_improvement:.1%} in either ({shown})"
        return None

    def _better(self, standing: Standing) -> str:
        evidence, target = standing.evidence, log_threshold(self.alpha, standing.recipes)
        return (
            f"proven better: E reached {_e(evidence.peak)} of {_e(target)} over {evidence.bets} candles; "
            f"were it no better, the chance of ever getting there would be at most {self.alpha:.0%}"
        )

    def _refresh(
        self, case: Case, standing: Standing, numbers: dict[str, float | int | str | None]
    ) -> tuple[float | None, dict[str, float | int | str | None]]:
        """The lower bound of the R² gain where a refresh is due, and the numbers with it."""
        due = timedelta(days=self.refresh_after_days)
        tried = standing.refresh_tried_at
        if (
            not standing.same_recipe
            or not self.refresh_after_days
            or standing.champion_age < due
            or (tried is not None and case.as_of - tried < timedelta(days=self.refresh_every_days))
        ):
            return None, numbers
        bound = r2_gain_bound((standing.own, *(beside.paired for beside in standing.pool())))
        return bound, {**numbers, "refresh_r2_bound": bound, "refresh_weighed": 1}

    def _numbers(self, standing: Standing) -> dict[str, float | int | str | None]:
        evidence, target = standing.evidence, log_threshold(self.alpha, standing.recipes)
        return {
            "log_e": evidence.log_e,
            "log_e_peak": evidence.peak,
            "log_e_needed": target,
            "evidence_candles": evidence.bets,
            "candles_to_go": evidence.candles_to_go(target),
            "recipes": standing.recipes,
            "own_candles": len(standing.own),
            "own_gain": standing.own.total_gain,
            "mse_gain": standing.own.mse_gain,
            "direction_gain": standing.own.direction_gain,
        }


def _e(log_e: float) -> str:
    """E in figures one can read: 3.1, 20, 1.2e+06."""
    return f"{exp(min(log_e, log(1e300))):.3g}"


def _rounded(hours: int) -> str:
    """Two leading figures: more would pretend to know."""
    size = max(0, len(str(hours)) - 2)
    return f"{round(hours, -size):,}"
