"""What a human should hear of: kinds of incidents, their words, and the seams they go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from clm.core.domain import Series


@dataclass(frozen=True, slots=True)
class Kind:
    """title: what happened, in a few words. advice: what to do. passing: over as soon as it has happened, so
    that the next time is another incident; others last until they are mended. severity: of what wakes nobody
    up (info), of what is to be looked at in the morning (warning), or now (critical).
    """

    title: str
    advice: str
    passing: bool = False
    severity: Literal["info", "warning", "critical"] = "warning"


KINDS: Mapping[str, Kind] = {
    "promoted": Kind(
        "A model was promoted",
        "Nothing: where it replaced another, the guard watches it and `clm rollback MODEL` takes it back. "
        "`clm decisions` shows why.",
        passing=True,
        severity="info",
    ),
    "rollback": Kind(
        "A promotion was taken back",
        "Nothing at once: the version before answers again. `clm decisions` shows why.",
        passing=True,
    ),
    "training_failed": Kind(
        "Training failed",
        "The champion goes on answering. Mend the cause, then `clm retrain`; `clm trials` tells more.",
    ),
    "run_interrupted": Kind(
        "A run was interrupted",
        "Usually nothing: the service takes it up again, up to three times. `clm status` shows it.",
    ),
    "data_stale": Kind(
        "No new candles",
        "Look whether the exchange answers at CLM_BINANCE_URL; `/health/ready` and the log say more.",
    ),
    "artifact_quarantined": Kind(
        "A damaged model file was set aside",
        "`clm verify` names what is damaged, `clm restore` brings it back. Look after the disk.",
        severity="critical",
    ),
    "champion_unfit": Kind(
        "A champion cannot serve",
        "`clm models` shows who answers now; `clm retrain --force` trains anew.",
        severity="critical",
    ),
    "drift": Kind(
        "The market moved away from the training data",
        "Nothing: a retraining has begun. If it comes again and again, look at `clm shadow`.",
        severity="info",
    ),
    "parity": Kind(
        "Live and replayed forecasts differ",
        "Do not trust this model's evidence until the cause is found: `clm live` and the log say more.",
    ),
    "experiment": Kind(
        "An experiment ended by itself",
        "`clm experiment show ID` tells its result.",
        passing=True,
        severity="info",
    ),
}


@dataclass(frozen=True, slots=True)
class Alert:
    """kind: of `KINDS`; series None, model_type "": no single one; subject: the version or run it is about;
    message: what and why.

    The same kind about the same subject of the same series and model type is the same incident.
    """

    kind: str
    series: Series | None
    model_type: str
    subject: str
    message: str

    @property
    def incident(self) -> str:
        """Equal for alerts about the same thing, however often it is noticed."""
        symbol, interval = (self.series.symbol, self.series.interval) if self.series else ("", "")
        return "/".join((self.kind, symbol, interval, self.model_type, self.subject))

    @property
    def title(self) -> str:
        """What happened and where, in one line."""
        about = (str(self.series) if self.series else "", self.model_type)
        return ": ".join(filter(None, (KINDS[self.kind].title, " ".join(filter(None, about)))))


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert on record. first_at, last_at: the machine's time; times: how often it was noticed.

    closed_at: since when it is over. next_at: when it is sent next, None: no more. deliveries: receiver →
    None where it has it, else why not. attempts: how often it was sent.
    """

    alert: Alert
    first_at: datetime
    last_at: datetime
    times: int
    closed_at: datetime | None = None
    next_at: datetime | None = None
    attempts: int = 0
    deliveries: Mapping[str, str | None] | None = None

    def delivery_to(self, anybody: bool) -> str:
        """As `delivery`; anybody: whether there is somebody to be told: else nothing waits."""
        return self.delivery if anybody or self.delivery != "waiting" else "unsent"

    @property
    def delivery(self) -> str:
        """waiting, retried, delivered, given up; unsent: nobody was to be told, or told with another."""
        if self.next_at is not None:
            return "retried" if self.attempts else "waiting"
        if not self.deliveries:
            return "unsent"
        return "given up" if any(self.deliveries.values()) else "delivered"


@dataclass(frozen=True, slots=True)
class Message:
    """As a receiver shows it."""

    title: str
    body: str


def message_of(alerts: Sequence[StoredAlert]) -> Message:
    """One alert: what happened, why, what to do. Several: one line each."""
    if len(alerts) > 1:
        lines = [f"- {a.first_at:%Y-%m-%d %H:%M} UTC  {a.alert.title}" for a in alerts[:_LISTED]]
        more = [f"… and {len(alerts) - _LISTED} more"] if len(alerts) > _LISTED else []
        body = [*lines, *more, "", "What to do: `clm alerts list` tells each of them in full."]
        return Message(f"CLM: and {len(alerts)} more alerts", "\n".join(body))
    (stored,) = alerts
    alert = stored.alert
    about = [alert.message, f"What to do: {KINDS[alert.kind].advice}"]
    if alert.subject:
        about.append(f"About: {alert.subject}")
    about.append(f"Noticed: {stored.first_at:%Y-%m-%d %H:%M:%S} UTC")
    return Message(f"CLM: {alert.title}", "\n\n".join(about))


#: Alerts that a digest names.
_LISTED = 30


@dataclass(frozen=True, slots=True)
class Parcel:
    """Alerts that go out as one message. ids: of their rows; lease: until when they are the taker's.

    deliveries: of earlier attempts, as in `StoredAlert`; attempt: the how many-th this is.
    """

    alerts: Sequence[StoredAlert]
    ids: tuple[int, ...]
    lease: datetime
    attempt: int
    deliveries: Mapping[str, str | None]


class Outbox(Protocol):
    """Alerts that are still to be sent, whoever raised them."""

    def take(self, per_hour: int) -> Parcel | None:
        """What is to be sent next, from now on the caller's alone for some minutes; None: nothing now.

        Each alert is a message of its own, at most `per_hour` of them; the surplus goes out together, once
        an hour. Whoever dies after taking leaves it to be taken again.
        """
        ...

    def lapse(self) -> None:
        """What nobody was told of for a day is to be sent no more: it is no news."""
        ...

    def report(self, parcel: Parcel, deliveries: Mapping[str, str | None], *, again: bool) -> None:
        """What came of sending it; again: once more, later each time."""
        ...


Alarm = Callable[[Alert], None]


def unheard(alert: Alert) -> None:
    """For who wants no alerts: what happened is in the decisions all the same."""
