"""Worked out once, however many ask at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """Remembers the answers to the last `size` questions. Who asks what is being worked out waits for it.

    A failure is told to all who waited and not remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[Key, Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The answer to `key`, made now where it is not known. Raises what `make` raises."""
        with self._lock:
            found = self._known.get(key)
            answer = found or self._known.setdefault(key, Future())
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        if found is None:
            try:
                answer.set_result(make())
            except BaseException as error:
                self.forget(key)
                answer.set_exception(error)
                raise
        return answer.result()

    def forget(self, key: Key) -> None:
        """As if it had never been asked."""
        with self._lock:
            self._known.pop(key, None)
