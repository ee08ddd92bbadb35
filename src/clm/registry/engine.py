"""A database engine that keeps its word: transactions that lock when they begin, errors that are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, NoSuchModuleError

from clm.core.errors import DatabaseUnavailable, InvalidSetting, StorageFailed
from clm.settings import mask_url

_ALLOWED = "sqlite:///path/to/file.db or postgresql+psycopg://user:password@host:5432/database"
#: Seconds a writer waits for another one before it gives up.
_BUSY_SECONDS = 30
#: Words of SQLite for a database that will not get better by waiting.
_HOPELESS = ("full", "readonly", "not a database", "malformed", "unable to open")


def open_engine(db_url: str) -> sa.Engine:
    """An engine; nothing is connected yet. Raises InvalidSetting, StorageFailed (folder cannot be made)."""
    try:
        url = sa.make_url(db_url)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as exc:
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED) from exc
    if backend == "sqlite":
        return _open_sqlite(url)
    if backend != "postgresql":
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED)
    try:
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args={"connect_timeout": 10}
        )
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        message = "db_url: PostgreSQL needs its driver: pip install 'quantum-clm[postgres]'"
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED, message=message) from exc


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read from. Raises DatabaseUnavailable, StorageFailed."""
    with _ours(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction, committed when left without an error; on SQLite it holds the write lock from its begin.

    Raises DatabaseUnavailable, StorageFailed; IntegrityError is the caller's to explain.
    """
    with (
        _ours(engine),
        engine.connect().execution_options(clm_writing=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _ours(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DatabaseError as exc:
        where, cause = engine.url.render_as_string(hide_password=True), _first_line(exc)
        if any(word in cause for word in _HOPELESS):
            raise StorageFailed(f"the database {where} cannot be used: {cause}") from exc
        raise DatabaseUnavailable(f"the database {where} did not answer: {cause}") from exc


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        allowed = "a file (sqlite:///clm.db): every run is a process of its own and shares it"
        raise InvalidSetting("db_url", str(url), allowed)
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageFailed(f"the database's folder {folder} cannot be made: {exc.strerror}") from exc
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    # The driver's own transaction handling begins late and only for some statements; ours begins when told.
    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("clm_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _first_line(error: DBAPIError) -> str:
    text = str(error.orig).strip()
    return text.splitlines()[0] if text else type(error.orig).__name__
