"""SQLEvidenceBook: forecasts, bets and attempts of one series as rows that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.book import Appended, EvidenceRow, Forecast, Kind, LedgerKey, Revision, Source, Trial
from clm.core.domain import Series
from clm.core.errors import EvidenceMoved
from clm.core.evidence import Evidence
from clm.core.paired import Paired
from clm.core.pooled_bets import Stood
from clm.core.wire import jsonable
from clm.registry.database import Database
from clm.registry.engine import alone, insert_new
from clm.registry.pools import POOL_COLUMNS, keep_pools, pool_of, standing_pools
from clm.registry.tables import evidence, forecasts, pooled_bets, trials

#: Exchanges revise what is fresh: older scores are not held against what they say today.
REVISED_WITHIN = timedelta(days=7)
#: A revision smaller than this is a rounding of the last digit, not another price.
_REVISION = 1e-12
#: Who joins what others have bet does so alone; on PostgreSQL by an advisory lock of this number.
_JOINING = 0x636C6D30


class SQLEvidenceBook:
    """The book of `series`. Building it connects nothing."""

    def __init__(self, database: Database, series: Series) -> None:
        self._database = database
        self.series = series

    def record_forecasts(self, new: Sequence[Forecast]) -> int:
        if not new:
            return 0
        first, last = min(f.open_time for f in new), max(f.open_time for f in new)
        with self._database.writing() as connection:
            # What is there stays: the first forecast of a candle is the one that counts. A champion's month
            # is offered with every training, and is there but for a day.
            there = {
                name: set(connection.execute(self._times(*name, first, last)).scalars())
                for name in {(f.model_type, f.version) for f in new}
            }
            rows = [
                {
                    **self._where(f.model_type), "version": f.version, "open_time": f.open_time,
                    "source": str(f.source), "forecast": f.forecast, "variance": f.variance,
                    "made_at": f.made_at, "actual": f.actual, "scored_at": f.scored_at, "revised": None,
                    "candles_sha256": f.candles_sha256,
                }
                for f in new
                if f.open_time not in there[f.model_type, f.version]
            ]  # fmt: skip
            if not rows:
                return 0
            stored: int = connection.execute(
                insert_new(connection, forecasts), rows, execution_options={"preserve_rowcount": True}
            ).rowcount
            return stored

    def _times(
        self, model_type: str, version: str, first: datetime, last: datetime | None = None
    ) -> sa.Select[Any]:
        """Candles a version has forecast, from `first` on."""
        times = forecasts.c.open_time
        until = [] if last is None else [times <= last]
        return sa.select(times).where(self._by(model_type, version), times >= first, *until)

    def _by(self, model_type: str, version: str) -> sa.ColumnElement[bool]:
        """What a version has forecast."""
        return sa.and_(self._mine(forecasts, model_type), forecasts.c.version == version)

    def forecasts(
        self,
        model_type: str,
        version: str,
        *,
        since: datetime | None = None,
        sources: Collection[Source] | None = None,
    ) -> list[Forecast]:
        query = sa.select(forecasts).where(self._by(model_type, version))
        if since is not None:
            query = query.where(forecasts.c.open_time >= since)
        if sources is not None:
            query = query.where(forecasts.c.source.in_(map(str, sources)))
        with self._database.reading() as connection:
            return [_forecast(row) for row in connection.execute(query.order_by(forecasts.c.open_time))]

    def paired(self, model_type: str, champion: str, challenger: str, since: datetime) -> Paired:
        own, other = forecasts.alias(), forecasts.alias()
        columns = (
            other.c.open_time, other.c.actual, own.c.forecast, other.c.forecast, other.c.variance,
            other.c.source != str(Source.HOLDOUT),
        )  # fmt: skip
        query = sa.select(*columns).where(
            self._mine(own, model_type), own.c.version == champion, own.c.open_time >= since,
            self._mine(other, model_type), other.c.version == challenger,
            other.c.open_time == own.c.open_time,
            *(f.c.actual.is_not(None) for f in (own, other)),
            *(f.c.source != str(Source.LATE) for f in (own, other)),
        )  # fmt: skip
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(other.c.open_time)).all()
        times, actual, ours, theirs, variance, shadow = zip(*rows, strict=True) if rows else [()] * 6
        return Paired(
            tuple(times), np.array(actual, dtype=np.float64), np.array(ours, dtype=np.float64),
            np.array(theirs, dtype=np.float64), np.array(variance, dtype=np.float64),
            np.array(shadow, dtype=np.bool_),
        )  # fmt: skip

    def newest_forecast(self, model_type: str, version: str) -> datetime | None:
        query = sa.select(sa.func.max(forecasts.c.open_time)).where(self._by(model_type, version))
        with self._database.reading() as connection:
            newest: datetime | None = connection.execute(query).scalar()
        return newest

    def count_forecasts(self, model_type: str, version: str, after: datetime, until: datetime) -> int:
        times = forecasts.c.open_time
        query = sa.select(sa.func.count()).where(self._by(model_type, version), times > after, times <= until)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def forecast_times(self, model_type: str, version: str, since: datetime) -> list[datetime]:
        query = self._times(model_type, version, since).order_by(forecasts.c.open_time)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def score(self, model_type: str, outcomes: Mapping[datetime, float], at: datetime) -> tuple[int, int]:
        if not outcomes:
            return 0, 0
        found: list[sa.ColumnElement[Any]] = [
            forecasts.c.open_time, forecasts.c.actual, forecasts.c.revised,
        ]  # fmt: skip
        mine, when = self._mine(forecasts, model_type), forecasts.c.open_time
        scored = revised = 0
        with self._database.reading() as connection:
            # A candle has a row for every version that forecast it, in a year of daily trainings many: of
            # those of long ago only the unscored are looked for, which have an index of their own.
            recent = max(min(outcomes), max(outcomes) - REVISED_WITHIN)
            queries = (
                sa.select(*found).where(mine, forecasts.c.actual.is_(None)),
                sa.select(*found).distinct().where(mine, when.between(recent, max(outcomes))),
            )
            due = [r.open_time for q in queries for r in connection.execute(q) if _to_score(r, outcomes)]
            if not due:
                return 0, 0
            query = sa.select(forecasts.c.id, *found).where(mine, when.between(min(due), max(due)))
            rows = [row for row in connection.execute(query) if _to_score(row, outcomes)]
        named = [(row.actual is None, {"row": row.id, "outcome": outcomes[row.open_time]}) for row in rows]
        fresh = [values for unscored, values in named if unscored]
        changed = [values for unscored, values in named if not unscored]
        this = forecasts.c.id == sa.bindparam("row")
        with self._database.writing() as connection:
            if fresh:
                statement = forecasts.update().where(this, forecasts.c.actual.is_(None))
                done = connection.execute(
                    statement.values(actual=sa.bindparam("outcome"), scored_at=at), fresh
                )
                scored = done.rowcount
            if changed:
                statement = forecasts.update().where(this)
                revised = connection.execute(
                    statement.values(revised=sa.bindparam("outcome")), changed
                ).rowcount
        return scored, revised

    def append_evidence(self, key: LedgerKey, rows: Sequence[EvidenceRow], after: datetime | None) -> None:
        self.append_together((Appended(key, rows, after),))

    def append_together(self, ledgers: Sequence[Appended]) -> None:
        every = [ledger for ledger in ledgers if ledger.rows]
        if not every:
            return
        try:
            with self._database.writing() as connection:
                for ledger in every:
                    self._append(connection, ledger)
        except IntegrityError as exc:
            raise self._moved(every[0].key) from exc

    def append_joining(
        self,
        key: LedgerKey,
        rows: Callable[[Mapping[datetime, Stood]], Sequence[EvidenceRow]],
        since: datetime,
        after: datetime | None,
    ) -> None:
        try:
            with self._database.writing() as connection:
                alone(connection, _JOINING)
                stood = standing_pools(connection, self.series, key, since)
                self._append(connection, Appended(key, rows(stood), after))
        except IntegrityError as exc:
            raise self._moved(key) from exc

    def _append(self, connection: sa.Connection, ledger: Appended) -> None:
        newest = sa.select(sa.func.max(evidence.c.open_time)).where(self._ledger(ledger.key))
        if connection.execute(newest).scalar() != ledger.after:
            raise self._moved(ledger.key)
        if ledger.rows:
            keep_pools(connection, ledger.rows)
            connection.execute(evidence.insert(), [self._evidence_values(row) for row in ledger.rows])

    def _moved(self, key: LedgerKey) -> EvidenceMoved:
        return EvidenceMoved(f"another process bet for {key.model_type} of {self.series} first")

    def evidence(self, key: LedgerKey, *, until: datetime | None = None) -> list[EvidenceRow]:
        pools = evidence.outerjoin(pooled_bets, evidence.c.pool_sha256 == pooled_bets.c.sha256)
        query = sa.select(evidence, *POOL_COLUMNS).select_from(pools)
        query = query.where(self._ledger(key)).order_by(evidence.c.open_time)
        if until is not None:
            query = query.where(evidence.c.open_time <= until)
        with self._database.reading() as connection:
            return [_evidence_row(row, key) for row in connection.execute(query)]

    def newest_evidence(self, key: LedgerKey) -> Evidence | None:
        newest = sa.select(evidence.c.state_json).where(self._ledger(key))
        query = newest.order_by(evidence.c.open_time.desc()).limit(1)
        with self._database.reading() as connection:
            state = connection.execute(query).scalar_one_or_none()
        return None if state is None else Evidence.from_json(state)

    def closing_evidence(
        self, model_type: str, champion_version: str, recipe_id: str, before: datetime
    ) -> Evidence | None:
        query = sa.select(sa.func.max(evidence.c.reign)).where(
            self._mine(evidence, model_type), evidence.c.kind == str(Kind.CHALLENGE),
            evidence.c.champion_version == champion_version, evidence.c.recipe_id == recipe_id,
            evidence.c.reign < before,
        )  # fmt: skip
        with self._database.reading() as connection:
            reign = connection.execute(query).scalar()
        if reign is None:
            return None
        key = LedgerKey(
            model_type=str(model_type), kind=Kind.CHALLENGE, champion_version=champion_version, reign=reign,
            recipe_id=recipe_id,
        )  # fmt: skip
        return self.newest_evidence(key)

    def ledgers(self, model_type: str, champion_version: str, reign: datetime) -> list[LedgerKey]:
        query = (
            sa.select(evidence.c.kind, evidence.c.recipe_id, sa.func.min(evidence.c.id).label("first"))
            .where(
                self._mine(evidence, model_type), evidence.c.champion_version == champion_version,
                evidence.c.reign == reign,
            )
            .group_by(evidence.c.kind, evidence.c.recipe_id)
            .order_by("first")
        )  # fmt: skip
        with self._database.reading() as connection:
            found = list(connection.execute(query))
        return [
            LedgerKey(
                model_type=str(model_type), kind=Kind(row.kind), champion_version=champion_version,
                reign=reign, recipe_id=row.recipe_id,
            )
            for row in found
        ]  # fmt: skip

    def record_trial(self, trial: Trial) -> None:
        values = {
            **self._where(trial.model_type), "version": trial.version, "recipe_id": trial.recipe_id,
            "began_at": trial.began_at, "outcome": trial.outcome, "reason": trial.reason,
            "seconds": trial.seconds, "trigger": trial.trigger, "details_json": jsonable(trial.details),
        }  # fmt: skip
        with self._database.writing() as connection:
            connection.execute(trials.insert().values(values))

    def trials(self, model_type: str | None = None, limit: int = 20) -> list[Trial]:
        query = sa.select(trials).where(self._mine(trials, model_type)).order_by(trials.c.id.desc())
        with self._database.reading() as connection:
            return [_trial(row) for row in connection.execute(query.limit(limit))]

    def revisions(self) -> int:
        query = sa.select(sa.func.count(sa.distinct(forecasts.c.open_time))).where(
            self._mine(forecasts), forecasts.c.revised.is_not(None)
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def revised(self, since: datetime, limit: int) -> list[Revision]:
        when, before, after = forecasts.c.open_time, forecasts.c.actual, forecasts.c.revised
        query = (
            sa.select(when, before, after)
            .distinct()
            .where(self._mine(forecasts), after.is_not(None), when >= since)
            .order_by(when.desc(), before, after)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return [Revision(open_time=row[0], before=row[1], after=row[2]) for row in rows]

    def _where(self, model_type: str) -> dict[str, str]:
        return {
            "model_type": str(model_type),
            "symbol": self.series.symbol,
            "interval": self.series.interval,
        }

    def _mine(self, table: sa.FromClause, model_type: str | None = None) -> sa.ColumnElement[bool]:
        mine = sa.and_(table.c.symbol == self.series.symbol, table.c.interval == self.series.interval)
        return mine if model_type is None else sa.and_(mine, table.c.model_type == str(model_type))

    def _ledger(self, key: LedgerKey) -> sa.ColumnElement[bool]:
        return sa.and_(
            self._mine(evidence, key.model_type), evidence.c.kind == str(key.kind),
            evidence.c.champion_version == key.champion_version, evidence.c.reign == key.reign,
            evidence.c.recipe_id == key.recipe_id,
        )  # fmt: skip

    def _evidence_values(self, row: EvidenceRow) -> dict[str, Any]:
        return {
            **self._where(row.key.model_type), "kind": str(row.key.kind),
            "champion_version": row.key.champion_version, "reign": row.key.reign,
            "recipe_id": row.key.recipe_id, "challenger_version": row.challenger_version,
            "open_time": row.open_time, "source": str(row.source), "actual": row.actual,
            "champion_forecast": row.champion_forecast, "challenger_forecast": row.challenger_forecast,
            "variance": row.variance, "gain": row.gain, "bound": row.bound,
            "pool_sha256": row.pool.sha256 if row.pool else None, "log_e": row.log_e,
            "state_json": row.state.to_json(),
        }  # fmt: skip


def _to_score(row: sa.Row[Any], outcomes: Mapping[datetime, float]) -> bool:
    """Whether its outcome is news: not stored yet, or another than it was."""
    outcome = outcomes.get(row.open_time)
    if outcome is None or row.actual is None:
        return outcome is not None
    return bool(abs(outcome - (row.actual if row.revised is None else row.revised)) > _REVISION)


def _forecast(row: sa.Row[Any]) -> Forecast:
    return Forecast(
        model_type=row.model_type, version=row.version, open_time=row.open_time, source=Source(row.source),
        forecast=row.forecast, variance=row.variance, made_at=row.made_at, actual=row.actual,
        scored_at=row.scored_at, revised=row.revised,
        candles_sha256=row.candles_sha256,
    )  # fmt: skip


def _evidence_row(row: sa.Row[Any], key: LedgerKey) -> EvidenceRow:
    return EvidenceRow(
        key=key, challenger_version=row.challenger_version, open_time=row.open_time,
        source=Source(row.source), actual=row.actual, champion_forecast=row.champion_forecast,
        challenger_forecast=row.challenger_forecast, variance=row.variance, gain=row.gain, bound=row.bound,
        pool=pool_of(row), log_e=row.log_e, state=Evidence.from_json(row.state_json),
    )  # fmt: skip


def _trial(row: sa.Row[Any]) -> Trial:
    return Trial(
        model_type=row.model_type, version=row.version, recipe_id=row.recipe_id, began_at=row.began_at,
        outcome=row.outcome, reason=row.reason, seconds=row.seconds, trigger=row.trigger,
        details=row.details_json,
    )  # fmt: skip
