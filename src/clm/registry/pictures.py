"""What pictures are drawn from: stored bets and forecasts, summed and thinned by the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from clm.core.book import LedgerKey, Source
from clm.core.domain import Series, VersionStatus
from clm.registry.database import Database
from clm.registry.tables import evidence, forecasts, versions

Row = Mapping[str, Any]


def ledger_points(database: Database, series: Series, key: LedgerKey, most: int) -> list[Row]:
    """At most `most` bets of one ledger, oldest first: every nth, counted back from the newest.

    open_time, version, log_e, pooled; number: which bet it is; of: how many there are; total, squares: Σ gain
    and Σ gain² up to it, of the bets that are left out as well.
    """
    so_far: dict[str, Any] = {"order_by": evidence.c.open_time, "rows": (None, 0)}
    every = sa.select(
        evidence.c.open_time, evidence.c.challenger_version.label("version"), evidence.c.log_e,
        evidence.c.pool_sha256.is_not(None).label("pooled"),
        sa.func.row_number().over(order_by=evidence.c.open_time).label("number"),
        sa.func.count().over().label("of"),
        sa.func.sum(evidence.c.gain).over(**so_far).label("total"),
        sa.func.sum(evidence.c.gain * evidence.c.gain).over(**so_far).label("squares"),
    ).where(
        evidence.c.symbol == series.symbol, evidence.c.interval == series.interval,
        evidence.c.model_type == key.model_type, evidence.c.kind == str(key.kind),
        evidence.c.champion_version == key.champion_version, evidence.c.reign == key.reign,
        evidence.c.recipe_id == key.recipe_id,
    ).subquery()  # fmt: skip
    nth = (every.c.of + (most - 1)) // most
    query = sa.select(every).where((every.c.of - every.c.number) % nth == 0).order_by(every.c.open_time)
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def forecast_points(
    database: Database,
    series: Series,
    model_type: str,
    since: Mapping[str, datetime],
    before: datetime | None,
    most: int,
) -> list[Row]:
    """The forecasts of some versions on the newest `most` candles that any of them forecast, newest first.

    since: version → the first candle that counts. before: only candles opened earlier. Forecasts made up for
    afterwards are none. open_time, version, forecast, actual (None until it is known).
    """
    theirs = sa.or_(
        *(sa.and_(forecasts.c.version == v, forecasts.c.open_time >= t) for v, t in since.items())
    )
    mine = [
        forecasts.c.symbol == series.symbol, forecasts.c.interval == series.interval,
        forecasts.c.model_type == model_type, forecasts.c.source != str(Source.LATE), theirs,
    ]  # fmt: skip
    if before is not None:
        mine.append(forecasts.c.open_time < before)
    when = forecasts.c.open_time
    times = sa.select(when).distinct().where(*mine).order_by(when.desc()).limit(most).subquery()
    query = sa.select(when, forecasts.c.version, forecasts.c.forecast, forecasts.c.actual).where(
        *mine, when >= sa.select(sa.func.min(times.c.open_time)).scalar_subquery()
    )
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(query.order_by(when.desc())).mappings()]


def live_skill(database: Database, every: Sequence[Series], ends: Sequence[datetime]) -> list[Row]:
    """How the champions of these series have done live: one row a champion and slot, one query for all.

    ends: of the slots, ascending; slot n is from ends[n] on and before ends[n + 1]. A champion without a live
    forecast that is scored has one row, its slot None. symbol, interval, model_type, version, metrics (of its
    evaluation), slot, candles, errors (Σ squared error), squares (Σ squared return), moved (moves), right
    (moves whose sign was forecast).
    """
    if not every:
        return []
    live = sa.and_(
        *(forecasts.c[name] == versions.c[name] for name in ("model_type", "symbol", "interval", "version")),
        forecasts.c.source == str(Source.LIVE), forecasts.c.actual.is_not(None),
        forecasts.c.open_time >= ends[0], forecasts.c.open_time < ends[-1],
    )  # fmt: skip
    slot = sa.case(
        *((forecasts.c.open_time < end, n) for n, end in enumerate(ends[1:])), else_=None
    ).label("slot")  # fmt: skip
    error, actual = forecasts.c.forecast - forecasts.c.actual, forecasts.c.actual
    # The two signs are the same where the product is positive; a forecast of zero misses.
    right = sa.case((forecasts.c.forecast * actual > 0, 1), else_=0)
    summed = (
        sa.select(
            versions.c.id, slot, sa.func.count().label("candles"), sa.func.sum(error * error).label("errors"),
            sa.func.sum(actual * actual).label("squares"),
            sa.func.sum(sa.case((actual != 0, 1), else_=0)).label("moved"),
            sa.func.sum(right).label("right"),
        )
        .join(forecasts, live).where(_champions_of(every)).group_by(versions.c.id, slot).subquery()
    )  # fmt: skip
    query = (
        sa.select(
            versions.c.symbol, versions.c.interval, versions.c.model_type, versions.c.version,
            versions.c.metrics_json.label("metrics"), *(c for c in summed.c if c.name != "id"),
        )
        .outerjoin(summed, summed.c.id == versions.c.id).where(_champions_of(every))
        .order_by(versions.c.id, summed.c.slot)
    )  # fmt: skip
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _champions_of(every: Sequence[Series]) -> sa.ColumnElement[bool]:
    named = sa.or_(
        *(sa.and_(versions.c.symbol == s.symbol, versions.c.interval == s.interval) for s in every)
    )
    return sa.and_(versions.c.status == str(VersionStatus.ACTIVE), named)
