"""What the stored rows add up to, for whoever watches over many series at once: a few grouped queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from clm.core.book import Kind, Source
from clm.core.domain import VersionStatus
from clm.registry.database import Database
from clm.registry.tables import alerts, decisions, evidence, forecasts, runs, trials, versions, watchlist

#: Live forecasts are looked at so far back from the newest one.
LIVE_WINDOW = timedelta(days=7)
#: Incidents are told for so long after they were last noticed.
LATELY = timedelta(hours=1)
#: A row is added to one of them with whatever a page tells of series.
_TOLD = (versions, decisions, forecasts, evidence, trials, runs, alerts)
_ACTIVE = versions.c.status == str(VersionStatus.ACTIVE)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows by their columns' names; `now` is the database's clock.

    trials: model_type, symbol, interval, outcome, attempts, seconds. decisions: the same place, outcome,
    label, decided. champions: place, version, trained_at, since, metrics. live: place, version, hours, loss,
    zero_loss (mean squared errors of champion and zero forecast). evidence: place, kind, champion_version,
    recipe_id, challenger_version, hours, log_e. runs: kind, state, number. alerts: kind, number, of incidents
    that were noticed within `LATELY`.
    """

    now: datetime
    trials: Sequence[Row]
    decisions: Sequence[Row]
    champions: Sequence[Row]
    live: Sequence[Row]
    evidence: Sequence[Row]
    runs: Sequence[Row]
    alerts: Sequence[Row]


def pulse(database: Database) -> str:
    """Changes with what is stored of series: one look at the end of each table, however long they are.

    Raises DatabaseUnavailable, StorageFailed.
    """
    newest = [
        sa.select(sa.func.max(column)).scalar_subquery()
        for column in (*(table.c.id for table in _TOLD), runs.c.finished_at, watchlist.c.changed_at)
    ]
    with database.reading() as connection:
        row = connection.execute(sa.select(*newest)).one()
    return sha256(repr(tuple(map(str, row))).encode()).hexdigest()[:16]


def totals(database: Database) -> Totals:
    """What is stored now. Raises DatabaseUnavailable, StorageFailed."""
    with database.reading() as connection:

        def rows(query: sa.Select[Any]) -> list[Row]:
            return [dict(row) for row in connection.execute(query).mappings()]

        champions, now = rows(_champions()), database.now(connection)
        newest = max((row["newest"] for row in champions if row["newest"]), default=None)
        return Totals(
            now=now,
            trials=rows(_trials()),
            decisions=rows(_decisions()),
            champions=champions,
            live=rows(_live(newest - LIVE_WINDOW)) if newest else [],
            evidence=[_standing(row) for row in rows(_evidence())],
            runs=rows(
                sa.select(runs.c.kind, runs.c.state, sa.func.count().label("number"))
                .group_by(runs.c.kind, runs.c.state)
            ),
            alerts=rows(
                sa.select(alerts.c.kind, sa.func.count().label("number"))
                .where(alerts.c.last_at > now - LATELY).group_by(alerts.c.kind)
            ),
        )  # fmt: skip


