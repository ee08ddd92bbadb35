"""Alerts as rows: an incident is one row, however often and by however many processes it is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from clm.core.alert import KINDS, Alert, StoredAlert
from clm.core.domain import Series
from clm.registry.database import Database
from clm.registry.engine import insert_new
from clm.registry.tables import alerts

#: What nobody has noticed any more for so long, and nobody waits to be told of, is forgotten.
KEPT = timedelta(days=90)
#: A file that is set aside may be a champion's: then who takes over is told with it.
_PATIENCE = {"artifact_quarantined": timedelta(seconds=3)}


class SQLAlerts:
    """All series' alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, alert: Alert) -> bool:
        """Whether this is a new incident; a known one that still lasts is counted."""
        with self._database.writing(fenced=False) as connection:
            return raise_alert(connection, alert)

    def settle(self, kind: str, series: Series, model_type: str = "") -> None:
        """Such incidents, whatever their subject, are over if there are any: the next is a new one."""
        with self._database.reading() as connection:
            if (
                connection.execute(sa.select(alerts.c.id).where(_lasting(series, model_type, kind))).first()
                is None
            ):
                return
        with self._database.writing(fenced=False) as connection:
            close_alerts(connection, series, model_type, kind)

    def forget(self, kept: timedelta = KEPT) -> int:
        """Deletes what was last noticed longer ago than that and is to be sent to nobody; how many went."""
        old = sa.and_(alerts.c.last_at < datetime.now(UTC) - kept, alerts.c.next_at.is_(None))
        with self._database.reading() as connection:
            if connection.execute(sa.select(alerts.c.id).where(old).limit(1)).first() is None:
                return 0
        with self._database.writing(fenced=False) as connection:
            return connection.execute(alerts.delete().where(old)).rowcount

    def recent(self, limit: int = 20) -> list[StoredAlert]:
        """Newest incident first."""
        query = sa.select(alerts).order_by(alerts.c.first_at.desc(), alerts.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [stored(row) for row in connection.execute(query)]


def raise_alert(connection: sa.Connection, alert: Alert) -> bool:
    """The alert's row, in the caller's transaction; whether it is a new incident."""
    now = datetime.now(UTC)
    begun: dict[str, Any] = {
        "message": alert.message, "first_at": now, "last_at": now, "times": 1,
        "closed_at": now if KINDS[alert.kind].passing else None,
        "next_at": now + _PATIENCE.get(alert.kind, timedelta(0)), "sent_at": None, "attempts": 0,
        "digest": None, "deliveries_json": None,
    }  # fmt: skip
    if _told_with_its_file(connection, alert):
        begun["next_at"] = None
    symbol, interval = (alert.series.symbol, alert.series.interval) if alert.series else ("", "")
    values = {
        "incident": alert.incident, "kind": alert.kind, "model_type": alert.model_type, "symbol": symbol,
        "interval": interval, "subject": alert.subject, **begun,
    }  # fmt: skip
    if connection.execute(insert_new(connection, alerts).values(values)).rowcount == 1:
        return True
    same = alerts.update().where(alerts.c.incident == alert.incident)
    lasts = {"last_at": now, "times": alerts.c.times + 1, "message": alert.message}
    if connection.execute(same.where(alerts.c.closed_at.is_(None)).values(lasts)).rowcount:
        return False
    connection.execute(same.values(begun))
    return True


def close_alert(connection: sa.Connection, incident: str) -> None:
    """The incident is over, in the caller's transaction."""
    lasting = alerts.update().where(alerts.c.incident == incident, alerts.c.closed_at.is_(None))
    connection.execute(lasting.values(closed_at=datetime.now(UTC)))


def close_alerts(connection: sa.Connection, series: Series, model_type: str, *kinds: str) -> None:
    """Incidents of those kinds, whatever their subject, are over, in the caller's transaction."""
    over = alerts.update().where(_lasting(series, model_type, *kinds))
    connection.execute(over.values(closed_at=datetime.now(UTC)))


def _lasting(series: Series, model_type: str, *kinds: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        alerts.c.kind.in_(kinds), alerts.c.symbol == series.symbol, alerts.c.interval == series.interval,
        alerts.c.model_type == model_type, alerts.c.closed_at.is_(None),
    )  # fmt: skip


def stored(row: sa.Row[Any]) -> StoredAlert:
    series = Series(row.symbol, row.interval) if row.symbol else None
    return StoredAlert(
        Alert(row.kind, series, row.model_type, row.subject, row.message), row.first_at, row.last_at,
        row.times, row.closed_at, row.next_at, row.attempts, row.deliveries_json,
    )  # fmt: skip


def _told_with_its_file(connection: sa.Connection, alert: Alert) -> bool:
    """Whether the champion gave way because its file was just set aside: one incident, one message."""
    if alert.kind != "champion_unfit":
        return False
    file = Alert("artifact_quarantined", alert.series, alert.model_type, alert.subject, "").incident
    unsent = alerts.update().where(
        alerts.c.incident == file, alerts.c.sent_at.is_(None), alerts.c.next_at.is_not(None)
    )
    return connection.execute(unsent.values(message=alert.message)).rowcount > 0
