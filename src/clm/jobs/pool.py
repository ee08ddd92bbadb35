"""Where the tasks of a run are done: in processes of this machine, each of which may die alone.

`concurrent.futures.Executor` is the seam. Pebble's pool, unlike the standard library's, survives a process
that dies, ends one that takes too long, and fails only the task that was being done there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import psutil
from pebble import ProcessExpired, ProcessPool

from clm.core.errors import TaskEnded
from clm.jobs.guard import OVER_LIMIT, Limits

_LOOK_SECONDS = 0.25


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalPool(Executor):
    """So many processes, begun as fresh interpreters with the first tasks. They end when this process does.

    limits: of one task, and of the memory of the process that does it.
    """

    def __init__(self, processes: int, limits: Limits) -> None:
        self._limits = limits
        self._pool = ProcessPool(
            processes, initializer=_watch, initargs=(os.getpid(), limits.megabytes),
            context=multiprocessing.get_context("spawn"),
        )  # fmt: skip

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        seconds = self._limits.seconds or None
        future: Future[Any] = self._pool.schedule(fn, args=args, kwargs=kwargs, timeout=seconds)
        return future

    def result(self, future: Future[Any]) -> Any:
        """Of a task of this pool. Raises what it raised, and TaskEnded where its process ended first."""
        try:
            return future.result()
        except TimeoutError as exc:
            raise TaskEnded(f"it took longer than the limit of {self._limits.seconds:.0f} s") from exc
        except ProcessExpired as exc:
            raise TaskEnded(self._obituary(exc.exitcode)) from exc

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._pool.stop()  # type: ignore[no-untyped-call]
        else:
            self._pool.close()  # type: ignore[no-untyped-call]
        if wait:
            self._pool.join()

    def _obituary(self, code: int) -> str:
        if code == OVER_LIMIT:
            return f"its process used more than the limit of {self._limits.megabytes:.0f} MB"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"


def _watch(parent: int, megabytes: float) -> None:
    """In each process: ends it with its parent, and where it uses too much memory."""
    process = psutil.Process()

    def look() -> None:
        while os.getppid() == parent:
            if megabytes and process.memory_info().rss / 1e6 > megabytes:
                os._exit(OVER_LIMIT)
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
