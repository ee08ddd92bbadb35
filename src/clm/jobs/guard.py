"""A worker's guard: gives its run signs of life, keeps it within its limits, ends it when the run is lost."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from clm.core.errors import ClmError, LeaseLost
from clm.core.runs import Fence, RunState
from clm.core.stores import RunStore
from clm.logs import logger

log = logger(__name__)
BEAT_SECONDS = 5.0
_LOOK_SECONDS = 0.5
#: Exit codes: the run is another's now; the run broke a limit.
LOST, OVER_LIMIT = 75, 76


def owner() -> str:
    """Who works here: machine (and where it says so, its boot and its namespace of processes) and process."""
    return f"{_machine()}:{os.getpid()}"


def is_gone(owner: str) -> bool:
    """Whether that process was one of this very machine, and is no more. False where that is not known."""
    machine, _, pid = owner.rpartition(":")
    return "/" in machine and machine == _machine() and not psutil.pid_exists(int(pid))


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8]
        return f"{platform.node()}/{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return platform.node()


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: of one attempt; megabytes: of resident memory. 0: no limit."""

    seconds: float = 0
    megabytes: float = 0


class WorkerGuard:
    """A thread beside the work, while entered.

    It does not ask the work to stop, which may sit in a library for minutes: it ends the process. Nothing is
    lost by that, for whatever a worker writes is written whole or not at all. leave: in place of that, where
    the process is somebody else's; the work stops with its next step or write, which the fence refuses.
    """

    def __init__(
        self,
        store: RunStore,
        fence: Fence,
        limits: Limits = Limits(),  # frozen
        *,
        beat_seconds: float = BEAT_SECONDS,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._store, self._fence, self._limits, self._leave = store, fence, limits, leave
        self._beat_seconds = beat_seconds
        self._over = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._peak = 0.0

    @property
    def peak_megabytes(self) -> float:
        """Of resident memory at most, up to now: a run may be over before the thread has looked once."""
        self._used()
        return self._peak

    def _watch(self) -> None:
        began = beaten = time.monotonic()
        while not self._over.wait(min(_LOOK_SECONDS, self._beat_seconds)):
            now = time.monotonic()
            broken = self._broken(now - began, self._used())
            if broken is not None:
                return self._end(broken)
            if now - beaten >= self._beat_seconds:
                beaten = now
                try:
                    self._store.beat(self._fence)
                except LeaseLost as error:
                    log.warning("run_lost", run_id=self._fence.run_id, reason=str(error))
                    self._leave(LOST)
                    return None
                except ClmError as error:
                    # The database is away; when it is back, the fence still decides.
                    log.warning("heartbeat_failed", run_id=self._fence.run_id, error=str(error))
        return None

    def _used(self) -> float:
        """Megabytes of resident memory, which may be the most so far."""
        used = self._process.memory_info().rss / 1e6
        self._peak = max(self._peak, used)
        return used

    def _broken(self, seconds: float, megabytes: float) -> str | None:
        if self._limits.seconds and seconds > self._limits.seconds:
            return f"it ran for {seconds:.0f} s, longer than the limit of {self._limits.seconds:.0f} s"
        if self._limits.megabytes and megabytes > self._limits.megabytes:
            return f"it used {megabytes:.0f} MB, more than the limit of {self._limits.megabytes:.0f} MB"
        return None

    def _end(self, reason: str) -> None:
        log.warning("run_over_limit", run_id=self._fence.run_id, reason=reason)
        said = f"the worker was ended: {reason}"
        try:
            self._store.finish(self._fence.run_id, RunState.FAILED, error=said, fence=self._fence)
        except ClmError as error:
            log.warning("run_not_closed", run_id=self._fence.run_id, error=str(error))
        self._leave(OVER_LIMIT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
