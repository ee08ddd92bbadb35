"""When candles close, and how long until then by a clock that may be replayed or accelerated."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: A candle reaches the exchange's archive a moment after its close.
CLOSE_LAG = timedelta(seconds=3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def newest_close(now: datetime, step: timedelta) -> datetime:
    """The newest candle close that has reached the exchange's archive at `now`."""
    return _EPOCH + (now - CLOSE_LAG - _EPOCH) // step * step


def next_look(now: datetime, step: timedelta) -> datetime:
    """When the candle after that has reached it."""
    return newest_close(now, step) + step + CLOSE_LAG


class ClockReading:
    """The exchange's clock as last read, and what it must be showing by now.

    Its speed is read off the last two readings: an accelerated exchange brings its own. Not thread-safe.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read: tuple[datetime, float] | None = None
        self._speed: float | None = None

    @property
    def last(self) -> datetime | None:
        """As last read; None before the first time."""
        return self._read[0] if self._read is not None else None

    def read(self, now: datetime) -> None:
        """The clock showed `now` just now."""
        at = self._monotonic()
        if self._read is not None:
            passed = (now - self._read[0]).total_seconds()
            self._speed = max(0.0, passed / max(at - self._read[1], 1e-6))
        self._read = (now, at)

    def estimate(self) -> datetime | None:
        """What it shows by now, at the speed seen so far; None before the first reading."""
        if self._read is None:
            return None
        speed = 1.0 if self._speed is None else self._speed
        return self._read[0] + timedelta(seconds=(self._monotonic() - self._read[1]) * speed)

    def seconds_until(self, moment: datetime) -> float | None:
        """Machine seconds; None where that is not known: too few readings, or a clock that stands still."""
        if self._read is None or not self._speed:
            return None
        since = self._monotonic() - self._read[1]
        return (moment - self._read[0]).total_seconds() / self._speed - since
