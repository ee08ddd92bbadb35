"""When candles close, and how long until then by a clock that may be replayed or accelerated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: A candle reaches the exchange's archive a moment after its close.
CLOSE_LAG = timedelta(seconds=3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Clocks of machines agree within this share; a step of either is no speed.
_ORDINARY = 0.1
_INSTANT = 1e-6
#: Readings tell a speed when they lie so many times further apart than answers took; asked for after so long.
_FAR_APART, _SOON, _LATER = 10, 0.2, 60.0


def newest_close(now: datetime, step: timedelta) -> datetime:
    """The newest candle close that has reached the exchange's archive at `now`."""
    return _EPOCH + (now - CLOSE_LAG - _EPOCH) // step * step


def next_look(now: datetime, step: timedelta) -> datetime:
    """When the candle after that has reached it."""
    return newest_close(now, step) + step + CLOSE_LAG


@dataclass(frozen=True, slots=True)
class _Reading:
    """shown: by the clock, at some moment of the machine from `asked` to `took` seconds later."""

    shown: datetime
    asked: float
    took: float


class ClockReading:
    """The exchange's clock as last read, and what it must be showing by now. Not thread-safe.

    It runs as the machine's does unless two readings cannot be told otherwise, however late an answer may
    have been: one that is accelerated, played back or stopped shows itself at once, a slow answer never does.
    A reading counts from when it was asked for, so that what is told is not behind.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read: _Reading | None = None
        self._speed: float | None = None
        self._sure = False

    @property
    def last(self) -> datetime | None:
        """As last read; None before the first time."""
        return self._read.shown if self._read is not None else None

    def asking(self) -> float:
        """The machine's moment, to be handed to `read` with the answer."""
        return self._monotonic()

    def read(self, now: datetime, asked: float | None = None) -> None:
        """The clock showed `now`, between `asked` and this moment; None: at this moment."""
        at = self._monotonic()
        asked = at if asked is None else asked
        reading, before = _Reading(now, asked, at - asked), self._read
        if before is not None:
            passed, machine = (now - before.shown).total_seconds(), asked - before.asked
            late = reading.took + before.took
            slowest = passed / max(machine + reading.took, _INSTANT)
            fastest = passed / max(machine - before.took, _INSTANT)
            ordinary = slowest <= 1 + _ORDINARY and fastest >= 1 - _ORDINARY
            self._speed = 1.0 if ordinary else max(0.0, passed / max(machine, _INSTANT))
            self._sure = machine > _FAR_APART * late
        self._read = reading

    def again_in(self) -> float | None:
        """Machine seconds until a further reading is wanted to know its speed; None: it is known."""
        if self._sure:
            return None
        took = self._read.took if self._read is not None else 0.0
        return min(max(_SOON, 2 * _FAR_APART * took), _LATER)

    def estimate(self) -> datetime | None:
        """What it shows by now, at the speed seen so far; None before the first reading."""
        if self._read is None:
            return None
        speed = 1.0 if self._speed is None else self._speed
        return self._read.shown + timedelta(seconds=(self._monotonic() - self._read.asked) * speed)

    def seconds_until(self, moment: datetime) -> float | None:
        """Machine seconds; None where that is not known: too few readings, or a clock that stands still."""
        if self._read is None or not self._speed:
            return None
        since = self._monotonic() - self._read.asked
        return (moment - self._read.shown).total_seconds() / self._speed - since
