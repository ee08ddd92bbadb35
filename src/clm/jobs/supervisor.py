"""Starts each run in a child process of its own and sees to it that its row never lies.

A child is a fresh interpreter (`python -m clm.worker`), not a fork and not multiprocessing's spawn: a host
application needs no `__main__` guard, no lock or thread is inherited, and what it needs to know (settings
with a database password) travels over its standard input, never its command line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

import structlog

from clm.core.domain import Run, RunRequest, RunState
from clm.core.errors import IllegalTransition, RunNotFound, StorageFailed
from clm.core.protocols import RunStore

#: A worker beats every few seconds; silence for this long means that it is gone.
STALE_AFTER_SECONDS = 60.0
#: OpenMP's spin barriers make two threads slower than one; parallelism is processes.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

log = structlog.get_logger()


class RunSupervisor:
    """Asks for runs and watches over the children that do them.

    payload: what the worker reads from its standard input, given the run's id. worker: its command.
    """

    def __init__(
        self,
        store: RunStore,
        settings_json: str,
        worker: Sequence[str] = (sys.executable, "-m", "clm.worker"),
    ) -> None:
        self._store = store
        self._settings_json = settings_json
        self._worker = tuple(worker)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def submit(self, request: RunRequest) -> Run:
        """A run, started in the background. Raises RunInProgress, StorageFailed."""
        self.tidy()
        run = self._store.create(request)
        payload = f'{{"run_id": "{run.run_id}", "settings": {self._settings_json}}}'.encode()
        try:
            child = subprocess.Popen(  # noqa: S603  # our own interpreter, no shell
                self._worker, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD}, start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            self._store.finish(run.run_id, RunState.FAILED, error=f"the worker could not be started: {exc}")
            raise StorageFailed(f"the worker process could not be started: {exc}") from exc
        with self._lock:
            self._children[run.run_id] = child
        threading.Thread(target=self._watch, args=(run.run_id, child, payload), daemon=True).start()
        log.info("run_submitted", run_id=run.run_id, requested_by=request.requested_by, pid=child.pid)
        return run

    def tidy(self) -> None:
        """Marks runs whose worker fell silent as interrupted."""
        for run in self._store.interrupt_stale(STALE_AFTER_SECONDS):
            log.warning("run_interrupted", run_id=run.run_id, reason="its worker fell silent")

    def wait(self, run_id: str, timeout: float | None = None) -> bool:
        """Whether the child of a run submitted here has ended; waits at most `timeout` seconds."""
        with self._lock:
            child = self._children.get(run_id)
        if child is None:
            return True
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, run_id: str, state: RunState, reason: str) -> None:
        """Ends the child of a run and its row as `state`. Nothing happens to a run that is over."""
        with self._lock:
            child = self._children.pop(run_id, None)
        if child is None:
            return
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._end(run_id, state, reason)

    def close(self) -> None:
        """Ends every child: the service is going down."""
        for run_id in list(self._children):
            self.stop(run_id, RunState.INTERRUPTED, "the service was stopped")

    def _watch(self, run_id: str, child: subprocess.Popen[bytes], payload: bytes) -> None:
        try:
            child.communicate(payload)
        except BrokenPipeError:
            child.wait()
        with self._lock:
            ours = self._children.pop(run_id, None) is not None
        if ours:
            self._end(run_id, RunState.FAILED, f"the worker {_how_it_ended(child.returncode)}")

    def _end(self, run_id: str, state: RunState, reason: str) -> None:
        """Closes the row of a child that is gone, unless the child closed it itself."""
        try:
            if not self._store.get(run_id).state.over:
                self._store.finish(run_id, state, error=reason)
                log.warning("run_ended_by_supervisor", run_id=run_id, state=str(state), reason=reason)
        except (IllegalTransition, RunNotFound) as exc:
            log.warning("run_row_changed_meanwhile", run_id=run_id, error=str(exc))


def _how_it_ended(code: int) -> str:
    if code < 0:
        names: Mapping[int, str] = {int(s): s.name for s in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')} before it could report"
    return f"ended with exit code {code} before it could report"
