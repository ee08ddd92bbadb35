"""An exchange that lies, stalls, refuses and jumps in time: that costs promptness at times, never truth."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.rehearsal import Stage, broken_promises, ended, stage
from clm.api.app import jobs_of
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.runs import RunRequest, RunState
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import KINDS, FaultPlan
from clm.jobs.schedule import Schedule
from clm.live import tick_slot
from clm.shadow.live import LiveShadow
from tests.support.waiting import LIMIT

HOUR = timedelta(hours=1)
#: What spoils an answer without the exchange being away for good.
CHAOS = ",".join(f"{kind}:{0.1 / len(KINDS):.4f}" for kind in KINDS)


def _plan(text: str) -> FaultPlan:
    """Faults that cost the rehearsal less time than they would in earnest."""
    return FaultPlan.parse(text, seed=5, retry_after=0, timeout_seconds=0.2)


def _retrain(application: Application) -> RunState:
    submitted = application.supervisor.submit(RunRequest(force=True, requested_by="rehearsal"))
    return ended(application, submitted.run_id, LIMIT).state


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_the_middle_of_a_run_is_overcome_or_told_and_leaves_no_trace(
    kind: str, tmp_path: Path
) -> None:
    with stage(tmp_path) as on, on.application() as application:
        on.exchange.set_faults(_plan(f"{kind}@2"))

        state = _retrain(application)
        run = application.runs.latest()
        on.exchange.set_faults("")

        assert run is not None
        if state is RunState.FAILED:
            assert kind == "418", f"{kind} should be overcome: {run.error}"
            assert "banned" in str(run.error)
        application.clear_cache()
        assert _retrain(application) is RunState.COMPLETED
        assert broken_promises(application) == []
        _same_candles(on, application)


def test_a_week_of_mixed_chaos_loses_no_candle_and_breaks_no_promise(tmp_path: Path) -> None:
    """168 hours, every tenth answer spoilt, a retraining slot a day: the real schedule, stepped by hand."""
    more = {
        "schedule": "0 2 * * *",
        "live_shadow": True,
        "retrain_interval_days": 0.9,
        "models": ("lightgbm",),
    }
    with stage(tmp_path, **more) as on, on.application() as application:
        assert _retrain(application) is RunState.COMPLETED
        first = on.exchange.clock.now()
        on.exchange.set_faults(_plan(CHAOS))
        with Application(on.settings) as patient:
            watch = _Watch(patient)
            for _ in range(168):
                on.exchange.clock.advance(HOUR)
                watch.look()
            on.exchange.set_faults("")
            on.exchange.clock.advance(HOUR)
            watch.look()
        newest = application.runs.latest()
        assert newest is not None
        ended(application, newest.run_id, LIMIT)

        slots = Counter(run.request.slot for run in application.runs.recent(100) if run.request.slot)
        assert len(slots) >= 7
        assert set(slots.values()) == {1}
        assert broken_promises(application) == []
        made = _forecasts(application)
        hours = [first.replace(minute=0) - HOUR + k * HOUR for k in range(169)]
        assert [hour for hour in hours if hour not in made] == []
        assert Counter(made.values())[Source.LIVE] > 150
        _same_candles(on, application)


def test_clocks_that_jump_forth_and_back_make_nobody_forecast_twice_or_from_the_future(
    tmp_path: Path,
) -> None:
    more = {"schedule": "0 2 * * *", "live_shadow": True, "models": ("lightgbm",)}
    with stage(tmp_path, **more) as on, on.application() as application:
        assert _retrain(application) is RunState.COMPLETED
        began = on.exchange.clock.now()
        watch = _Watch(application)
        for jump in (0, 1, 30, -20, 3, -10, 15, 1):
            moment = on.exchange.clock.now() + jump * HOUR
            on.exchange.exchange.clock = on.exchange.clock = ExchangeClock(moment, speed=0)
            watch.look()
        reached = began + 31 * HOUR

        made = _forecasts(application)
        stamps = sorted(made)
        assert stamps == [stamps[0] + k * HOUR for k in range(len(stamps))]
        assert stamps[-1] + HOUR <= reached
        slots = Counter(run.request.slot for run in application.runs.recent(100) if run.request.slot)
        assert set(slots.values()) <= {1}
        assert broken_promises(application) == []


class _Watch:
    """A service's schedule and live shadow, looked at by hand: the same code without the waiting."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._shadow: LiveShadow = application.live_shadow()
        client = application.data_client(application.series[0])
        self._schedule = Schedule(
            client.server_time, lambda: HOUR, jobs_of(application), on_look=application.supervisor.recover,
            on_close=lambda: self._ticks.append(tick_slot(application, self._shadow)),
        )  # fmt: skip
        self._ticks: list[bool] = []

    def look(self) -> None:
        """At the clock, and once more at a tick that failed; waits for the run it may have begun."""
        self._schedule.look()
        if self._ticks and not self._ticks[-1]:
            self._ticks[-1] = tick_slot(self._application, self._shadow)
        newest = self._application.runs.latest()
        if newest is not None and not newest.state.over:
            ended(self._application, newest.run_id, LIMIT)


def _forecasts(application: Application) -> dict[object, Source]:
    """Hour → how its forecast came about, of whichever version; each version forecasts an hour once."""
    made: dict[object, Source] = {}
    for artifact in application.registry.get_model_history("lightgbm", limit=500):
        stored = application.registry.book.forecasts("lightgbm", artifact.version)
        assert len({f.open_time for f in stored}) == len(stored)
        for forecast in stored:
            if forecast.source in (Source.LIVE, Source.LATE):
                made.setdefault(forecast.open_time, forecast.source)
    return made


def _same_candles(on: Stage, application: Application) -> None:
    """What the store holds is what the exchange really traded: no fault has left a wrong candle behind."""
    series = application.series[0]
    now = on.exchange.clock.now().replace(minute=0)
    stored = application.data_client(series).load_training_data(now - timedelta(days=60), now)
    tape = on.exchange.exchange.market.tapes[series.symbol][series.interval]
    closes = dict(zip(tape.opens.tolist(), tape.columns["close"].tolist(), strict=True))
    wrong = [
        str(time)
        for time, close in zip(pd.DatetimeIndex(stored.index), stored["close"].tolist(), strict=True)
        if abs(close / closes[int(time.timestamp() * 1000)] - 1) > 1e-9
    ]
    assert len(stored) == 60 * 24
    assert wrong == []
