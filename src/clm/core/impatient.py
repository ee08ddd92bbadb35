"""A question that may never be answered, asked for people who will not wait that long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from clm.core.errors import ExchangeUnavailable

T = TypeVar("T")


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

    seconds: after which whoever waits is told that there is no answer. who: that does not answer.
    """

    def __init__(self, ask: Callable[[], T], seconds: float, who: str) -> None:
        self._ask, self._seconds, self._who = ask, seconds, who
        self._asked: Future[T] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The answer. Raises what asking raises, ExchangeUnavailable where that takes too long."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = apart(self._ask, "clm-asking")
            asked = self._asked
        try:
            return asked.result(self._seconds)
        except TimeoutError as exc:
            raise ExchangeUnavailable(f"{self._who} did not answer within {self._seconds:g} seconds") from exc
