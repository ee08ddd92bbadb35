"""Who was champion when, and why: read off the decisions that began and ended reigns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from clm.core.domain import Decision, Outcome


@dataclass(frozen=True, slots=True)
class PastReign:
    """until: None, it lasts. label, reason, decided_by, decision_id: of the decision that began it."""

    version: str
    since: datetime
    until: datetime | None
    label: str
    reason: str
    decided_by: str
    decision_id: int | None


def reigns(decisions: Sequence[Decision]) -> list[PastReign]:
    """Reigns of one model of a series, newest first. decisions: stored ones that promote or retire, newest
    first. A version that was retired while it reigned, with none to follow, leaves a gap.
    """
    found: list[PastReign] = []
    for decision in reversed(decisions):
        at, last = decision.decided_at, found[-1] if found else None
        if at is None:
            continue
        begins = decision.outcome is Outcome.PROMOTE
        if last is not None and last.until is None and (begins or last.version == decision.candidate_version):
            found[-1] = replace(last, until=at)
        if begins:
            said = (decision.label, decision.reason, decision.decided_by, decision.decision_id)
            found.append(PastReign(decision.candidate_version, at, None, *said))
    return found[::-1]
