"""The parts of a run on a Dask cluster, which must be able to reach the database and the folders.

What travels is a task and its report, by Dask's protocol, which unpickles what it is sent: a cluster is to be
where only the desk's own machines can speak to it, or under TLS.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from clm.core.errors import ExecutorUnavailable, TaskEnded
from clm.core.extras import how_to_install
from clm.jobs.guard import Limits
from clm.jobs.pool import LocalPool

_CONNECT_SECONDS = 15.0


#: This worker's processes; each does one task after the other.
_OWN: dict[Limits, LocalPool] = {}


def _within(limits: Limits, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A task on a worker, in a process of the worker's own that may be ended without it."""
    unlimited = not limits.seconds and not limits.megabytes
    if unlimited or multiprocessing.current_process().daemon:
        return fn(*args, **kwargs)
    if limits not in _OWN:
        from distributed import get_worker

        _OWN[limits] = LocalPool(get_worker().state.nthreads, limits)
    pool = _OWN[limits]
    return pool.result(pool.submit(fn, *args, **kwargs))


def _connected(address: str, seconds: float) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError as exc:
        raise ExecutorUnavailable(
            f"CLM_EXECUTOR is a Dask cluster, which needs: {how_to_install('dask')} ({exc})"
        ) from exc
    try:
        return Client(address, timeout=seconds, set_as_default=False)  # type: ignore[no-untyped-call]
    except OSError as exc:
        raise ExecutorUnavailable(f"no Dask scheduler answers at {address}") from exc


def workers_at(address: str, seconds: float) -> int:
    """How many workers a scheduler has. Raises ExecutorUnavailable."""
    client = _connected(address, seconds)
    try:
        return len(client.ncores())
    finally:
        client.close()


def without_workers(address: str) -> str:
    """What a scheduler is told of that nobody works for."""
    return f"no worker has joined the Dask scheduler at {address}: begin one with `dask worker {address}`"


class DaskPool(Executor):
    """A cluster by its scheduler's address, `tcp://host:8786`. A worker that dies is followed by another.

    limits: of one task, and of the memory of the process that does it; kept where a worker may have a process
    of its own, which Dask's nannies allow only with `DASK_DISTRIBUTED__WORKER__DAEMON=False`. Raises
    ExecutorUnavailable where nobody answers there, or Dask is not installed.
    """

    def __init__(self, address: str, limits: Limits, seconds: float = _CONNECT_SECONDS) -> None:
        self._client, self._address = _connected(address, seconds), address
        self._limits = limits
        self._executor: Executor = self._client.get_executor(pure=False)

    def lacking(self) -> str | None:
        """Why tasks wait for ever, where they do: a sentence."""
        try:
            if self._client.ncores():
                return None
        except OSError:
            return f"the Dask scheduler at {self._address} answers no more"
        return without_workers(self._address)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(_within, self._limits, fn, *args, **kwargs)

    def result(self, future: Future[Any]) -> Any:
        """Of a task. Raises what it raised, and TaskEnded where it broke a limit or workers died of it."""
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except KilledWorker as exc:
            raise TaskEnded(
                f"{exc.allowed_failures + 1} workers of the cluster died while they did it"
            ) from exc

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()
