"""What runs when, by the exchange's clock. APScheduler keeps looking at it; no work is done here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from clm.core.closes import ClockReading, newest_close, next_look
from clm.core.cron import Cron
from clm.core.errors import ClmError, InvalidSetting
from clm.logs import logger

_SHORTEST_SECONDS, _LONGEST_SECONDS, _RETRY_SECONDS = 0.05, 60.0, 10.0
log = logger(__name__)


def cron_trigger(expression: str) -> Cron:
    """Five cron fields in UTC, as cron means them. Raises InvalidSetting."""
    try:
        return Cron.parse(expression)
    except ValueError as exc:
        raise InvalidSetting("CLM_SCHEDULE", expression, str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do once per slot of a cron expression, on one of all replicas.

    ask: whether the slot is settled now: begun here, or anywhere. newest: the last slot settled before this
    process began; None: none ever was.
    """

    name: str
    cron: str
    ask: Callable[[datetime], bool]
    newest: Callable[[], datetime | None]


class Schedule:
    """Asks for each job at its slots, and calls `on_close` at every candle close, while entered.

    Both by the exchange's clock: one that is replayed or accelerated brings its own days. Of slots that were
    missed, by a downtime or because the exchange did not answer, the newest is made up for, once. step: at
    whose multiples candles close, asked for at every look. on_look is called at every look at the clock, at
    least once a minute. on_close None: no closes.
    """

    def __init__(
        self,
        exchange_time: Callable[[], datetime],
        step: Callable[[], timedelta],
        jobs: Sequence[Job],
        *,
        on_close: Callable[[], object] | None = None,
        on_look: Callable[[], object] = lambda: None,
    ) -> None:
        self._exchange_time, self._step = exchange_time, step
        self._jobs = [(job, cron_trigger(job.cron)) for job in jobs]
        self._on_close, self._on_look = on_close, on_look
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(1)})
        self._lock = threading.Lock()
        self._over = False
        self._clock = ClockReading()
        self._settled: dict[str, datetime | None] = {}
        self._closed: datetime | None = None
        self.looked_at: float | None = None

    def next_run(self, job: str) -> datetime | None:
        """The next slot of a job, the exchange's time; None before the exchange was heard."""
        seen = self._clock.last
        if seen is None:
            return None
        return next((_next(trigger, seen) for j, trigger in self._jobs if j.name == job), None)

    def look(self) -> float:
        """One look at the exchange's clock: calls what is due, answers the seconds to wait until the next."""
        try:
            self._on_look()
            asked = self._clock.asking()
            now = self._exchange_time()
            self._clock.read(now, asked)
            step = self._step()
            self._call_close(now, step)
            settled = [self._call_job(job, trigger, now) for job, trigger in self._jobs]
        except ClmError as error:
            log.warning("schedule_waits", reason=str(error))
            return _RETRY_SECONDS
        finally:
            self.looked_at = time.monotonic()
        wait = self._wait(now, step)
        return wait if all(settled) else min(wait, _RETRY_SECONDS)

    def _call_close(self, now: datetime, step: timedelta) -> None:
        # A clock that jumped back has nothing due; its slots and closes come again when it gets there.
        close = newest_close(now, step)
        if self._on_close is not None and (self._closed is None or close > self._closed):
            self._closed = close
            self._on_close()

    def _call_job(self, job: Job, trigger: Cron, now: datetime) -> bool:
        if job.name not in self._settled:
            self._settled[job.name] = job.newest()
        slot, settled = trigger.newest(now), self._settled[job.name]
        if slot is None or (settled is not None and slot <= settled):
            return True
        if not job.ask(slot):
            return False
        self._settled[job.name] = slot
        return True

    def _wait(self, now: datetime, step: timedelta) -> float:
        """Machine seconds until the next close or slot, by the speed the exchange's clock was seen to run."""
        again = self._clock.again_in()
        if again is not None:
            return again
        coming = [next_look(now, step)]
        coming += [slot for _, trigger in self._jobs if (slot := _next(trigger, now)) is not None]
        away = self._clock.seconds_until(min(coming))
        return _LONGEST_SECONDS if away is None else min(max(away, _SHORTEST_SECONDS), _LONGEST_SECONDS)

    def _look_again(self) -> None:
        wait = _RETRY_SECONDS
        try:
            wait = self.look()
        except Exception:
            # A look that was under way when the process began to end finds its means gone.
            if not self._over:
                raise
        finally:
            # Whatever broke is in the log; the clock is looked at again all the same.
            at = datetime.now(UTC) + timedelta(seconds=wait)
            with self._lock:
                if not self._over:
                    self._scheduler.add_job(self._look_again, "date", run_date=at, misfire_grace_time=None)

    def __enter__(self) -> Self:
        self._scheduler.add_job(self._look_again, misfire_grace_time=None)
        self._scheduler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._over = True
            self._scheduler.pause()
            # Waits for a round under way, which would look for its job in a scheduler that is shut down.
            self._scheduler.remove_all_jobs()
        self._scheduler.shutdown(wait=False)


def _next(trigger: Cron, after: datetime) -> datetime | None:
    return trigger.next(after + timedelta(microseconds=1))
