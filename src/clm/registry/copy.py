"""Copies a registry's database into an empty one, row by row and id by id: all of it, or nothing.

Between SQLite and PostgreSQL in any direction. The source is read as it is at one moment, and not held up;
the target is one transaction, compared with the source before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError

from clm.core.domain import Progress
from clm.core.errors import BadData, BadInput, NotEmpty, NotFound
from clm.registry.checksum import Checksum
from clm.registry.engine import file_of, first_line, opened, snapshot, translated, writing
from clm.registry.migrate import ensure_schema, require_head, revision_of
from clm.registry.tables import METADATA

Listener = Callable[[Progress], None]
_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """sha256: the checksum of all rows in the order of their ids."""

    name: str
    rows: int
    sha256: str


def copy_database(source_url: str, target_url: str, listen: Listener | None = None) -> list[CopiedTable]:
    """Every table of CLM's, from one database into another; where the target has no tables they are made.

    Raises NotFound (no source), NotEmpty, DatabaseTooOld, DatabaseTooNew (either side), BadData (a row that
    the target cannot hold as it is), and what databases raise. Nothing was copied then.
    """
    if source_url == target_url:
        raise BadInput("--to", "the database that is copied", "another, empty one")
    with as_it_is(source_url) as reader:
        return copy_rows(reader, target_url, listen)


@contextmanager
def as_it_is(db_url: str) -> Iterator[sa.Connection]:
    """A snapshot of an up-to-date database. Raises NotFound, DatabaseTooOld, DatabaseTooNew."""
    file = file_of(db_url)
    if file is not None and not file.exists():
        raise NotFound(f"there is no database {file}")
    with opened(db_url) as engine, snapshot(engine) as connection:
        require_head(connection)
        yield connection


def copy_rows(reader: sa.Connection, target_url: str, listen: Listener | None = None) -> list[CopiedTable]:
    """What a snapshot sees, into the database at `target_url`. Raises as `copy_database`."""
    if revision_of(target_url) is None:
        with opened(target_url) as target:
            ensure_schema(target)
    tables = [_plain(table) for table in METADATA.sorted_tables]
    with opened(target_url) as target, writing(target, long=True) as writer:
        require_head(writer)
        _keep_others_out(writer)
        require_empty(writer)
        tell = _Teller(listen, 2 * sum(_count(reader, table) for table in tables))
        copied = [_copy(reader, writer, table, tell) for table in tables]
        for table, source in zip(tables, copied, strict=True):
            _compare(source, _read(writer, table, tell))
        _continue_ids(writer, tables)
    return copied


def require_empty(connection: sa.Connection) -> None:
    """Raises NotEmpty naming the table that has a row."""
    for table in METADATA.sorted_tables:
        rows = _count(connection, table)
        if rows:
            found = f"{rows:,} rows" if rows > 1 else "1 row"
            raise NotEmpty(f"{_name(connection)} is not empty: {table.name} has {found}")


def _copy(reader: sa.Connection, writer: sa.Connection, table: sa.Table, tell: _Teller) -> CopiedTable:
    checksum = Checksum()
    for rows in _chunks(reader, table):
        try:
            writer.execute(table.insert(), [row._asdict() for row in rows])
        except (DataError, IntegrityError) as exc:
            raise BadData(
                f"{_name(writer)} cannot hold a row of {table.name} as it is, one of the ids {rows[0].id} to "
                f"{rows[-1].id}: {first_line(exc)}; nothing was copied"
            ) from exc
        checksum.add(rows)
        tell(f"copying {table.name}", len(rows))
    return CopiedTable(table.name, checksum.rows, checksum.sha256)


def _read(connection: sa.Connection, table: sa.Table, tell: _Teller) -> CopiedTable:
    checksum = Checksum()
    for rows in _chunks(connection, table):
        checksum.add(rows)
        tell(f"comparing {table.name}", len(rows))
    return CopiedTable(table.name, checksum.rows, checksum.sha256)


def _compare(source: CopiedTable, target: CopiedTable) -> None:
    if source != target:
        raise BadData(
            f"{source.name} did not arrive as it was: {source.rows:,} rows with the checksum "
            f"{source.sha256[:12]} became {target.rows:,} with {target.sha256[:12]}; nothing was copied"
        )


def _chunks(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[sa.Row[Any]]]:
    """All rows by their ids; each query ends, so that neither side keeps more than a chunk in memory."""
    query = sa.select(table).order_by(table.c.id).limit(_CHUNK)
    last: int | None = None
    while True:
        with translated(connection.engine):
            page = query if last is None else query.where(table.c.id > last)
            try:
                rows = connection.execute(page).all()
            except ValueError as exc:
                raise BadData(f"{table.name} of {_name(connection)} cannot be read: {exc}") from exc
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _count(connection: sa.Connection, table: sa.Table) -> int:
    with translated(connection.engine):
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def _keep_others_out(writer: sa.Connection) -> None:
    """Until the copy is complete nobody else writes; on SQLite a writer is alone anyhow."""
    if writer.dialect.name == "postgresql":
        names = ", ".join(table.name for table in METADATA.sorted_tables)
        writer.execute(sa.text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


def _continue_ids(writer: sa.Connection, tables: Sequence[sa.Table]) -> None:
    """The next row gets the next id; SQLite sees to that by itself."""
    if writer.dialect.name != "postgresql":
        return
    for table in tables:
        newest = writer.execute(sa.select(sa.func.max(table.c.id))).scalar()
        if newest is not None:
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            writer.execute(sa.select(sa.func.setval(sequence, newest)))


def _name(connection: sa.Connection) -> str:
    return f"the database {connection.engine.url.render_as_string(hide_password=True)}"


class _JsonText(sa.types.TypeDecorator[str]):
    """PostgreSQL's JSON as the text that it keeps."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindparam: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindparam, sa.JSON)

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.Text)


def _plain(table: sa.Table) -> sa.Table:
    """The table with its JSON left as text: no digit of a number changes, and null is not NULL."""
    text = sa.Text().with_variant(_JsonText(), "postgresql")
    columns = [
        sa.Column(c.name, text if isinstance(c.type, sa.JSON) else c.type, primary_key=c.primary_key)
        for c in table.columns
    ]
    return sa.Table(table.name, sa.MetaData(), *columns)


class _Teller:
    """Counts rows, and tells."""

    def __init__(self, listen: Listener | None, total: int) -> None:
        self._listen, self._total, self._done = listen, total, 0

    def __call__(self, what: str, rows: int) -> None:
        self._done += rows
        if self._listen is not None:
            total = max(self._total, self._done)
            self._listen(Progress(step="copy", message=what, done=self._done, total=total))
