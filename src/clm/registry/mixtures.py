"""SQLMixtures: a row per candle of an ensemble, each made once."""

from __future__ import annotations

import sqlalchemy as sa

from clm.core.domain import Series
from clm.core.ensembles import Mixture
from clm.registry.database import Database
from clm.registry.engine import insert_new
from clm.registry.tables import ensembles


class SQLMixtures:
    """Of `series`. Building it connects nothing."""

    def __init__(self, database: Database, series: Series) -> None:
        self._database, self.series = database, series

    def append(self, mixture: Mixture) -> bool:
        values = {
            "symbol": self.series.symbol, "interval": self.series.interval,
            "open_time": mixture.open_time, "state_json": mixture.to_json(),
        }  # fmt: skip
        with self._database.writing() as connection:
            new = insert_new(connection, ensembles).returning(ensembles.c.id)
            return connection.execute(new, [values]).first() is not None

    def newest(self) -> Mixture | None:
        return next(iter(self.recent(1)), None)

    def recent(self, limit: int) -> list[Mixture]:
        query = sa.select(ensembles).where(
            ensembles.c.symbol == self.series.symbol, ensembles.c.interval == self.series.interval
        )
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(ensembles.c.open_time.desc()).limit(limit))
            return [Mixture.from_json(row.open_time, row.state_json) for row in rows]
