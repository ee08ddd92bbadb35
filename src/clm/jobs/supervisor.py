"""Starts each run in a child process of its own, sees to it that its row never lies, and takes up what died.

A child is a fresh interpreter (`python -m clm.worker`), not a fork and not multiprocessing's spawn: a host
application needs no `__main__` guard, no lock or thread is inherited, and what it needs to know (settings
with a database password) travels over its standard input, never its command line.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from clm.core.errors import ClmError, IllegalTransition, RunInProgress, StorageFailed
from clm.core.runs import Run, RunKind, RunRequest, RunState
from clm.core.stores import RunStore
from clm.jobs.guard import is_gone
from clm.logs import logger
from clm.settings import environment_of_children

#: A worker beats every few seconds; silence for this long means that it is gone.
STALE_AFTER_SECONDS = 60.0
#: A run whose worker died is begun so often in all, and not longer than so long afterwards.
MAX_ATTEMPTS = 3
_RESUMED_WITHIN = timedelta(hours=24)
#: OpenMP's spin barriers make two threads slower than one; parallelism is processes.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

log = logger(__name__)


class RunSupervisor:
    """Asks for runs and watches over the children that do them.

    payload: what the worker reads from its standard input, given the run's id. worker: its command.
    """

    def __init__(
        self,
        store: RunStore,
        settings_json: str,
        worker: Sequence[str] = (sys.executable, "-m", "clm.worker"),
        *,
        stale_after_seconds: float = STALE_AFTER_SECONDS,
    ) -> None:
        self._store = store
        self._settings_json = settings_json
        self._worker = tuple(worker)
        self._stale_after = stale_after_seconds
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, request: RunRequest) -> Run:
        """A run, started in the background. Raises RunInProgress, SlotTaken, StorageFailed."""
        self.tidy()
        run = self._store.create(request)
        log.info("run_submitted", run_id=run.run_id, requested_by=request.requested_by)
        self._launch(run)
        return run

    def tidy(self) -> None:
        """Ends workers of this process that fell silent, and marks the runs of all such as interrupted."""
        # First: one that is frozen in the middle of a change keeps everybody from writing until it ends.
        for run_id in self._store.silent(self._stale_after):
            self._kill(run_id)
        for run in self._store.interrupt_stale(self._stale_after):
            log.warning("run_interrupted", run_id=run.run_id, reason="its worker fell silent")
        for kind in RunKind:
            interrupt_orphan(self._store, kind)

    def recover(self) -> None:
        """Takes up what was interrupted, here or on a machine that is no more; called now and then."""
        self.tidy()
        for kind in (RunKind.RETRAIN, RunKind.RETENTION, RunKind.REPRODUCE):
            run = self._store.latest(kind)
            if run is not None and to_be_resumed(run):
                self._resume(run)

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

    def cancel(self, run_id: str, reason: str) -> Run:
        """Ends a run as CANCELLED, wherever it is being worked on. Raises RunNotFound, IllegalTransition.

        From here on nothing is written in its name; a worker elsewhere notices at its next sign of life.
        """
        run = self._store.finish(run_id, RunState.CANCELLED, error=reason)
        log.info("run_cancelled", run_id=run_id, reason=reason)
        self._kill(run_id)
        return run

    def close(self, grace_seconds: float = 0) -> None:
        """The service is going down: waits so long for its children, then hands their runs over.

        An interrupted run is taken up by whoever looks next: another replica, or the next start.
        """
        self._closed = True
        deadline = time.monotonic() + grace_seconds
        for run_id in list(self._children):
            if not self.wait(run_id, max(0.0, deadline - time.monotonic())):
                try:
                    self._store.interrupt(run_id, "the service was stopped", planned=True)
                except ClmError as error:
                    # It has just ended by itself; or the database is away, and its silence will tell.
                    log.info("run_not_handed_over", run_id=run_id, reason=str(error))
            self._kill(run_id)

    def _launch(self, run: Run) -> None:
        payload = f'{{"run_id": "{run.run_id}", "settings": {self._settings_json}}}'.encode()
        try:
            child = subprocess.Popen(  # noqa: S603  # our own interpreter, no shell
                self._worker, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                env=environment_of_children(**ONE_THREAD), start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            self._store.finish(run.run_id, RunState.FAILED, error=f"the worker could not be started: {exc}")
            raise StorageFailed(f"the worker process could not be started: {exc}") from exc
        with self._lock:
            self._children[run.run_id] = child
        threading.Thread(target=self._watch, args=(run.run_id, child, payload), daemon=True).start()

    def _watch(self, run_id: str, child: subprocess.Popen[bytes], payload: bytes) -> None:
        try:
            child.communicate(payload)
        except BrokenPipeError:
            child.wait()
        with self._lock:
            ours = self._children.get(run_id) is child
            if ours:
                del self._children[run_id]
        if not ours:
            return
        try:
            run = self._close_row(run_id, child.returncode)
            if to_be_resumed(run) and not self._closed:
                self._resume(run)
        except ClmError as error:
            # The database is away, or somebody else has settled it: the next look at it decides.
            log.warning("run_not_closed", run_id=run_id, error=str(error))

    def _close_row(self, run_id: str, exit_code: int) -> Run:
        """The row of a child that is gone, closed here unless the child closed it itself."""
        run = self._store.get(run_id)
        if run.state.over:
            return run
        if exit_code < 0:
            reason = f"the worker was killed by {_signal_name(-exit_code)} before it could report"
            log.warning("run_interrupted", run_id=run_id, reason=reason)
            return self._store.interrupt(run_id, reason)
        reason = f"the worker ended with exit code {exit_code} before it could report"
        log.warning("run_failed", run_id=run_id, reason=reason)
        return self._store.finish(run_id, RunState.FAILED, error=reason)

    def _resume(self, run: Run) -> None:
        try:
            self._launch(self._store.requeue(run.run_id))
        except (RunInProgress, IllegalTransition) as error:
            # Another replica was quicker, or a new run was begun meanwhile.
            log.info("run_not_resumed", run_id=run.run_id, reason=str(error))
        else:
            log.info("run_resumed", run_id=run.run_id, attempt=run.attempt + 1)

    def _kill(self, run_id: str) -> None:
        """Ends the child of a run whose row is closed already; nothing where there is none here."""
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


def interrupt_orphan(store: RunStore, kind: RunKind) -> bool:
    """Marks the newest run of that kind as interrupted where its worker, of this machine, is gone."""
    run = store.latest(kind)
    if run is None or run.state is not RunState.RUNNING or not is_gone(run.owner):
        return False
    with suppress(IllegalTransition):
        store.interrupt(run.run_id, "its worker is gone")
        log.warning("run_interrupted", run_id=run.run_id, reason="its worker is gone")
    return True


def to_be_resumed(run: Run) -> bool:
    """Whether an interrupted run is to be taken up again. A worker that died before it began counts too."""
    return (
        run.state is RunState.INTERRUPTED
        and max(run.attempt, len(run.interruptions)) < MAX_ATTEMPTS
        and run.finished_at is not None
        and datetime.now(UTC) - run.finished_at < _RESUMED_WITHIN
    )


def _signal_name(number: int) -> str:
    names: Mapping[int, str] = {int(s): s.name for s in signal.Signals}
    return names.get(number, f"signal {number}")
