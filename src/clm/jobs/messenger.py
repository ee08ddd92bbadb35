"""Sends alerts: a thread of the service that no run and no request waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from types import TracebackType
from typing import Self

from clm.core.alert import Outbox, message_of
from clm.core.errors import ClmError
from clm.jobs.receivers import Receiver
from clm.logs import logger

log = logger(__name__)
_PAUSE_SECONDS, _WATCH_SECONDS = 3.0, 60.0


class Messenger:
    """Empties the outbox while entered, and calls `watch` once a minute, for what only looking tells.

    At least once: a process that dies between sending and noting it down leaves the message to be sent again.
    A receiver that has a message is not told twice because another one does not answer.
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Sequence[Receiver],
        per_hour: int,
        *,
        watch: Callable[[], object] = lambda: None,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._outbox, self._receivers, self._per_hour = outbox, tuple(receivers), per_hour
        self._watch, self._pause = watch, pause_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="messenger", daemon=True)

    def send_due(self, seconds: float = 60.0) -> int:
        """Sends what is due now, beginning no message after so many seconds; how many were tried.

        Raises DatabaseUnavailable, StorageFailed.
        """
        deadline, tried = time.monotonic() + seconds, 0
        while self._receivers and not self._over.is_set() and time.monotonic() < deadline:
            parcel = self._outbox.take(self._per_hour)
            if parcel is None:
                break
            message, had = message_of(parcel.alerts), parcel.deliveries
            waiting = [r for r in self._receivers if had.get(r.name, "") is not None]
            came = dict(had)
            if waiting:
                with ThreadPoolExecutor(len(waiting)) as side_by_side:
                    answers = side_by_side.map(Receiver.tell, waiting, repeat(message))
                    came |= dict(zip((r.name for r in waiting), answers, strict=True))
            failed = {r.name: why for r in self._receivers if (why := came[r.name]) is not None}
            for name, why in failed.items():
                log.warning("alert_not_delivered", receiver=name, attempt=parcel.attempt, reason=why)
            self._outbox.report(parcel, came, again=bool(failed))
            tried += 1
        return tried

    def _work(self) -> None:
        watched = time.monotonic()
        while not self._over.wait(self._pause):
            try:
                if time.monotonic() - watched >= _WATCH_SECONDS:
                    watched = time.monotonic()
                    self._watch()
                    if not self._receivers:
                        self._outbox.lapse()
                self.send_due()
            except ClmError as error:
                log.warning("messenger_waits", reason=str(error))
            except Exception:
                # A bug in here is in the log; alerts go on being sent.
                if not self._over.is_set():
                    log.exception("messenger_failed")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A message that is just being sent is not waited for long: it would be sent again.
        self._over.set()
        self._thread.join(2)
