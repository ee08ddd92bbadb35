"""The parts of a run on a Dask cluster, which must be able to reach the database and the folders.

What travels is a task and its report, by Dask's protocol, which unpickles what it is sent: a cluster is to be
where only the desk's own machines can speak to it, or under TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from clm.core.errors import ExecutorUnavailable, TaskEnded

_CONNECT_SECONDS = 15


class DaskPool(Executor):
    """A cluster by its scheduler's address, `tcp://host:8786`. A worker that dies is followed by another.

    Raises ExecutorUnavailable where nobody answers there, or Dask is not installed.
    """

    def __init__(self, address: str, seconds: float = _CONNECT_SECONDS) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError as exc:
            raise ExecutorUnavailable(
                f"CLM_EXECUTOR is a Dask cluster: pip install 'quantum-clm[dask]' ({exc})"
            ) from exc
        try:
            self._client = Client(  # type: ignore[no-untyped-call]
                address, timeout=seconds, set_as_default=False
            )
        except OSError as exc:
            raise ExecutorUnavailable(f"no Dask scheduler answers at {address}") from exc
        self._executor: Executor = self._client.get_executor(pure=False)  # type: ignore[no-untyped-call]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, *args, **kwargs)

    def result(self, future: Future[Any]) -> Any:
        """Of a task. Raises what it raised, and TaskEnded where workers died of it again and again."""
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except KilledWorker as exc:
            raise TaskEnded(
                f"{exc.allowed_failures + 1} workers of the cluster died while they did it"
            ) from exc

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()  # type: ignore[no-untyped-call]
