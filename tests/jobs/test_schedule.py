"""The schedule means what cron means, in UTC, and asks for runs without ever doing one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from clm.core.errors import InvalidSetting
from clm.jobs.schedule import Schedule, cron_trigger

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


def test_inside_it_slots_are_coming_and_outside_none() -> None:
    schedule = Schedule("0 2 * * *", lambda: None)
    assert schedule.next_run() is None

    with schedule:
        coming = schedule.next_run()
        assert coming is not None
        assert (coming.hour, coming.minute, coming.utcoffset()) == (2, 0, UTC.utcoffset(None))


def test_a_slot_that_comes_calls() -> None:
    called = threading.Event()
    schedule = Schedule("* * * * *", called.set)

    with schedule:
        # The next minute is brought forward rather than waited for.
        schedule._scheduler.get_job("retrain").modify(next_run_time=datetime.now(UTC))
        assert called.wait(5)
