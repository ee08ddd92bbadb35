"""An engine for PostgreSQL that assumes nothing of a session: a pooler (PgBouncer) may stand between.

A pooler in transaction mode gives every transaction whatever connection to the server is free. So nothing is
prepared on one, and what a session begins with (`options`) is set in each transaction where it does not hold.
"""

from __future__ import annotations

import re
import shlex
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from clm.core.errors import InvalidSetting
from clm.core.text import mask_url
from clm.registry import patience

#: Seconds a connection is waited for, where the address does not say.
_CONNECT_SECONDS = 5
#: Options of the driver, not of the server: transactions and rows are ours to arrange.
_OURS = ("autocommit", "row_factory", "cursor_factory", "context")
_PREPARE = "prepare_threshold"
_INTEGERS = (
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
)  # fmt: skip
#: What libpq says of an option it cannot make sense of; nothing was asked of a server then.
_SENSELESS = re.compile(r"invalid (\S+ value|integer value|port number|connection option)")
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)


def open_postgres(url: sa.URL, *, limited: bool = False) -> sa.Engine:
    """An engine; nothing is connected yet. limited: as a service needs it; else as what takes long does.

    Raises InvalidSetting, ModuleNotFoundError.
    """
    given = {name: value for name, value in url.query.items() if name not in ("host", "port")}
    arguments = _typed(url, given)
    asked = _session_options(url, arguments.get("options"))
    if limited:
        missing = {name: value for name, value in patience.LIMITS.items() if name not in asked}
        asked |= missing
        told = (arguments.get("options"), *(f"-c {name}={value}" for name, value in missing.items()))
        arguments["options"] = " ".join(filter(None, told))
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(list(given)),
        # A run waits for others' locks and looks again: that needs each statement to see what is committed.
        pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=arguments,
        pool_timeout=patience.POOL,
    )  # fmt: skip
    patience.limit(engine, patience.QUESTION if limited else patience.LONG)
    if asked:
        _keep(engine, asked)
    return engine


def misused(url: sa.URL, error: DBAPIError) -> InvalidSetting | None:
    """What is wrong with the address, where that is why nothing was connected."""
    said = str(error.orig).strip()
    if url.get_backend_name() != "postgresql" or not _SENSELESS.search(said):
        return None
    return _refused(url, said.splitlines()[0])


def _typed(url: sa.URL, given: dict[str, Any]) -> dict[str, Any]:
    """The driver's arguments: what the address says after its `?`, each of its type."""
    from psycopg import pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} - {"host", "port"}
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS, "client_encoding": "utf8", _PREPARE: None,
    }  # fmt: skip
    for name, value in given.items():
        if name in _OURS or name not in {*known, _PREPARE}:
            raise _refused(
                url, f"{name!r} is no option of it; allowed: {', '.join(sorted(known))}, {_PREPARE}"
            )
        if not isinstance(value, str):
            raise _refused(url, f"{name} is given twice")
        if name == _PREPARE:
            arguments[name] = _threshold(url, value)
        elif name in _INTEGERS and not re.fullmatch(r"-?\d{1,9}", value):
            raise _refused(url, f"{name}={value!r} is not a whole number")
        else:
            arguments[name] = value
    return arguments


def _threshold(url: sa.URL, value: str) -> int | None:
    """After how many executions a statement is prepared; None: never.

    0 is never as well. To psycopg it means at once, but who writes it wants what other drivers mean by it.
    """
    if value.lower() in ("", "0", "none", "off"):
        return None
    if not re.fullmatch(r"\d{1,9}", value):
        allowed = "none (never: what a pooler needs) or a number of executions"
        raise _refused(url, f"{_PREPARE}={value!r}; allowed: {allowed}")
    return int(value)


def _session_options(url: sa.URL, options: str | None) -> dict[str, str]:
    """The settings in `options`, such as `-c search_path=clm -c statement_timeout=5s`."""
    if not options:
        return {}
    # The server's own rule: blanks part, a backslash keeps the next character from it.
    reader = shlex.shlex(options, posix=True)
    reader.whitespace_split, reader.quotes, reader.commenters = True, "", ""
    try:
        words = list(reader)
    except ValueError as exc:
        raise _refused(url, f"options={options!r}: {exc}") from exc
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "-c":
            joined[-1] += word
        else:
            joined.append(word)
    found = [_OPTION.fullmatch(word) for word in joined]
    if any(match is None for match in found):
        raise _refused(url, f"options={options!r} are no settings; allowed: -c name=value, repeated")
    return {match[1].replace("-", "_"): match[2] for match in found if match is not None}


def _keep(engine: sa.Engine, asked: dict[str, str]) -> None:
    """Make every transaction of the engine have these settings, whoever stands between."""
    # Once one connection was refused or ignored them, all of the engine go the other way.
    per_transaction = False

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, record: object, arguments: Any, named: dict[str, Any]) -> Any:
        nonlocal per_transaction
        without = {name: value for name, value in named.items() if name != "options"}
        if not per_transaction:
            try:
                return dialect.connect(*arguments, **named)
            except dialect.loaded_dbapi.OperationalError as exc:
                if "unsupported startup parameter" not in str(exc):
                    raise
                per_transaction = True
        return dialect.connect(*arguments, **without)

    @sa.event.listens_for(engine, "connect")
    def look(connection: Any, record: object) -> None:
        # A pooler told to ignore them (ignore_startup_parameters) says nothing.
        nonlocal per_transaction
        if not per_transaction:
            one = (
                "(current_setting(%s, true) = %s OR EXISTS "
                "(SELECT FROM pg_settings WHERE name = lower(%s) AND source = 'client'))"
            )
            given = [(name, value, name) for name, value in asked.items()]
            query = f"SELECT {' AND '.join([one] * len(given))}"
            with connection.cursor() as cursor:
                if not cursor.execute(query, tuple(chain.from_iterable(given))).fetchone()[0]:
                    per_transaction = True
            connection.rollback()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if per_transaction:
            every = ", ".join(["set_config(%s, %s, true)"] * len(asked))
            connection.exec_driver_sql(f"SELECT {every}", tuple(chain.from_iterable(asked.items())))


def _refused(url: sa.URL, why: str) -> InvalidSetting:
    shown = mask_url(url.render_as_string(hide_password=True))
    return InvalidSetting("db_url", shown, "", message=f"db_url: {shown}: {why}")
