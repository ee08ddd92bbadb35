"""Alerts as rows: an incident is one row, however often and by however many processes it is noticed."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.alert import Alert, StoredAlert
from clm.core.domain import Series
from clm.registry.database import Database
from clm.registry.tables import alerts


class SQLAlerts:
    """All series' alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, alert: Alert) -> bool:
        """Whether this is a new incident; a known one is counted."""
        now = datetime.now(UTC)
        again = (
            alerts.update()
            .where(alerts.c.incident == alert.incident)
            .values(last_at=now, times=alerts.c.times + 1, message=alert.message)
        )
        with self._database.writing(fenced=False) as connection:
            if connection.execute(again).rowcount:
                return False
        values = {
            "incident": alert.incident, "kind": alert.kind, "model_type": alert.model_type,
            "symbol": alert.series.symbol, "interval": alert.series.interval, "subject": alert.subject,
            "message": alert.message, "first_at": now, "last_at": now, "times": 1,
        }  # fmt: skip
        try:
            with self._database.writing(fenced=False) as connection:
                connection.execute(alerts.insert().values(values))
        except IntegrityError:
            # Another process noticed it in the same moment.
            return self.record(alert)
        return True

    def recent(self, limit: int = 20) -> list[StoredAlert]:
        """Newest incident first."""
        query = sa.select(alerts).order_by(alerts.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [
                StoredAlert(
                    Alert(
                        row.kind, Series(row.symbol, row.interval), row.model_type, row.subject, row.message
                    ),
                    row.first_at, row.last_at, row.times,
                )
                for row in connection.execute(query)
            ]  # fmt: skip
