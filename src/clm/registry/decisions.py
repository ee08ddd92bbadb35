"""Decisions looked for over all series: by place, by what came of them, by words of their reason, by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from clm.core.domain import Decision, Outcome, Series
from clm.registry.database import Database
from clm.registry.rows import decision_of
from clm.registry.tables import decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """None: whatever it is. text: part of the reason, in any case. since: at the earliest; until: before."""

    series: Series | None = None
    model_type: str | None = None
    version: str | None = None
    outcome: Outcome | None = None
    label: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def find(database: Database, wanted: Wanted, limit: int) -> Sequence[tuple[Series, Decision]]:
    """Newest first. Raises DatabaseUnavailable, StorageFailed."""
    asked, table = [], decisions.c
    if wanted.series is not None:
        asked += [table.symbol == wanted.series.symbol, table.interval == wanted.series.interval]
    for column, value in (
        (table.model_type, wanted.model_type), (table.candidate_version, wanted.version),
        (table.outcome, wanted.outcome), (table.label, wanted.label),
    ):  # fmt: skip
        if value is not None:
            asked.append(column == str(value))
    if wanted.text is not None:
        asked.append(table.reason.icontains(wanted.text, autoescape=True))
    if wanted.since is not None:
        asked.append(table.decided_at >= wanted.since)
    if wanted.until is not None:
        asked.append(table.decided_at < wanted.until)
    query = sa.select(decisions).where(*asked).order_by(table.id.desc()).limit(limit)
    return _read(database, query)


def of_reigns(
    database: Database, series: Series, model_type: str, limit: int
) -> Sequence[tuple[Series, Decision]]:
    """Those that began or ended a reign of one model, newest first."""
    table = decisions.c
    query = sa.select(decisions).where(
        table.symbol == series.symbol, table.interval == series.interval, table.model_type == model_type,
        sa.or_(table.outcome == str(Outcome.PROMOTE), table.label == "retire"),
    )  # fmt: skip
    return _read(database, query.order_by(table.id.desc()).limit(limit))


def _read(database: Database, query: sa.Select[tuple[object, ...]]) -> Sequence[tuple[Series, Decision]]:
    with database.reading() as connection:
        return [(Series(row.symbol, row.interval), decision_of(row)) for row in connection.execute(query)]
