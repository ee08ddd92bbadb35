"""Keeps the live shadow's child process going: one tick when told, a new child when the old one is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from clm.jobs.supervisor import ONE_THREAD
from clm.logs import logger
from clm.settings import environment_of_children

log = logger(__name__)


class LiveWatch:
    """The child reads the settings, then a line per tick, on standard input; it ends when that ends.

    So it needs no signal and outlives no service, however the service died.
    """

    def __init__(self, settings_json: str, child: Sequence[str] = (sys.executable, "-m", "clm.live")) -> None:
        self._settings_json = settings_json
        self._command = tuple(child)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    @property
    def exit_code(self) -> int | None:
        """Of a child that has ended by itself; None while it lives, or there is none."""
        child = self._child
        return None if child is None else child.poll()

    def revive(self) -> None:
        """A child that has ended by itself is started anew; nothing where none was started."""
        if self.exit_code is not None:
            self.tick()

    def tick(self) -> None:
        """Ask for a tick; a child that is still busy does it afterwards, once however often it was asked."""
        with self._lock:
            child = self._running()
            if child is None or child.stdin is None:
                return
            try:
                child.stdin.write(b"tick\n")
                child.stdin.flush()
            except OSError as error:
                log.warning("live_shadow_gone", reason=str(error))

    def renew(self) -> None:
        """The next tick is another child's; this one ends when its own is done."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            _hang_up(child)
            threading.Thread(target=child.wait, daemon=True, name="clm-watch-renewed").start()

    def close(self, seconds: float = 10) -> None:
        """Ends the child: at once when it is idle, else after its tick, waiting at most so long for it."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        _hang_up(child)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._child is not None and self._child.poll() is None:
            return self._child
        if self._child is not None:
            log.warning("live_shadow_restarted", exit_code=self._child.returncode)
            _hang_up(self._child)
        try:
            child = subprocess.Popen(  # noqa: S603  # our own interpreter, no shell
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                env=environment_of_children(**ONE_THREAD), start_new_session=True,
            )  # fmt: skip
            if child.stdin is not None:
                child.stdin.write(self._settings_json.encode() + b"\n")
        except OSError as error:
            log.warning("live_shadow_not_started", reason=str(error))
            self._child = None
            return None
        self._child = child
        return child


def _hang_up(child: subprocess.Popen[bytes]) -> None:
    """Closes the child's input; what a dead one never read is lost with it."""
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()
