"""What came of a cycle, model by model: reports, and rows of the trial ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from clm.core.attempt import Attempted
from clm.core.book import Trial
from clm.core.domain import Outcome, RetrainReport, Series
from clm.core.triggers import summed_up
from clm.core.wire import NOTHING_TO_DO

_OUTCOMES = {Outcome.PROMOTE: "promoted", Outcome.CONTINUE: "shadow", Outcome.REJECT: "rejected"}


@dataclass(frozen=True, slots=True)
class Spent:
    """now: the exchange's moment it began. began_at: the machine's. seconds: by the machine's clock."""

    now: datetime
    began_at: datetime
    seconds: float = 0.0

    def times(self) -> dict[str, Any]:
        """As a report tells them."""
        took = timedelta(seconds=self.seconds)
        return {
            "triggered_at": self.now, "completed_at": self.now + took, "began_at": self.began_at,
            "ended_at": self.began_at + took, "duration_seconds": self.seconds,
        }  # fmt: skip


def report_of(
    series: Series, reason: str | None, spent: Spent, model_type: str, came: Attempted | str
) -> RetrainReport:
    """Of one model alone. came: what it came to, or why it failed."""
    triggers = {model_type: reason}
    report = RetrainReport(series=series, trigger=summed_up(triggers), triggers=triggers, **spent.times())
    if isinstance(came, str):
        return replace(report, failed_models=(model_type,), failures={model_type: came})
    promoted = came.decision.outcome is Outcome.PROMOTE
    return replace(
        report, models_trained=(model_type,), promoted_models=(model_type,) if promoted else (),
        evaluations=came.evaluations, shadow_tests=(came.shadow,), decisions=(came.decision,),
    )  # fmt: skip


def joined(
    series: Series, reports: Sequence[RetrainReport], triggers: Mapping[str, str | None], spent: Spent
) -> RetrainReport:
    """Several reports of one series as one. triggers: of all models that were looked at."""
    failed: dict[str, str] = {}
    for report in reports:
        for model_type, cause in report.failures.items():
            failed[model_type] = f"{failed[model_type]}; {cause}" if model_type in failed else cause
    return RetrainReport(
        series=series,
        trigger=summed_up(triggers),
        triggers=triggers,
        **spent.times(),
        models_trained=tuple(dict.fromkeys(m for r in reports for m in r.models_trained)),
        promoted_models=tuple(dict.fromkeys(m for r in reports for m in r.promoted_models)),
        evaluations=tuple(evaluation for r in reports for evaluation in r.evaluations),
        shadow_tests=tuple(shadow for r in reports for shadow in r.shadow_tests),
        decisions=tuple(decision for r in reports for decision in r.decisions),
        failed_models=tuple(failed),
        failures=failed,
        notes=() if reports else (NOTHING_TO_DO,),
    )


def with_more(report: RetrainReport, more: Sequence[RetrainReport]) -> RetrainReport:
    """A series' report, and what was done for the series besides."""
    if not more:
        return report
    done = [one for one in (report, *more) if NOTHING_TO_DO not in one.notes]
    triggers = dict(report.triggers)
    for one in more:
        triggers |= {m: reason for m, reason in one.triggers.items() if triggers.get(m) is None}
    seconds = sum(one.duration_seconds for one in (report, *more))
    return joined(report.series, done, triggers, Spent(report.triggered_at, report.began_at, seconds))


def trial_of(
    model_type: str, came: Attempted | str, reason: str | None, now: datetime, seconds: float
) -> Trial:
    """The attempt's row in the trial ledger, with what it cost."""
    if isinstance(came, str):
        return Trial(
            model_type=model_type, version=None, recipe_id=None, began_at=now, outcome="failed", reason=came,
            seconds=seconds, trigger=reason,
        )  # fmt: skip
    decision, candidate = came.decision, came.candidate
    return Trial(
        model_type=model_type, version=candidate.version, recipe_id=candidate.recipe_id, began_at=now,
        outcome=_OUTCOMES[decision.outcome], reason=decision.reason, seconds=seconds, trigger=reason,
        details={
            "label": decision.label, "metrics": candidate.metrics,
            **({"trainings": list(came.costs)} if came.costs else {}),
        },
    )  # fmt: skip
