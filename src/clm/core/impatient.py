"""A question that may never be answered, asked for people who will not wait that long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from clm.core.errors import ExchangeUnavailable

T = TypeVar("T")
#: Seconds that people in front of a screen wait for one answer of an exchange.
PATIENCE_SECONDS = 1.5
_PATIENCE: ContextVar[float | None] = ContextVar("clm_patience", default=None)


@contextmanager
def somebody_waits(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Inside, along the thread of execution, an exchange is asked once and its answer waited for so long."""
    token = _PATIENCE.set(seconds)
    try:
        yield
    finally:
        _PATIENCE.reset(token)


def patience() -> float | None:
    """Seconds that one answer may take here; None: nobody waits for it."""
    return _PATIENCE.get()


def apart(ask: Callable[[], T], name: str) -> Future[T]:
    """What `ask` answers or raises, from a thread of that name which keeps nobody from leaving."""
    future: Future[T] = Future()

    def answer() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            future.set_exception(error)

    threading.Thread(target=answer, daemon=True, name=name).start()
    return future


class Impatient(Generic[T]):
    """Asks in a thread of its own, one question at a time for all who want to know.

    seconds: after which whoever waits is told that there is no answer; who comes while a question has been
    out for longer is told at once, so that nobody who asks for many things waits for each. who: that does not
    answer.
    """

    def __init__(self, ask: Callable[[], T], seconds: float, who: str) -> None:
        self._ask, self._seconds, self._who = ask, seconds, who
        self._asked: Future[T] | None = None
        self._since = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The answer. Raises what asking raises, ExchangeUnavailable where that takes too long."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked, self._since = apart(self._ask, "clm-asking"), time.monotonic()
            asked, left = self._asked, self._seconds - (time.monotonic() - self._since)
        try:
            return asked.result(max(0.0, left))
        except TimeoutError as exc:
            raise ExchangeUnavailable(f"{self._who} did not answer within {self._seconds:g} seconds") from exc
