"""The database as this room uses it: schema up to date, patient if told so, writes under a fence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa
import stamina

from clm.core.errors import DatabaseUnavailable, LeaseLost
from clm.core.runs import Fence, RunState
from clm.registry.engine import open_engine, reading, writing
from clm.registry.migrate import ensure_schema
from clm.registry.tables import runs

T = TypeVar("T")


class Database:
    """Building it connects nothing; the first use does, and brings an empty or older database up to date.

    patience: seconds a connection is waited for while the database does not answer. What broke in the middle
    of a transaction is never tried again: whether it was committed is not known.
    """

    def __init__(self, url: str, *, patience: float = 0) -> None:
        self.engine = open_engine(url, limited=True)
        self._patience = patience
        self._ready = False
        self._fence: Fence | None = None
        self._of_thread = threading.local()
        self._closed = False
        #: What was last heard of a database that says nothing; while it is so one thread at a time asks it.
        self._silence: str | None = None
        self._asking = threading.RLock()
        sa.event.listen(self.engine, "checkin", self._hang_up_after_closing)

    def open(self) -> sa.Engine:
        """Connect now. Raises DatabaseUnavailable, DatabaseTooNew, StorageFailed."""
        if not self._ready:
            self._patiently(lambda: ensure_schema(self.engine))
            self._ready = True
        return self.engine

    @contextmanager
    def under(self, fence: Fence, *, thread_only: bool = False) -> Iterator[None]:
        """Inside, this process writes in the name of a run, and no longer than the run is its own.

        thread_only: this thread alone, in a process that answers requests meanwhile.
        """
        place, name = (self._of_thread, "fence") if thread_only else (self, "_fence")
        before = getattr(place, name, None)
        setattr(place, name, fence)
        try:
            yield
        finally:
            setattr(place, name, before)

    @property
    def fence(self) -> Fence | None:
        """Of the run in whose name is written here; None: in nobody's."""
        own: Fence | None = getattr(self._of_thread, "fence", None)
        return own or self._fence

    @property
    def run_id(self) -> str | None:
        """The run in whose name is written here."""
        return self.fence.run_id if self.fence is not None else None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read from. Raises DatabaseUnavailable, StorageFailed."""
        with self._listening(), ExitStack() as stack:
            self.open()
            yield self._entered(stack, reading)

    @contextmanager
    def writing(self, *, fenced: bool = True) -> Iterator[sa.Connection]:
        """A transaction. Raises LeaseLost where the run in whose name it is has been given to another.

        fenced False: for runs' own rows, which are no work of a run.
        """
        with self._listening(), ExitStack() as stack:
            self.open()
            connection = self._entered(stack, writing)
            if fenced and self.fence is not None:
                _hold(connection, self.fence)
            yield connection

    def now(self, connection: sa.Connection) -> datetime:
        """The database's clock: one and the same for all machines that share it."""
        if self.engine.dialect.name != "postgresql":
            return datetime.now(UTC)
        moment: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)

    def close(self) -> None:
        """Gives the connections back; one that another thread still has, as soon as it is done with it."""
        self._closed = True
        self.engine.dispose()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Nobody waits for a database that somebody waits for in vain already, but who has the patience.

        Raises DatabaseUnavailable.
        """
        known = self._silence
        if known is None:
            try:
                yield
            except DatabaseUnavailable as error:
                if error.silent:
                    self._silence = str(error)
                raise
            return
        if not self._asking.acquire(timeout=max(0.0, self._patience)):
            raise DatabaseUnavailable(known)
        try:
            yield
            self._silence = None
        except DatabaseUnavailable as error:
            self._silence = str(error) if error.silent else None
            raise
        finally:
            self._asking.release()

    def _hang_up_after_closing(self, connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        if self._closed:
            record.invalidate()

    def _entered(
        self, stack: ExitStack, way: Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
    ) -> sa.Connection:
        return self._patiently(lambda: stack.enter_context(way(self.engine)))

    def _patiently(self, do: Callable[[], T]) -> T:
        if self._patience <= 0:
            return do()
        return stamina.retry(
            on=self._worth_another_try, attempts=None, timeout=self._patience, wait_initial=0.1, wait_max=2.0
        )(do)()

    def _worth_another_try(self, error: Exception) -> bool:
        """Once it is closed nobody is left to wait for, whoever still does."""
        return isinstance(error, DatabaseUnavailable) and not self._closed


def _hold(connection: sa.Connection, fence: Fence) -> None:
    """The run's row, locked against being taken away until this transaction ends. Raises LeaseLost."""
    query = sa.select(runs.c.id).where(
        runs.c.run_id == fence.run_id, runs.c.attempt == fence.attempt,
        runs.c.state == str(RunState.RUNNING),
    )  # fmt: skip
    if connection.execute(query.with_for_update(read=True)).first() is None:
        raise LeaseLost(
            f"run {fence.run_id} is no longer this process's (attempt {fence.attempt}): nothing was written"
        )
