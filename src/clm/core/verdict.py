"""Carries decisions out: promote, keep watching, retire; each in one transaction, each at most once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from clm.core.alert import Alarm, Alert
from clm.core.bookkeeper import Duel
from clm.core.domain import Decision, ModelArtifact, Outcome, VersionStatus
from clm.core.errors import ArtifactCorrupt, ChampionChanged
from clm.core.paired import Paired
from clm.core.policy import Case, PromotionPolicy
from clm.core.protocols import ModelRegistry
from clm.core.reign import Unfit
from clm.core.timeline import TimelineRule
from clm.core.wire import jsonable


def carry_out(
    registry: ModelRegistry, policy: PromotionPolicy, decision: Decision, candidate: ModelArtifact
) -> bool:
    """Whether this call made the decision true; False where somebody else had settled the candidate first.

    PROMOTE raises ChampionChanged where the champion is no longer the one compared with.
    """
    if decision.outcome is Outcome.PROMOTE:
        registry.promote(
            candidate.model_type, candidate.version, expected_active=decision.champion_version,
            check_expected=True, decision=decision, at=decision.decided_at,
        )  # fmt: skip
    else:
        status = VersionStatus.RETIRED
        if decision.outcome is Outcome.CONTINUE:
            # Only a policy that goes on watching has use for a version in shadow.
            status = VersionStatus.SHADOW if policy.continuous else VersionStatus.CANDIDATE
        if not registry.record_decision(decision, status):
            return False
    supersede(registry, candidate, decision.decided_at)
    return True


def supersede(registry: ModelRegistry, newest: ModelArtifact, at: datetime | None) -> list[ModelArtifact]:
    """Retires older versions of the same recipe that were still in shadow; answers them."""
    retired = []
    for older in registry.challengers(newest.model_type):
        if older.recipe_id != newest.recipe_id or older.version == newest.version:
            continue
        if older.trained_at > newest.trained_at:
            continue
        said = Decision(
            model_type=older.model_type, candidate_version=older.version, champion_version=None,
            outcome=Outcome.REJECT, label="superseded", policy="lifecycle", decided_by="lifecycle",
            reason=f"{newest.version} of the same recipe takes its place; its evidence is kept",
            decided_at=at,
        )  # fmt: skip
        if registry.record_decision(said, VersionStatus.RETIRED):
            retired.append(older)
    return retired


def roll_back(
    registry: ModelRegistry, decision: Decision, at: datetime, alarm: Alarm
) -> ModelArtifact | None:
    """Takes a promotion back, and proves that what serves now is what was meant.

    None where the champion had changed already. Raises ArtifactCorrupt when the version that came back does
    not load with the hash it was registered under.
    """
    try:
        back = registry.rollback(
            decision.model_type, expected_active=decision.champion_version, decision=decision, at=at
        )
    except ChampionChanged:
        return None
    serving = registry.get_active(decision.model_type)
    if serving is None or serving.artifact_sha256 != back.artifact_sha256:
        raise ArtifactCorrupt(f"after the rollback {serving} serves instead of {back.version}")
    # Loading checks the file against the hash in its row.
    registry.load_model(serving)
    message = f"{decision.champion_version} was rolled back to {back.version}: {decision.reason}"
    subject = decision.champion_version or back.version
    alarm(Alert("rollback", registry.series, decision.model_type, subject, message))
    return back


def carry_unloadable(registry: ModelRegistry, challenger: ModelArtifact, why: Unfit, at: datetime) -> None:
    """A challenger that cannot forecast any more is retired with the reason; damaged, it is set aside too."""
    if why.damaged:
        registry.quarantine(challenger.model_type, challenger.version, why.reason)
    said = Decision(
        model_type=challenger.model_type, candidate_version=challenger.version, champion_version=None,
        outcome=Outcome.REJECT, label="unloadable", policy="lifecycle", decided_by="lifecycle",
        reason=why.reason, decided_at=at,
    )  # fmt: skip
    registry.record_decision(said, VersionStatus.RETIRED)


def facts(policy: PromotionPolicy, rule: TimelineRule) -> dict[str, Any]:
    """The settings a decision depends on: they may be others by the time it is looked at again."""
    return {"policy": policy.to_json(), "purge_seconds": rule.purge.total_seconds(), "horizon": rule.horizon}


def with_inputs(
    decision: Decision, case: Case, duel: Duel | None, policy: PromotionPolicy, rule: TimelineRule
) -> Decision:
    """`decision` with all that `clm.core.recompute` needs besides the stored rows."""
    inputs: dict[str, Any] = {
        **facts(policy, rule), "as_of": case.as_of, "comparison": case.comparison, "shadow": case.shadow,
    }  # fmt: skip
    if case.unreadable is not None:
        inputs["unreadable"] = case.unreadable
    standing = case.standing
    if standing is not None and duel is not None:
        # Where no refresh was weighed, the other series had no part in the decision.
        pool = standing.pool() if decision.numbers.get("refresh_weighed") else ()
        inputs |= {
            "ledger": duel.key, "evidence_until": standing.evidence.last,
            "own_until": _last(standing.own), "recipes": standing.recipes,
            "same_recipe": standing.same_recipe, "champion_age": standing.champion_age,
            "refresh_tried_at": standing.refresh_tried_at, "cool_down_until": standing.cool_down_until,
            "parity": standing.parity,
            "pool": [
                {
                    "series": b.series, "champion": b.champion_version, "challenger": b.challenger_version,
                    "until": _last(b.paired),
                }
                for b in pool
            ],
        }  # fmt: skip
    return replace(decision, inputs=jsonable(inputs))


def _last(paired: Paired) -> datetime | None:
    return paired.times[-1] if paired.times else None
