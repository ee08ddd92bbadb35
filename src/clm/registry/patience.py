"""How long PostgreSQL may say nothing.

A server that is stopped fires no time-out of its own, and neither does a dead network, while a kernel still
answers for them: only this side can tell, by its own clock.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from typing import Any

import sqlalchemy as sa

#: Seconds without a word: is it there; a question; a change, which may wait for a lock; what takes long.
PING, QUESTION, CHANGE, LONG = 3.0, 10.0, 40.0, 900.0
#: The server's own limits, for the sessions of a service: whoever is frozen inside a transaction lets go.
LIMITS = {"lock_timeout": "30s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}
#: Seconds within which a connection comes out of the pool, or it is said that all are in use.
POOL = 10.0


def limit(engine: sa.Engine, seconds: float) -> None:
    """Every wait of the engine's connections ends after so long without a word, the connection with it.

    A transaction may have more: `clm_patience` among its execution options.
    """

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        # All that a connection ever waits for goes through this method of it.
        connection.wait = partial(_wait, connection, connection.wait, record.info, seconds)

    @sa.event.listens_for(engine, "checkin")
    def checkin(connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        # What it is asked first when it is taken out again is whether it is there.
        record.info["clm_patience"] = PING

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        given = connection.get_execution_options().get("clm_patience", seconds)
        connection.info["clm_patience"] = max(seconds, given)


def _wait(
    connection: Any, wait: Any, info: dict[str, Any], seconds: float, generator: Any, *more: Any, **named: Any
) -> Any:
    return wait(_bounded(connection, generator, info.get("clm_patience", seconds)), *more, **named)


def _bounded(
    connection: Any, generator: Generator[Any, Any, Any], seconds: float
) -> Generator[Any, Any, Any]:
    """The same conversation with the server, ended where nothing comes: psycopg asks ten times a second."""
    from psycopg.errors import ConnectionTimeout

    heard = time.monotonic()
    try:
        state = next(generator)
        while True:
            ready = yield state
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                # What it says later would be taken for the answer to another question.
                connection.pgconn.finish()
                raise ConnectionTimeout(f"it said nothing for {seconds:.0f} seconds")
            state = generator.send(ready)
    except StopIteration as end:
        return end.value


def is_silence(error: BaseException | None) -> bool:
    """Whether a driver's error says that nothing came, rather than what was wrong."""
    return type(error).__name__ == "ConnectionTimeout"
