"""How every challenger stands right now, for people: what it has, what it needs, what would be decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp, log
from typing import Any

from clm.core.book import Kind
from clm.core.bookkeeper import Bookkeeper
from clm.core.domain import Decision, ModelArtifact
from clm.core.evidence import log_threshold
from clm.core.evidence_policy import EvidencePolicy
from clm.core.policy import Case, PromotionPolicy
from clm.core.protocols import ModelRegistry
from clm.core.reign import Reign, look
from clm.core.wire import jsonable

_ALL = 10_000


def standings(
    keeper: Bookkeeper, policy: PromotionPolicy, models: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    """One JSON-ready entry per model type of the keeper's series; changes nothing."""
    return [_entry(keeper, policy, model_type, now) for model_type in models]


def _entry(keeper: Bookkeeper, policy: PromotionPolicy, model_type: str, now: datetime) -> dict[str, Any]:
    series = keeper.registry.series
    entry: dict[str, Any] = {
        "symbol": series.symbol, "interval": series.interval, "model_type": model_type,
        "policy": policy.name, "champion": None, "challengers": [], "guard": None,
        "cool_down_until": None, "revised_candles": keeper.registry.book.revisions(),
    }  # fmt: skip
    reign = look(keeper.registry, model_type, policy.guard_hours)
    if reign is None:
        return entry
    entry["champion"] = _champion(reign, policy, now)
    if reign.rolled_back_at is not None and policy.cool_down_hours:
        until = reign.rolled_back_at + timedelta(hours=policy.cool_down_hours)
        entry["cool_down_until"] = jsonable(until) if until > now else None
    entry["challengers"] = [
        _challenger(keeper, policy, reign, artifact, now)
        for artifact in keeper.registry.challengers(model_type)
    ]
    entry["guard"] = _guard(keeper, policy, reign) if now < reign.guard_until else None
    return entry


def _champion(reign: Reign, policy: PromotionPolicy, now: datetime) -> dict[str, Any]:
    champion = reign.champion
    view: dict[str, Any] = {
        "version": champion.version, "recipe_id": champion.recipe_id, "since": jsonable(reign.since),
        "age_days": round((now - champion.trained_at) / timedelta(days=1), 2),
        "notes": champion.notes or None, "refresh_due": None,
    }  # fmt: skip
    if isinstance(policy, EvidencePolicy) and policy.refresh_after_days:
        view["refresh_due"] = jsonable(champion.trained_at + timedelta(days=policy.refresh_after_days))
    return view


def _challenger(
    keeper: Bookkeeper, policy: PromotionPolicy, reign: Reign, artifact: ModelArtifact, now: datetime
) -> dict[str, Any]:
    duel = keeper.challenge(reign, artifact)
    standing = keeper.standing(duel, reign, policy, now, None)
    decision = policy.decide(
        Case(
            model_type=artifact.model_type,
            candidate_version=artifact.version,
            champion_version=reign.champion.version,
            as_of=now,
            metrics=artifact.metrics,
            certificate=artifact.certificate,
            standing=standing,
        )
    )
    evidence = standing.evidence
    target = log_needed(policy, Kind.CHALLENGE, standing.recipes)
    more = evidence.candles_to_go(target)
    return {
        "version": artifact.version, "recipe_id": artifact.recipe_id,
        "same_recipe_as_champion": standing.same_recipe, "trained_at": jsonable(artifact.trained_at),
        "e": e_of(evidence.log_e), "e_peak": e_of(evidence.peak), "e_needed": e_of(target),
        "candles": evidence.bets, "shadow_candles": standing.own.shadow_candles,
        "candles_to_go": more,
        "hours_to_go": more * keeper.registry.series.step / timedelta(hours=1) if more is not None else None,
        "mse_gain": standing.own.mse_gain, "direction_gain": standing.own.direction_gain,
        "now": str(decision.outcome), "label": decision.label, "reason": decision.reason,
    }  # fmt: skip


def _guard(keeper: Bookkeeper, policy: PromotionPolicy, reign: Reign) -> dict[str, Any] | None:
    duel = keeper.guard(reign)
    if duel is None or not isinstance(policy, EvidencePolicy):
        return None
    evidence = keeper.evidence(duel.key)
    return {
        "version": duel.challenger.version, "e": e_of(evidence.log_e), "e_peak": e_of(evidence.peak),
        "e_needed": e_of(log_needed(policy, Kind.GUARD)), "candles": evidence.bets,
        "until": jsonable(reign.since + timedelta(hours=policy.guard_hours)),
    }  # fmt: skip


def log_needed(policy: PromotionPolicy, kind: Kind, recipes: int = 1) -> float:
    """What log E must reach: of a challenger, among so many recipes, or of the guard.

    Policies that go by no evidence are told of it by the usual levels.
    """
    levels = policy if isinstance(policy, EvidencePolicy) else EvidencePolicy()
    if kind is Kind.GUARD:
        return log_threshold(levels.alpha_rollback)
    return log_threshold(levels.alpha, recipes)


def decision_view(decision: Decision) -> dict[str, Any]:
    """A decision as `GET /decisions` lists it: without the inputs, which `explain-decision` reads."""
    view: dict[str, Any] = jsonable(decision)
    view["id"] = view.pop("decision_id")
    del view["inputs"]
    return view


def trial_views(registry: ModelRegistry, model_type: str | None, limit: int) -> list[dict[str, Any]]:
    """Attempts, newest first, each with what has become of its version: its status and last decision."""
    trials = registry.book.trials(model_type, limit)
    names = {trial.model_type for trial in trials}
    status = {
        (a.model_type, a.version): str(a.status)
        for name in names
        for a in registry.get_model_history(name, limit=_ALL)
    }
    newest_last = reversed(registry.get_decisions(model_type, limit=_ALL))
    fate = {(d.model_type, d.candidate_version): d.label for d in newest_last}
    keys = [(trial.model_type, trial.version or "") for trial in trials]
    return [
        {**jsonable(trial), "status": status.get(key), "fate": fate.get(key)}
        for trial, key in zip(trials, keys, strict=True)
    ]


def e_of(log_e: float) -> float:
    """E, within what JSON and an axis can carry."""
    return exp(min(log_e, log(1e300)))
