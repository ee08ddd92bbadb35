"""The exchange's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clm.core.errors import BadInput
from clm.exchange.clock import ExchangeClock

START = datetime(2024, 5, 1, tzinfo=UTC)


class Seconds:
    """A monotonic source of seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_hour_passes_in_a_second_at_speed_3600() -> None:
    seconds = Seconds()
    clock = ExchangeClock(START, 3600, seconds)

    seconds.now += 1

    assert clock.now() == START + timedelta(hours=1)


def test_at_speed_zero_only_set_and_advance_move_it() -> None:
    seconds = Seconds()
    clock = ExchangeClock(START, 0, seconds)

    seconds.now += 1000

    assert clock.now() == START
    assert clock.advance(timedelta(hours=3)) == START + timedelta(hours=3)
    assert clock.set(START + timedelta(days=1)) == clock.now() == START + timedelta(days=1)


def test_a_new_speed_counts_from_now_on() -> None:
    seconds = Seconds()
    clock = ExchangeClock(START, 10, seconds)
    seconds.now += 1

    clock.run_at(60)
    seconds.now += 1

    assert clock.now() == START + timedelta(seconds=70)


def test_it_never_goes_backwards() -> None:
    clock = ExchangeClock(START, 0)

    with pytest.raises(BadInput, match="moment"):
        clock.set(START - timedelta(milliseconds=1))
    with pytest.raises(BadInput, match="advance"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(BadInput, match="speed"):
        ExchangeClock(START, -1)
    with pytest.raises(BadInput, match="speed"):
        clock.run_at(-1)
    assert clock.now() == START


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="timezone"):
        ExchangeClock(datetime(2024, 5, 1))


def test_without_a_start_it_is_the_machines_time() -> None:
    assert abs(ExchangeClock().now() - datetime.now(UTC)) < timedelta(seconds=5)
