"""The watchlist as rows, one per series."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.domain import Series
from clm.core.watchlist import Watched
from clm.registry.database import Database
from clm.registry.tables import watchlist


class SQLWatchlist:
    """See `WatchlistStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self) -> list[Watched]:
        with self._database.reading() as connection:
            return [
                Watched(
                    series=Series(row.symbol, row.interval), overrides=row.overrides_json,
                    models=None if row.models_json is None else tuple(row.models_json),
                    watched=row.watched, changed_by=row.changed_by, changed_at=row.changed_at,
                )
                for row in connection.execute(sa.select(watchlist).order_by(watchlist.c.id))
            ]  # fmt: skip

    def put(self, entry: Watched) -> None:
        place = {"symbol": entry.series.symbol, "interval": entry.series.interval}
        values = {
            "models_json": None if entry.models is None else list(entry.models),
            "overrides_json": dict(entry.overrides), "watched": entry.watched,
            "changed_by": entry.changed_by, "changed_at": datetime.now(UTC),
        }  # fmt: skip
        here = sa.and_(*(watchlist.c[name] == value for name, value in place.items()))
        with self._database.writing(fenced=False) as connection:
            if connection.execute(watchlist.update().where(here).values(values)).rowcount:
                return
        try:
            with self._database.writing(fenced=False) as connection:
                connection.execute(watchlist.insert().values(**place, **values))
        except IntegrityError:
            # Another process put it there in the same moment: the later word counts.
            self.put(entry)