def _place(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    return table.c.model_type, table.c.symbol, table.c.interval


def _same_place(one: sa.Table, other: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(a == b for a, b in zip(_place(one), _place(other), strict=True)))


def _trials() -> sa.Select[Any]:
    place = _place(trials)
    return sa.select(
        *place, trials.c.outcome, sa.func.count().label("attempts"),
        sa.func.sum(trials.c.seconds).label("seconds"),
    ).group_by(*place, trials.c.outcome)  # fmt: skip


def _decisions() -> sa.Select[Any]:
    columns = (*_place(decisions), decisions.c.outcome, decisions.c.label)
    return sa.select(*columns, sa.func.count().label("decided")).group_by(*columns)


def _champions() -> sa.Select[Any]:
    # One step down an index for each champion.
    newest = (
        sa.select(sa.func.max(forecasts.c.open_time)).where(_same_place(forecasts, versions))
        .scalar_subquery()
    )  # fmt: skip
    return sa.select(
        *_place(versions), versions.c.version, versions.c.trained_at,
        sa.func.coalesce(versions.c.promoted_at, versions.c.trained_at).label("since"),
        versions.c.metrics_json.label("metrics"), newest.label("newest"),
    ).where(_ACTIVE)  # fmt: skip


def _live(since: datetime) -> sa.Select[Any]:
    columns = (*_place(versions), versions.c.version)
    error = forecasts.c.forecast - forecasts.c.actual
    return (
        sa.select(
            *columns, sa.func.count().label("hours"), sa.func.avg(error * error).label("loss"),
            sa.func.avg(forecasts.c.actual * forecasts.c.actual).label("zero_loss"),
        )
        .join(
            forecasts,
            sa.and_(_same_place(forecasts, versions), forecasts.c.version == versions.c.version),
        )
        .where(
            _ACTIVE, forecasts.c.source == str(Source.LIVE), forecasts.c.actual.is_not(None),
            forecasts.c.open_time >= since,
        )
        .group_by(*columns)
    )  # fmt: skip


def _evidence() -> sa.Select[Any]:
    """Where each ledger of a present reign stands: its newest row.

    Ledgers grow by a row with every candle, so none is read as a whole: each recipe is found by a step down
    an index from the one before, and so is its newest row.
    """

    def next_recipe(place: Any, reign: Any, kind: Any, after: Any = None) -> sa.ScalarSelect[Any]:
        first = sa.select(sa.func.min(evidence.c.recipe_id)).where(
            *(evidence.c[name] == place.c[name] for name in ("model_type", "symbol", "interval")),
            evidence.c.kind == kind, evidence.c.champion_version == place.c.version,
            evidence.c.reign == reign,
        )  # fmt: skip
        return (first if after is None else first.where(evidence.c.recipe_id > after)).scalar_subquery()

    kinds = sa.union_all(*(sa.select(sa.literal(str(kind)).label("kind")) for kind in Kind)).subquery()
    since = sa.func.coalesce(versions.c.promoted_at, versions.c.trained_at)
    place = (*_place(versions), versions.c.version, since.label("reign"))
    ledgers = (
        sa.select(*place, kinds.c.kind, next_recipe(versions, since, kinds.c.kind).label("recipe_id"))
        .join_from(versions, kinds, sa.true())
        .where(_ACTIVE)
        .cte("ledgers", recursive=True)
    )
    further = next_recipe(ledgers, ledgers.c.reign, ledgers.c.kind, ledgers.c.recipe_id)
    more = (*(c for c in ledgers.c if c.name != "recipe_id"), further)
    ledgers = ledgers.union_all(sa.select(*more).where(ledgers.c.recipe_id.is_not(None)))
    here = sa.alias(evidence)

    def of_ledger(table: Any) -> tuple[sa.ColumnElement[bool], ...]:
        names = ("model_type", "symbol", "interval", "kind", "reign", "recipe_id")
        own = (table.c[name] == ledgers.c[name] for name in names)
        return (*own, table.c.champion_version == ledgers.c.version)

    newest = sa.select(sa.func.max(evidence.c.open_time)).where(*of_ledger(evidence)).scalar_subquery()
    return sa.select(
        *(here.c[n] for n in ("model_type", "symbol", "interval", "kind", "champion_version", "recipe_id")),
        here.c.challenger_version, here.c.log_e, here.c.state_json.label("state"),
    ).join(ledgers, sa.and_(*of_ledger(here), here.c.open_time == newest))  # fmt: skip


def _standing(row: Row) -> Row:
    """hours: the candles that were bet on, which the newest row of a ledger knows."""
    told = {name: value for name, value in row.items() if name != "state"}
    return {**told, "hours": sum(ledger["bets"] for ledger in row["state"].get("ledgers", ()))}
