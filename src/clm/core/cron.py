"""Five cron fields, with the meaning that cron itself gives them (Vixie's, as Debian ships it), in UTC.

Where day of month and day of week are both given, either will do; a field that begins with `*`, `*/2` too, is
not given, and then both must hold (crontab(5)). Weekdays count from Sunday, 0 and 7.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

ALLOWED = (
    "five cron fields (minute hour day month weekday, UTC), such as 0 2 * * *; each a number, a name, a "
    "range 1-5, a list 1,15 or steps */6, 8-18/2"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: Name, lowest, highest, names from the lowest on.
_FIELDS = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day", 1, 31, ()), ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)  # fmt: skip
_PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\w+))?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,4}")
#: Whatever ever comes does so within this: 29 February lies eight years apart around 2100, and a weekday that
#: must hold too comes round within 28 of them, or 40 there.
_YEARS = 41


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is done. days, weekdays: those that will do; together: whether both must."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    together: bool

    @classmethod
    def parse(cls, expression: str) -> Self:
        """Raises ValueError: what is wrong, and what is allowed."""
        parts = expression.split()
        if len(parts) != len(_FIELDS):
            raise ValueError(ALLOWED)
        minutes, hours, days, months, weekdays = (
            _values(name, text, low, high, names)
            for text, (name, low, high, names) in zip(parts, _FIELDS, strict=True)
        )
        made = cls(
            minutes, hours, days, months, frozenset(day % 7 for day in weekdays),
            together=parts[2].startswith("*") or parts[4].startswith("*"),
        )  # fmt: skip
        if made.next(datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise ValueError(f"a day that there is, not one such as 30 February; {ALLOWED}")
        return made

    def next(self, at: datetime) -> datetime | None:
        """The first moment at `at` or after it."""
        moment = at.astimezone(UTC)
        minute = moment.replace(second=0, microsecond=0)
        begin = minute if minute == moment else minute + timedelta(minutes=1)
        for days in range(_YEARS * 366):
            day = begin.date() + timedelta(days=days)
            if self._on(day.year, day.month, day.day):
                from_hour, from_minute = (begin.hour, begin.minute) if days == 0 else (0, 0)
                for hour in sorted(self.hours):
                    for m in sorted(self.minutes):
                        if (hour, m) >= (from_hour, from_minute):
                            return datetime(day.year, day.month, day.day, hour, m, tzinfo=UTC)
        return None

    def newest(self, at: datetime) -> datetime | None:
        """The last moment at `at` or before it."""
        moment = at.astimezone(UTC)
        for days in range(_YEARS * 366):
            day = moment.date() - timedelta(days=days)
            if self._on(day.year, day.month, day.day):
                to = (moment.hour, moment.minute) if days == 0 else (23, 59)
                for hour in sorted(self.hours, reverse=True):
                    for m in sorted(self.minutes, reverse=True):
                        if (hour, m) <= to:
                            return datetime(day.year, day.month, day.day, hour, m, tzinfo=UTC)
        return None

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """As APScheduler asks its triggers: after `previous` if there is one, else at `now` or later."""
        return self.next(now if previous is None else min(now, previous) + timedelta(microseconds=1))

    def _on(self, year: int, month: int, day: int) -> bool:
        if month not in self.months:
            return False
        of_month = day in self.days
        of_week = (calendar.weekday(year, month, day) + 1) % 7 in self.weekdays
        return of_month and of_week if self.together else of_month or of_week


def _values(name: str, text: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"a {name} that cron knows, which {part!r} is not; {ALLOWED}")
        star, first, last, by = match.groups()
        step = 1 if by is None else _number(name, by, 1, 9999, ())
        if star:
            begin, end = low, high
        else:
            begin = end = _number(name, first, low, high, names)
            if last is not None:
                end = _number(name, last, low, high, names)
                # From Friday to Sunday, as everybody means it.
                end = 7 if name == "weekday" and end == 0 < begin else end
            elif by is not None:
                # Some read 5/15 as 5 alone, others as 5-59/15.
                raise ValueError(f"steps of a range, {begin}-{high}/{by} in place of {part!r}; {ALLOWED}")
        if begin > end:
            raise ValueError(f"a {name} range that begins before it ends, which {part!r} does not; {ALLOWED}")
        found.update(range(begin, end + 1, step))
    return frozenset(found)


def _number(name: str, text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        called = f" or {names[0]}-{names[-1]}" if names else ""
        raise ValueError(f"a {name} from {low} to {high}{called}, which {text!r} is not; {ALLOWED}")
    return int(text)
