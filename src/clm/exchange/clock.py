"""The exchange's own clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clm.core.domain import utc
from clm.core.errors import BadInput


class ExchangeClock:
    """Starts at `start` (None: the machine's time) and runs `speed` seconds a second; 0: by hand only."""

    def __init__(
        self,
        start: datetime | None = None,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed < 0:
            raise BadInput("speed", speed, "0 (stands still) or a positive number of seconds a second")
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._speed = speed
        self._base = utc(start) if start is not None else datetime.now(UTC)
        self._since = monotonic()

    @property
    def speed(self) -> float:
        return self._speed

    def now(self) -> datetime:
        with self._lock:
            return self._now()

    def advance(self, by: timedelta) -> datetime:
        """Moves the clock forward. Raises BadInput for a step back."""
        if by < timedelta(0):
            raise BadInput("advance", str(by), "a length of time that is not negative")
        with self._lock:
            return self._rebase(self._now() + by)

    def set(self, moment: datetime) -> datetime:
        """Moves the clock to `moment`. Raises BadInput for one that has passed."""
        with self._lock:
            now = self._now()
            if utc(moment) < now:
                raise BadInput("moment", moment.isoformat(), f"not before the exchange's {now.isoformat()}")
            return self._rebase(utc(moment))

    def run_at(self, speed: float) -> None:
        """Changes the speed from now on."""
        if speed < 0:
            raise BadInput("speed", speed, "0 (stands still) or a positive number of seconds a second")
        with self._lock:
            self._rebase(self._now())
            self._speed = speed

    def _now(self) -> datetime:
        return self._base + timedelta(seconds=(self._monotonic() - self._since) * self._speed)

    def _rebase(self, moment: datetime) -> datetime:
        self._base, self._since = moment, self._monotonic()
        return moment
