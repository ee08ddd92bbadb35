"""Who reigns, since when; who is watched beside; and what to do when the champion is unfit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from clm.core.alert import Alarm, Alert
from clm.core.domain import Decision, ModelArtifact, Outcome, VersionStatus
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, ChampionChanged, UnreadableHere
from clm.core.protocols import ModelRegistry, TrainedModel
from clm.core.sight import Sight

#: Labels of decisions that brought an older version back: such a reign is not guarded.
RETURNS = frozenset({"rollback", "guard", "fallback"})
_HISTORY = 500


@dataclass(frozen=True, slots=True)
class Reign:
    """since: the champion's promotion, the exchange's time where a policy promoted it. guarded: the replaced
    champion, which the guard watches until guard_until. rolled_back_at: the last time the guard took a
    promotion back.
    """

    champion: ModelArtifact
    since: datetime
    guarded: ModelArtifact | None
    guard_until: datetime
    rolled_back_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a version cannot serve. damaged: its file is missing or not what was registered.

    here: only this process cannot use it, which is no reason to retire it.
    """

    reason: str
    damaged: bool = False
    here: bool = False


def look(registry: ModelRegistry, model_type: str, guard_hours: float = 0) -> Reign | None:
    """The present reign; None without a champion. Changes nothing."""
    champion = registry.get_active(model_type)
    if champion is None:
        return None
    taken_back = registry.get_decisions(model_type, limit=1, label="guard")
    since = champion.promoted_at or champion.trained_at
    return Reign(
        champion,
        since,
        _guarded(registry, champion, since) if guard_hours else None,
        since + timedelta(hours=guard_hours),
        next((decision.decided_at for decision in taken_back), None),
    )


def reign_of(
    registry: ModelRegistry,
    model_type: str,
    sight: Sight,
    now: datetime,
    alarm: Alarm,
    guard_hours: float = 0,
) -> tuple[Reign, TrainedModel] | None:
    """The present reign and its champion's model; an unfit champion gives way first (see `heal`).

    For whoever is to decide: the cycle, the live shadow, `clm verify --fix`; a read looks with `look` and
    `load_fit`. Raises UnreadableHere where nothing is wrong with the champion but that this process cannot
    use it: nothing is changed then.
    """
    while (champion := registry.get_active(model_type)) is not None:
        model, unfit = load_fit(registry, champion, sight)
        if unfit is not None and unfit.here:
            raise UnreadableHere(unfit.reason)
        if unfit is not None and unfit.damaged:
            registry.quarantine(model_type, champion.version, unfit.reason)
        reign = look(registry, model_type, guard_hours)
        if model is None:
            heal(registry, champion, unfit.reason if unfit else "", sight, now, alarm)
        elif reign is not None and reign.champion.version == champion.version:
            return reign, model
    return None


def heal(
    registry: ModelRegistry,
    champion: ModelArtifact,
    reason: str,
    sight: Sight,
    now: datetime,
    alarm: Alarm,
) -> ModelArtifact | None:
    """The last good version takes over from an unfit champion, which is retired with `reason`.

    None where no earlier champion is fit: then the champion is retired all the same, and the next sound
    candidate is promoted as `first`.
    """
    heir = _last_good(registry, champion, sight)
    follows = (
        f"{heir.version}, the last good version, takes over" if heir else "no earlier version can either"
    )
    decision = Decision(
        model_type=champion.model_type,
        candidate_version=(heir or champion).version,
        champion_version=champion.version,
        outcome=Outcome.PROMOTE if heir else Outcome.REJECT,
        label="fallback" if heir else "retire",
        policy="lifecycle",
        decided_by="lifecycle",
        reason=f"{champion.version} cannot serve: {reason}; {follows}",
        decided_at=now,
    )
    alert = Alert("champion_unfit", registry.series, champion.model_type, champion.version, decision.reason)
    if heir is None:
        registry.retire(champion.model_type, champion.version, decision=decision, at=now)
        alarm(alert)
        return None
    try:
        promoted = registry.promote(
            champion.model_type, heir.version, expected_active=champion.version, check_expected=True,
            decision=decision, at=now,
        )  # fmt: skip
    except ChampionChanged:
        # Somebody else settled it meanwhile, which is all that was wanted.
        return registry.get_active(champion.model_type)
    alarm(alert)
    return promoted


def load_fit(
    registry: ModelRegistry, artifact: ModelArtifact, sight: Sight
) -> tuple[TrainedModel | None, Unfit | None]:
    """(model, None) of a version that can serve, else (None, why not): its file, features, or this process.

    Changes nothing.
    """
    try:
        model = registry.load_model(artifact)
    except (ArtifactMissing, ArtifactCorrupt) as error:
        return None, Unfit(str(error), damaged=True)
    except UnreadableHere as error:
        return None, Unfit(str(error), here=True)
    lacking = [name for name in model.feature_names if name not in sight.names]
    if not lacking:
        return model, None
    why_not = sight.why_not(lacking)
    if why_not is None:
        said = f"it needs {len(lacking)} features that are not computed any more, such as {lacking[0]}"
        return None, Unfit(said)
    said = (
        f"this process does not compute {len(lacking)} features that {artifact.model_type} "
        f"{artifact.version} of {artifact.series} needs, such as {lacking[0]}: {why_not}"
    )
    return None, Unfit(said, here=True)


def _last_good(registry: ModelRegistry, champion: ModelArtifact, sight: Sight) -> ModelArtifact | None:
    """The newest earlier champion that is fit and was not itself taken back."""
    history = registry.get_model_history(champion.model_type, limit=_HISTORY)
    taken_back = {
        decision.champion_version
        for decision in registry.get_decisions(champion.model_type, limit=_HISTORY)
        if decision.label in RETURNS
    }
    earlier = [
        artifact
        for artifact in history
        if artifact.promoted_at is not None
        and artifact.version != champion.version
        and artifact.version not in taken_back
    ]
    earlier.sort(key=lambda artifact: artifact.promoted_at or artifact.trained_at, reverse=True)
    return next((a for a in earlier if load_fit(registry, a, sight)[0]), None)


def _guarded(registry: ModelRegistry, champion: ModelArtifact, since: datetime) -> ModelArtifact | None:
    """The replaced champion, unless the present one has come back itself."""
    if champion.replaced_version is None:
        return None
    rise = registry.get_rise(champion.model_type, champion.version, since)
    if rise is not None and rise.label in RETURNS:
        return None
    previous = registry.get_version(champion.model_type, champion.replaced_version)
    return previous if previous.status is VersionStatus.RETIRED else None
