"""Waiting for many at once: what one series waits for, another need not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")
R = TypeVar("R")


class SideBySide:
    """A few threads that each always do the same series: a connection belongs to a thread.

    For what mostly waits, for an exchange or a database; begun when first needed.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=name) for _ in range(threads)]
        self._lock = threading.Lock()

    def each(self, work: Callable[[T], R], items: Sequence[T], whose: Callable[[T], object]) -> list[R]:
        """What `work` answers for each item, in their order. whose: what decides on the thread, such as the
        series. Raises what the first that failed raised, when all are done.
        """
        if len(items) < 2:
            return [work(item) for item in items]
        begun = [
            self._threads[crc32(str(whose(item)).encode()) % len(self._threads)].submit(work, item)
            for item in items
        ]
        return [future.result() for future in begun]

    def close(self) -> None:
        """Waits for nobody."""
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
