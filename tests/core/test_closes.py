"""A clock read now and then tells what it shows in between, at whatever speed it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clm.core.closes import ClockReading, newest_close, next_look

T0 = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class _Machine:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_candle_counts_as_closed_a_moment_after_its_close() -> None:
    assert newest_close(T0 + timedelta(seconds=2), HOUR) == T0 - HOUR
    assert newest_close(T0 + timedelta(seconds=3), HOUR) == T0
    assert next_look(T0 + timedelta(minutes=59), HOUR) == T0 + HOUR + timedelta(seconds=3)


@pytest.mark.parametrize("speed", [1.0, 3600.0, 0.5])
def test_its_speed_is_read_off_two_readings(speed: float) -> None:
    machine = _Machine()
    clock = ClockReading(machine)
    clock.read(T0)
    machine.now += 2
    clock.read(T0 + timedelta(seconds=2 * speed))
    machine.now += 1

    assert clock.estimate() == T0 + timedelta(seconds=3 * speed)
    assert clock.seconds_until(T0 + timedelta(seconds=5 * speed)) == pytest.approx(2)


def test_before_two_readings_it_is_taken_to_run_like_the_machines() -> None:
    machine = _Machine()
    clock = ClockReading(machine)
    assert (clock.last, clock.estimate(), clock.seconds_until(T0)) == (None, None, None)
    clock.read(T0)
    machine.now += 10

    assert clock.estimate() == T0 + timedelta(seconds=10)
    assert clock.seconds_until(T0 + HOUR) is None


def test_one_that_stands_still_or_was_set_back_promises_nothing() -> None:
    machine = _Machine()
    clock = ClockReading(machine)
    clock.read(T0)
    for reading in (T0, T0 - HOUR):
        machine.now += 1
        clock.read(reading)

        assert clock.seconds_until(T0 + HOUR) is None
        assert clock.estimate() == reading


class TestALateAnswer:
    """The exchange was asked at one moment and answered some time later; it showed its clock in between."""

    def _read(self, clock: ClockReading, machine: _Machine, shown: datetime, took: float) -> None:
        asked = clock.asking()
        machine.now += took
        clock.read(shown, asked)

    @pytest.mark.parametrize("late", [0.05, 1.0, 10.0])
    def test_never_puts_the_clock_behind_nor_changes_its_speed(self, late: float) -> None:
        machine = _Machine()
        clock = ClockReading(machine)
        self._read(clock, machine, T0, took=late)
        machine.now += 0.2
        true = T0 + timedelta(seconds=late + 0.2)
        self._read(clock, machine, true, took=0.01)
        machine.now += 60

        estimate = clock.estimate()
        assert estimate is not None
        assert abs((estimate - true).total_seconds() - 60.01) < 1e-6
        assert clock.seconds_until(true + timedelta(seconds=60)) == pytest.approx(-0.01)

    def test_of_a_clock_that_stands_or_races_hides_it_for_a_moment_only(self) -> None:
        for speed in (0.0, 3600.0):
            machine = _Machine()
            clock = ClockReading(machine)
            at, began = T0, machine.now
            for _ in range(20):
                at = T0 + timedelta(seconds=(machine.now - began) * speed)
                self._read(clock, machine, at, took=1.0)
                again = clock.again_in()
                if again is None:
                    break
                machine.now += again
            machine.now += 60

            estimate = clock.estimate()
            assert estimate is not None
            assert estimate - at == timedelta(seconds=61 * speed)

    def test_a_reading_counts_from_when_it_was_asked_for(self) -> None:
        machine = _Machine()
        clock = ClockReading(machine)
        self._read(clock, machine, T0, took=2.0)

        assert clock.estimate() == T0 + timedelta(seconds=2)


def test_a_step_of_a_few_seconds_is_no_speed() -> None:
    machine = _Machine()
    clock = ClockReading(machine)
    clock.read(T0)
    machine.now += 60
    clock.read(T0 + timedelta(seconds=64))
    machine.now += 60

    assert clock.estimate() == T0 + timedelta(seconds=124)
