"""What `clm verify --fix` and the retention job do: every champion can answer, nothing is loose."""

from __future__ import annotations

from datetime import datetime, timedelta

from clm.core.alert import Alarm
from clm.core.domain import Decision, ModelArtifact, Outcome, Series, VersionStatus
from clm.core.errors import UnreadableHere
from clm.core.protocols import ModelRegistry
from clm.core.reign import reign_of
from clm.core.sight import Sight
from clm.registry.sql import SQLModelRegistry

#: A candidate nothing was decided about after so long is one whose worker died.
_ABANDONED_AFTER = timedelta(days=1)
_ALL = 10_000
#: How a sentence ends about what only this process cannot read.
UNCHANGED = "nothing was changed"


def mend(registry: SQLModelRegistry, sight: Sight, now: datetime, alarm: Alarm) -> list[str]:
    """Sets right what can be; a sentence for each thing done.

    Damaged versions go into quarantine, a damaged champion gives way to the last good one, files nobody
    knows are set aside, candidates of workers that died are retired, and what came back is welcome again.
    What only this process cannot read stays as it is.
    """
    done = ["the model folder was adopted: all files are there"] if registry.folder.adopt() else []
    done += [
        f"{a.model_type} {a.version} of {a.series} is back as it was registered: quarantine ended"
        for a in registry.upkeep.take_back()
    ]
    for finding in registry.verify():
        if finding.damaged:
            own = registry.for_series(Series(*finding.series.split()))
            own.quarantine(finding.model_type, finding.version, finding.problem)
            done.append(f"{finding.model_type} {finding.version} of {finding.series}: set aside")
    for series, model_type in registry.kept():
        done += _mend_one(registry.for_series(series), model_type, sight, now, alarm)
    done += [f"file without a version set aside: {name}" for name in registry.upkeep.set_orphans_aside()]
    return done


def _mend_one(
    registry: ModelRegistry, model_type: str, sight: Sight, now: datetime, alarm: Alarm
) -> list[str]:
    before = registry.get_active(model_type)
    done = []
    try:
        found = reign_of(registry, model_type, sight, now, alarm)
    except UnreadableHere as error:
        before, found = None, None
        done.append(f"{error}; {UNCHANGED}")
    if before is not None and (found is None or found[0].champion.version != before.version):
        heir = found[0].champion.version if found else "no version"
        done.append(f"{model_type} of {registry.series}: {heir} answers instead of {before.version}")
    done += [
        f"{a.model_type} {a.version} of {a.series}: retired, nothing was ever decided about it"
        for a in retire_abandoned(registry, model_type, now)
    ]
    return done


def retire_abandoned(registry: ModelRegistry, model_type: str, now: datetime) -> list[ModelArtifact]:
    """Retires candidates that a worker stored before it died; answers them."""
    decided = {d.candidate_version for d in registry.get_decisions(model_type, limit=_ALL)}
    retired = []
    for artifact in registry.get_model_history(model_type, limit=_ALL):
        if artifact.status is not VersionStatus.CANDIDATE or artifact.version in decided:
            continue
        if now - artifact.trained_at < _ABANDONED_AFTER:
            continue
        said = Decision(
            model_type=model_type, candidate_version=artifact.version, champion_version=None,
            outcome=Outcome.REJECT, label="abandoned", policy="lifecycle", decided_by="lifecycle",
            reason="its worker died before anything was decided about it", decided_at=now,
        )  # fmt: skip
        if registry.record_decision(said, VersionStatus.RETIRED):
            retired.append(artifact)
    return retired
