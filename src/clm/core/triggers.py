"""When to retrain, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from clm.core.domain import ModelArtifact
from clm.core.errors import InvalidSetting

NEVER_TRAINED = "Never trained"
FORCED = "Manual: forced"
#: Why a cycle or a run took place, where no trigger's sentence says so.
MANUAL, SCHEDULED, NOTHING_FIRED = "manual", "scheduled", "no trigger fired"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRule:
    """max_age: retrained so long after the last training. after_candles: also after so many new ones; 0: off.

    The last training counts, whoever won it: a candidate that is still in shadow is no reason for another.
    """

    max_age: timedelta = timedelta(days=7)
    after_candles: int = 0

    def __post_init__(self) -> None:
        if self.max_age <= timedelta(0):
            raise InvalidSetting("retrain_interval_days", str(self.max_age), "a positive number of days")
        if self.after_candles < 0:
            raise InvalidSetting("retrain_after_candles", self.after_candles, "0 (off) or more candles")

    def reason(
        self, champion: ModelArtifact | None, newest: ModelArtifact | None, now: datetime
    ) -> str | None:
        """Why to retrain now, None when there is no need.

        champion: the ACTIVE version; newest: the latest version of any status; now: the exchange's. Drift and
        decay are looked for elsewhere (`clm.core.drift`), when nothing here fires.
        """
        if newest is None:
            return NEVER_TRAINED
        if champion is None:
            return f"No active version: {newest.version} is {newest.status}"
        age = now - newest.trained_at
        if age >= self.max_age:
            return f"Time-based: Last trained {_days(age)} ago"
        candles = int((now - newest.train_end) / newest.series.step)
        if self.after_candles and candles >= self.after_candles:
            return f"Volume-based: {candles} new candles since the training data ended"
        return None


def summed_up(triggers: Mapping[str, str | None]) -> str:
    """Why a cycle took place, in one line: `manual` where it was forced, else the sentences that fired."""
    fired = tuple(dict.fromkeys(reason for reason in triggers.values() if reason is not None))
    if FORCED in fired:
        return MANUAL
    return "; ".join(fired) or NOTHING_FIRED


def of_run(requested_by: str, force: bool) -> str | None:
    """Why a run took place, where that is known before any trigger is asked. requested_by: see RunRequest."""
    if requested_by == "schedule":
        return SCHEDULED
    # From a host's own code nobody asks by hand, unless it is forced.
    return MANUAL if force or requested_by != "python" else None


def _days(age: timedelta) -> str:
    days = age.days
    if days == 0:
        hours = age.seconds // 3600
        return "1 hour" if hours == 1 else f"{hours} hours"
    return "1 day" if days == 1 else f"{days} days"
