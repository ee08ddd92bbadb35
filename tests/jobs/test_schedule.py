"""The schedule means what cron means, in UTC, and asks for runs without ever doing one."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from clm.core.errors import ExchangeUnavailable, InvalidSetting
from clm.jobs.schedule import Job, Schedule, cron_trigger
from tests.support.waiting import LIMIT, eventually

SUNDAY = datetime(2024, 6, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * *", datetime(2024, 6, 2, 2, tzinfo=UTC)),
        ("30 14 * * 1", datetime(2024, 6, 3, 14, 30, tzinfo=UTC)),
        ("0 0 * * 0", SUNDAY),
        ("0 0 * * 7", SUNDAY),
        ("0 0 * * sat", datetime(2024, 6, 8, tzinfo=UTC)),
        ("0 0 * * 1-5", datetime(2024, 6, 3, tzinfo=UTC)),
        ("*/15 * * * *", SUNDAY),
        ("0 */6 1 * *", datetime(2024, 7, 1, tzinfo=UTC)),
    ],
)
def test_a_slot_is_where_cron_says(expression: str, expected: datetime) -> None:
    assert cron_trigger(expression).get_next_fire_time(None, SUNDAY) == expected


@pytest.mark.parametrize(
    "expression", ["", "daily", "0 2 * *", "61 2 * * *", "0 2 * * 9", "0 2 * * * *", "a b c d e"]
)
def test_what_is_no_schedule_is_refused_with_an_example(expression: str) -> None:
    with pytest.raises(InvalidSetting, match=r"0 2 \* \* \*"):
        cron_trigger(expression)


class _Calls:
    """A schedule by a clock in hand, and what it called."""

    def __init__(self, cron: str | None = "0 2 * * *", newest: datetime | None = None) -> None:
        self.now = datetime(2024, 6, 2, 0, 30, tzinfo=UTC)
        self.slots: list[datetime] = []
        self.closes: list[datetime] = []
        self.willing = True
        jobs = [Job("retrain", cron, self.ask, lambda: newest)] if cron is not None else []
        self.schedule = Schedule(
            self.read, lambda: timedelta(hours=1), jobs, on_close=lambda: self.closes.append(self.now)
        )

    def read(self) -> datetime:
        return self.now

    def ask(self, slot: datetime) -> bool:
        self.slots.append(slot)
        return self.willing

    def at(self, hour: int, minute: int = 0, second: int = 0) -> float:
        self.now = self.now.replace(hour=hour, minute=minute, second=second)
        return self.schedule.look()


YESTERDAY, TODAY = datetime(2024, 6, 1, 2, tzinfo=UTC), datetime(2024, 6, 2, 2, tzinfo=UTC)


def test_every_candle_close_calls_once_a_moment_after_it() -> None:
    calls = _Calls()

    calls.at(0, 30)
    calls.at(1, 0, 2)
    calls.at(1, 0, 3)
    calls.at(1, 40)
    calls.at(4, 10)

    assert [(t.hour, t.minute, t.second) for t in calls.closes] == [(0, 30, 0), (1, 0, 3), (4, 10, 0)]


def test_it_ends_without_a_word_at_whatever_moment(caplog: pytest.LogCaptureFixture) -> None:
    broken: list[threading.ExceptHookArgs] = []
    # A service of other tests may have a schedule of its own.
    others = set(threading.enumerate())
    before, threading.excepthook = threading.excepthook, broken.append
    try:
        for round_ in range(300):
            with Schedule(lambda: datetime.now(UTC), lambda: timedelta(hours=1), []):
                time.sleep(0.0005 * (round_ % 7))
        eventually(
            lambda: not any("APScheduler" in t.name for t in {*threading.enumerate()} - others),
            "the end of every thread",
        )
    finally:
        threading.excepthook = before

    assert [str(args.exc_value) for args in broken] == []
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_slot_is_asked_for_once_by_the_exchanges_clock_and_a_missed_one_afterwards() -> None:
    calls = _Calls(newest=YESTERDAY)

    calls.at(0, 30)
    assert calls.schedule.next_run("retrain") == TODAY
    calls.at(1, 59)
    calls.at(5, 17)
    calls.at(6)

    assert calls.slots == [TODAY]
    assert calls.schedule.next_run("retrain") == TODAY + timedelta(days=1)


def test_a_slot_missed_while_everything_was_down_is_made_up_for_once_the_newest_only() -> None:
    calls = _Calls(newest=YESTERDAY - timedelta(days=5))

    calls.at(0, 30)
    calls.at(0, 45)

    assert calls.slots == [YESTERDAY]


def test_at_the_very_first_start_the_newest_slot_is_due() -> None:
    calls = _Calls(newest=None)

    calls.at(0, 30)

    assert calls.slots == [YESTERDAY]


def test_a_slot_that_cannot_be_begun_is_asked_for_again_soon_until_a_newer_one_is_due() -> None:
    calls = _Calls(newest=YESTERDAY)
    calls.willing = False

    wait = calls.at(2, 0, 1)
    calls.at(2, 10)
    calls.willing = True
    calls.at(2, 20)
    calls.at(2, 30)

    assert wait <= 10
    assert calls.slots == [TODAY] * 3


def test_a_clock_that_jumps_back_calls_nothing_twice() -> None:
    calls = _Calls(newest=YESTERDAY)
    calls.at(1, 30)
    calls.at(3, 30)
    before = (list(calls.slots), list(calls.closes))

    calls.at(0, 30)
    calls.at(2, 59)

    assert (calls.slots, calls.closes) == before


@pytest.mark.parametrize(
    ("cron", "now", "expected"),
    [
        ("0 2 * * *", datetime(2024, 6, 2, 2, tzinfo=UTC), datetime(2024, 6, 2, 2, tzinfo=UTC)),
        ("0 2 * * *", datetime(2024, 6, 2, 1, 59, tzinfo=UTC), datetime(2024, 6, 1, 2, tzinfo=UTC)),
        ("*/5 * * * *", datetime(2024, 6, 2, 1, 59, tzinfo=UTC), datetime(2024, 6, 2, 1, 55, tzinfo=UTC)),
        ("30 4 * * 1", datetime(2024, 6, 5, tzinfo=UTC), datetime(2024, 6, 3, 4, 30, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2027, 6, 5, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_newest_slot_is_found_however_rare_it_is(cron: str, now: datetime, expected: datetime) -> None:
    assert cron_trigger(cron).newest(now) == expected


def test_it_waits_no_longer_than_the_next_close_however_fast_the_exchange_runs() -> None:
    calls = _Calls(cron=None)

    began = time.monotonic()
    assert calls.at(0, 30) < 1
    wait = calls.at(0, 40)
    blink = time.monotonic() - began

    assert wait < 1 + 3 * blink, "ten minutes in a blink: the next close is two of them away"


def test_an_exchange_that_does_not_answer_is_asked_again() -> None:
    def down() -> datetime:
        raise ExchangeUnavailable("down")

    schedule = Schedule(down, lambda: timedelta(hours=1), ())

    assert 1 < schedule.look() <= 60


def test_inside_it_looks_by_itself() -> None:
    seen: list[int] = []
    enough = threading.Event()

    def close() -> None:
        seen.append(1)
        enough.set()

    schedule = Schedule(lambda: datetime.now(UTC), lambda: timedelta(hours=1), (), on_close=close)
    with schedule:
        assert enough.wait(LIMIT)
    assert seen == [1]
