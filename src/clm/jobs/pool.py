"""Where the tasks of a run are done: in processes of this machine, each of which may die alone.

`concurrent.futures.Executor` is the seam. Pebble's pool, unlike the standard library's, survives a process
that dies, ends one that takes too long, and fails only the task that was being done there. It gives up as a
whole where a process dies while none has a task; then its tasks go to a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import psutil
from pebble import ProcessExpired, ProcessPool

from clm.core.errors import TaskEnded
from clm.jobs.guard import OVER_LIMIT, Limits

_LOOK_SECONDS = 0.25
#: A task is begun anew in so many pools: processes that die each time they begin die of something else.
_POOLS = 3


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalPool(Executor):
    """So many processes, begun as fresh interpreters with the first tasks. They end when this process does.

    limits: of one task, and of the memory of the process that does it.
    """

    def __init__(self, processes: int, limits: Limits) -> None:
        self._limits = limits
        self._new = partial(
            ProcessPool, processes, initializer=_watch, initargs=(os.getpid(), limits.megabytes),
            context=multiprocessing.get_context("spawn"),
        )  # fmt: skip
        self._lock = threading.Lock()
        self._pool = self._new()
        self._ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._ended:
            raise RuntimeError("the pool was shut down")
        task: Future[Any] = Future()
        # It is not taken back alone, only with the pool.
        task.set_running_or_notify_cancel()
        self._begin(task, partial(fn, *args, **kwargs), _POOLS)
        return task

    def result(self, future: Future[Any]) -> Any:
        """Of a task of this pool. Raises what it raised, and TaskEnded where its process ended first."""
        try:
            return future.result()
        except TimeoutError as exc:
            raise TaskEnded(f"it took longer than the limit of {self._limits.seconds:.0f} s") from exc
        except ProcessExpired as exc:
            raise TaskEnded(self._obituary(exc.exitcode)) from exc
        except BrokenProcessPool as exc:
            raise TaskEnded(f"the processes of {_POOLS} pools ended before they began with it") from exc

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._ended, pool = True, self._pool
        if cancel_futures:
            pool.stop()  # type: ignore[no-untyped-call]
        else:
            pool.close()  # type: ignore[no-untyped-call]
        if wait:
            pool.join()

    def _begin(self, task: Future[Any], call: Callable[[], Any], pools: int) -> None:
        with self._lock:
            if not self._pool.active and not self._ended:
                # Joined from outside: what tells of the end of a pool are its own threads.
                threading.Thread(target=self._pool.join, daemon=True).start()
                self._pool = self._new()
            begun: Future[Any]
            try:
                begun = self._pool.schedule(call, timeout=self._limits.seconds or None)
            except RuntimeError as gave_up:
                begun = Future()
                begun.set_exception(BrokenProcessPool(str(gave_up)))
        begun.add_done_callback(lambda done: self._came(task, call, pools - 1, done))

    def _came(self, task: Future[Any], call: Callable[[], Any], pools: int, done: Future[Any]) -> None:
        if done.cancelled():
            task.set_exception(CancelledError())
        elif isinstance(error := done.exception(), BrokenProcessPool) and pools and not self._ended:
            self._begin(task, call, pools)
        elif error is not None:
            task.set_exception(error)
        else:
            task.set_result(done.result())

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
