"""What a human should hear of, and the seam it goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clm.core.domain import Series


@dataclass(frozen=True, slots=True)
class Alert:
    """kind: rollback, champion_unfit, parity, … ; subject: the version it is about; message: what and why.

    The same kind about the same subject of the same series and model type is the same incident.
    """

    kind: str
    series: Series
    model_type: str
    subject: str
    message: str

    @property
    def incident(self) -> str:
        """Equal for alerts about the same thing, however often it is noticed."""
        return "/".join((self.kind, self.series.symbol, self.series.interval, self.model_type, self.subject))


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert on record. first_at, last_at: the machine's time; times: how often it was noticed."""

    alert: Alert
    first_at: datetime
    last_at: datetime
    times: int


Alarm = Callable[[Alert], None]


def unheard(alert: Alert) -> None:
    """For who wants no alerts: what happened is in the decisions all the same."""
