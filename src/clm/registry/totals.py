"""What the stored rows add up to, for whoever watches over many series at once: a few grouped queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from clm.core.book import Source
from clm.core.domain import VersionStatus
from clm.registry.database import Database
from clm.registry.tables import alerts, decisions, evidence, forecasts, runs, trials, versions

#: Live forecasts are looked at so far back from the newest one.
LIVE_WINDOW = timedelta(days=7)
_ACTIVE = versions.c.status == str(VersionStatus.ACTIVE)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows by their columns' names; `now` is the database's clock.

    trials: model_type, symbol, interval, outcome, attempts, seconds. decisions: the same place, outcome,
    label, decided. champions: place, version, trained_at, since, metrics. live: place, version, hours, loss,
    zero_loss (mean squared errors of champion and zero forecast). evidence: place, kind, champion_version,
    recipe_id, challenger_version, hours, log_e. runs: kind, state, number. alerts: kind, times, last_at.
    """

    now: datetime
    trials: Sequence[Row]
    decisions: Sequence[Row]
    champions: Sequence[Row]
    live: Sequence[Row]
    evidence: Sequence[Row]
    runs: Sequence[Row]
    alerts: Sequence[Row]


def totals(database: Database) -> Totals:
    """What is stored now. Raises DatabaseUnavailable, StorageFailed."""
    with database.reading() as connection:

        def rows(query: sa.Select[Any]) -> list[Row]:
            return [dict(row) for row in connection.execute(query).mappings()]

        champions = rows(_champions())
        newest = max((row["newest"] for row in champions if row["newest"]), default=None)
        return Totals(
            now=database.now(connection),
            trials=rows(_trials()),
            decisions=rows(_decisions()),
            champions=champions,
            live=rows(_live(newest - LIVE_WINDOW)) if newest else [],
            evidence=rows(_evidence()),
            runs=rows(
                sa.select(runs.c.kind, runs.c.state, sa.func.count().label("number"))
                .group_by(runs.c.kind, runs.c.state)
            ),
            alerts=rows(
                sa.select(
                    alerts.c.kind, sa.func.sum(alerts.c.times).label("times"),
                    sa.func.max(alerts.c.last_at).label("last_at"),
                ).group_by(alerts.c.kind)
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
    """Where each ledger of a present reign stands: its newest row."""
    ledger = (*_place(evidence), evidence.c.kind, evidence.c.champion_version, evidence.c.reign,
              evidence.c.recipe_id)  # fmt: skip
    reigns = sa.and_(
        _same_place(evidence, versions), evidence.c.champion_version == versions.c.version,
        evidence.c.reign == sa.func.coalesce(versions.c.promoted_at, versions.c.trained_at),
    )  # fmt: skip
    newest = (
        sa.select(*ledger, sa.func.count().label("hours"), sa.func.max(evidence.c.open_time).label("last"))
        .join(versions, reigns)
        .where(_ACTIVE)
        .group_by(*ledger)
        .subquery()
    )
    here = [newest.c[column.name] == column for column in ledger]
    return sa.select(
        *_place(evidence), evidence.c.kind, evidence.c.champion_version, evidence.c.recipe_id,
        evidence.c.challenger_version, evidence.c.log_e, newest.c.hours,
    ).join(newest, sa.and_(*here, evidence.c.open_time == newest.c.last))  # fmt: skip
