"""A database engine that keeps its word: transactions that lock when they begin, errors that are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clm.core.errors import BadInput, DatabaseUnavailable, InvalidSetting, StorageFailed
from clm.core.extras import how_to_install
from clm.core.text import mask_url
from clm.registry import patience
from clm.registry.postgres import misused, open_postgres

_ALLOWED = "sqlite:///path/to/file.db or postgresql+psycopg://user:password@host:5432/database"
#: Seconds a writer waits for another one before it gives up.
_BUSY_SECONDS = 30
#: Words of SQLite for a database that will not get better by waiting.
_HOPELESS = ("full", "disk I/O error", "readonly", "not a database", "malformed", "unable to open")


def open_engine(db_url: str, *, limited: bool = False) -> sa.Engine:
    """An engine; nothing is connected yet. limited: for what must not wait long, such as a service.

    Raises InvalidSetting, StorageFailed (folder cannot be made).
    """
    url = _parsed(db_url)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    try:
        return open_postgres(url, limited=limited)
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        message = f"db_url: PostgreSQL needs its driver: {how_to_install('postgres')}"
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED, message=message) from exc


@contextmanager
def opened(db_url: str) -> Iterator[sa.Engine]:
    """An engine for a while, its connections given back afterwards. Raises as `open_engine` does."""
    engine = open_engine(db_url)
    try:
        yield engine
    finally:
        engine.dispose()


def file_of(db_url: str) -> Path | None:
    """The file of a SQLite database, there or not; None for one on a server. Raises InvalidSetting."""
    url = _parsed(db_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def require_file(db_url: str) -> None:
    """For a process that is begun beside others: raises StorageFailed rather than begin a SQLite database."""
    file = file_of(db_url)
    if file is not None and not file.exists():
        raise StorageFailed(f"the database {file.absolute()} is gone: nothing is begun in its place")


def sqlite_url(file: Path) -> str:
    """The URL of a database in `file`."""
    return sa.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read from. Raises DatabaseUnavailable, StorageFailed."""
    with translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to read from, all of whose queries see one and the same moment, however long they take.

    Raises DatabaseUnavailable, StorageFailed.
    """
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # SQLite needs no more than one transaction: in WAL mode its first query fixes what the others see.
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: sa.Engine, *, long: bool = False) -> Iterator[sa.Connection]:
    """A transaction, committed when left without an error; on SQLite it holds the write lock from its begin.

    long: it may take minutes, as migrations do. Raises DatabaseUnavailable, StorageFailed; IntegrityError is
    the caller's to explain.
    """
    with (
        translated(engine),
        engine.connect().execution_options(
            clm_writing=True, clm_patience=patience.LONG if long else patience.CHANGE
        ) as connection,
        connection.begin(),
    ):
        if long and engine.dialect.name == "postgresql":
            for name in patience.LIMITS:
                connection.exec_driver_sql(f"SET LOCAL {name} = 0")
        yield connection


def alone(connection: sa.Connection, number: int) -> None:
    """Nobody else with this number gets past here before the transaction ends; SQLite's writer is alone."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def insert_new(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """INSERT that leaves rows alone that are there already."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        return insert_postgresql(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite

    return insert_sqlite(table).on_conflict_do_nothing()


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Inside, the database's errors become ours, all but IntegrityError."""
    try:
        yield
    except IntegrityError:
        raise
    except (DataError, OverflowError, UnicodeEncodeError) as exc:
        # A number beyond 64 bits, a zero byte, half a surrogate pair: no row can have it.
        cause = first_line(exc) if isinstance(exc, DataError) else str(exc)
        message = f"no database can hold that value: {cause[:200]}"
        raise BadInput("value", cause[:200], "text without zero bytes, and numbers", message=message) from exc
    except PoolTimeout as exc:
        busy = "all its connections are in use"
        raise DatabaseUnavailable(f"the database {_told(engine.url)} did not answer: {busy}") from exc
    except DatabaseError as exc:
        if (misuse := misused(engine.url, exc)) is not None:
            raise misuse from exc
        where, cause = _told(engine.url), first_line(exc)
        if any(word in cause for word in _HOPELESS):
            raise StorageFailed(f"the database {where} cannot be used: {cause}") from exc
        unavailable = DatabaseUnavailable(f"the database {where} did not answer: {cause}")
        unavailable.silent = patience.is_silence(exc.orig)
        raise unavailable from exc


def _told(url: sa.URL) -> str:
    """The address as it may be shown."""
    return mask_url(url.render_as_string(hide_password=True))


def _parsed(db_url: str) -> sa.URL:
    try:
        url = sa.make_url(db_url)
        known = url.get_backend_name() in ("sqlite", "postgresql")
    except (ArgumentError, ValueError) as exc:
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED) from exc
    if not known:
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED)
    if "@" in (url.host or ""):
        # Whatever is told of a host that is half a password would give it away.
        message = f"db_url: {mask_url(db_url)!r}: an @ in a password is written %40"
        raise InvalidSetting("db_url", mask_url(db_url), _ALLOWED, message=message)
    return url


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        allowed = "a file (sqlite:///clm.db): every run is a process of its own and shares it"
        raise InvalidSetting("db_url", _told(url), allowed)
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        raise StorageFailed(f"the database's folder {str(folder)!r} cannot be made: {exc}") from exc
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    file = _SameFile(Path(url.database).absolute())

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, record: object, arguments: Any, named: dict[str, Any]) -> None:
        # Where it is gone, connecting would begin another one.
        file.require()

    # The driver's own transaction handling begins late and only for some statements; ours begins when told.
    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        file.know()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        file.require()
        writes = connection.get_execution_options().get("clm_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class _SameFile:
    """A database's file: the one that was opened first. What is written to one that is gone is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def know(self) -> None:
        """It has just been opened."""
        if self._known is None:
            self._known = self._found()

    def require(self) -> None:
        """Raises StorageFailed where another one, or none, is in its place."""
        if self._known is None or (found := self._found()) == self._known:
            return
        what = "deleted" if found is None else "replaced by another file"
        raise StorageFailed(
            f"the database {self._path} was {what} while it was in use: nothing is read or written any more; "
            "put it back, or stop everything that uses it and begin again"
        )

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def first_line(error: DBAPIError) -> str:
    """What the database said, without where in its code it said so."""
    text = str(error.orig).strip()
    return text.splitlines()[0] if text else type(error.orig).__name__
