"""The audit trail: a row before each deed, its result once afterwards. The database itself keeps the rest."""

from __future__ import annotations

import sqlalchemy as sa

from clm.core.audit import AuditRow, Deed, fit_to_keep
from clm.registry.database import Database
from clm.registry.tables import audit


class SQLAudit:
    """Append-only; triggers see to it also for who has the database open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, deed: Deed) -> int:
        """The number of the row that says what is about to be done; raises like any write."""
        with self._database.writing(fenced=False) as connection:
            values = {
                "at": self._database.now(connection), "actor": deed.actor[:100], "role": deed.role,
                "origin": deed.origin[:100], "action": deed.action[:300],
                "detail_json": fit_to_keep(deed.detail),
            }  # fmt: skip
            made = connection.execute(audit.insert().values(values))
            number: int = made.inserted_primary_key[0]  # type: ignore[index]
        return number

    def end(self, number: int, result: str) -> None:
        """What came of it; the first result stands."""
        unanswered = audit.update().where(audit.c.id == number, audit.c.result.is_(None))
        with self._database.writing(fenced=False) as connection:
            connection.execute(unanswered.values(result=result[:300]))

    def recent(self, limit: int = 20) -> list[AuditRow]:
        """Newest first."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [
                AuditRow(
                    row.id, row.at,
                    Deed(
                        actor=row.actor, role=row.role, origin=row.origin, action=row.action,
                        detail=row.detail_json,
                    ),
                    row.result,
                )
                for row in connection.execute(query)
            ]  # fmt: skip
