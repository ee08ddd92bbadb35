"""Which alerts are to be sent next, and what came of it: however many replicas ask, one sends each."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from clm.core.alert import Parcel
from clm.registry.alerts import stored
from clm.registry.database import Database
from clm.registry.engine import alone
from clm.registry.tables import alerts

_HOUR = timedelta(hours=1)
#: What nobody could be told for so long is no news any more.
GIVE_UP_AFTER = timedelta(hours=24)
#: Longer than any sending takes; afterwards whoever took it is thought dead.
_LEASE = timedelta(minutes=5)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=15), timedelta(minutes=30)
#: Any number, but always the same: who chooses what to send holds this lock in PostgreSQL.
_ADVISORY_LOCK = 0x434C4E
_AT_ONCE = 1000


class SQLOutbox:
    """first_wait: before the second attempt; each further one waits twice as long."""

    def __init__(
        self, database: Database, *, first_wait: timedelta = _FIRST_WAIT, lease: timedelta = _LEASE
    ) -> None:
        self._database, self._first_wait, self._lease = database, first_wait, lease

    def take(self, per_hour: int) -> Parcel | None:
        with self._database.reading() as connection:
            due = alerts.c.next_at <= self._database.now(connection)
            if connection.execute(sa.select(alerts.c.id).where(due).limit(1)).first() is None:
                return None
        with self._database.writing(fenced=False) as connection:
            alone(connection, _ADVISORY_LOCK)
            now = self._database.now(connection)
            _give_up(connection, now)
            rows = connection.execute(
                sa.select(alerts).where(due).order_by(alerts.c.next_at, alerts.c.id).limit(_AT_ONCE)
            ).all()
            chosen, digest = _choose(connection, rows, per_hour, now)
            if not chosen:
                return None
            ids, lease = tuple(row.id for row in chosen), now + self._lease
            taken = {
                "next_at": lease, "sent_at": sa.func.coalesce(alerts.c.sent_at, now), "digest": digest,
                "attempts": alerts.c.attempts + 1,
            }  # fmt: skip
            connection.execute(alerts.update().where(alerts.c.id.in_(ids)).values(taken))
        known: Mapping[str, str | None] = chosen[0].deliveries_json or {}
        return Parcel([stored(row) for row in chosen], ids, lease, chosen[0].attempts + 1, known)

    def lapse(self) -> None:
        with self._database.reading() as connection:
            old = _old(self._database.now(connection))
            if connection.execute(sa.select(alerts.c.id).where(old).limit(1)).first() is None:
                return
        with self._database.writing(fenced=False) as connection:
            _give_up(connection, self._database.now(connection))

    def report(self, parcel: Parcel, deliveries: Mapping[str, str | None], *, again: bool) -> None:
        # An incident that came again meanwhile, or that another has taken, is no longer this parcel's.
        ours = sa.and_(alerts.c.id.in_(parcel.ids), alerts.c.next_at == parcel.lease)
        with self._database.writing(fenced=False) as connection:
            wait = min(self._first_wait * 2 ** min(parcel.attempt - 1, 20), _LONGEST_WAIT)
            next_at = self._database.now(connection) + wait if again else None
            values = {"next_at": next_at, "deliveries_json": dict(deliveries)}
            connection.execute(alerts.update().where(ours).values(values))


def _give_up(connection: sa.Connection, now: datetime) -> None:
    connection.execute(alerts.update().where(_old(now)).values(next_at=None))


def _old(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(alerts.c.next_at <= now, alerts.c.first_at < now - GIVE_UP_AFTER)


def _choose(
    connection: sa.Connection, rows: Sequence[sa.Row[Any]], per_hour: int, now: datetime
) -> tuple[list[sa.Row[Any]], str | None]:
    """The rows of the next message, and the name of their digest where they are one."""
    lately = sa.select(sa.func.count(), sa.func.count(alerts.c.digest)).where(alerts.c.sent_at > now - _HOUR)
    sent, in_digests = connection.execute(lately).one()
    fresh = [row for row in rows if row.sent_at is None]
    surplus = sent - in_digests >= per_hour
    for row in rows:
        if row.sent_at is not None:
            if row.digest is None:
                return [row], None
            return [other for other in rows if other.digest == row.digest], row.digest
        if not surplus:
            return [row], None
        if not in_digests:
            return fresh, secrets.token_hex(8)
    return [], None
