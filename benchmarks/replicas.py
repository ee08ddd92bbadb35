"""`make bench-replicas`: two services on one PostgreSQL while a month goes by; is every slot done once?

The exchange's clock runs 7,200 times as fast: a candle every half second, a retraining slot every 12. Exit
code 1 when a slot was missed or done twice, or a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.rehearsal import Stage, broken_promises, serve, stage
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.runs import RunKind, RunState
from clm.jobs.schedule import cron_trigger
from clm.telemetry import set_up_logging

SCHEDULE = "0 2 * * *"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Month:
    """What came of it.

    slots: retraining slots that fell due while every replica was up; done: retraining runs per slot; ticks:
    slots of the live shadow; owners: processes that worked; hours: candles that closed; forecasts: of them,
    by how they came about.
    """

    slots: list[datetime]
    done: Counter[datetime]
    ticks: int
    owners: int
    hours: int
    forecasts: Counter[Source]
    missing: int
    broken: list[str]

    @property
    def wrong(self) -> list[str]:
        """What should not be."""
        found = [f"the slot {s} was done {self.done[s]} times" for s in self.slots if self.done[s] != 1]
        found += [
            f"the slot {s} was done {n} times" for s, n in self.done.items() if n > 1 and s not in self.slots
        ]
        found += [f"{self.missing} hours have no forecast"] if self.missing else []
        return found + self.broken


def live(on: Stage, days: float, speed: float, replicas: int = 2) -> Month:
    """Lets so many services share the work while the exchange's days go by."""
    with ExitStack() as stack, on.application() as application:
        # A clock that stands is looked at once a minute only, which is many days of this one.
        on.exchange.clock.run_at(speed)
        for number in range(replicas):
            service = serve(on, on.folder / f"replica{number}.log")
            stack.callback(service.stop)
        began = on.exchange.clock.now()
        time.sleep(days * 86_400 / speed)
        on.exchange.clock.run_at(0)
        _let_finish(application)
        return _seen(application, began, on.exchange.clock.now())


def _let_finish(application: Application) -> None:
    """Until the last slots are settled."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = [*application.runs.recent(5), *application.runs.recent(5, RunKind.SHADOW)]
        newest = application.runs.newest_slot(RunKind.RETRAIN)
        due = cron_trigger(SCHEDULE).newest(application.now())
        if newest == due and all(run.state.over for run in runs):
            time.sleep(2)
            return
        time.sleep(0.2)


def _seen(application: Application, began: datetime, now: datetime) -> Month:
    retrainings = [r for r in application.runs.recent(10_000) if r.request.slot is not None]
    ticks = application.runs.recent(10_000, RunKind.SHADOW)
    trigger = cron_trigger(SCHEDULE)
    slots, slot = [], trigger.get_next_fire_time(None, began)
    while slot is not None and slot <= now:
        slots.append(slot)
        slot = trigger.get_next_fire_time(slot, slot)
    done = Counter(r.request.slot for r in retrainings if r.state is RunState.COMPLETED and r.request.slot)
    forecasts: dict[datetime, Source] = {}
    registry = application.registry
    for artifact in registry.get_model_history(application.models[0], limit=10_000):
        for forecast in registry.book.forecasts(application.models[0], artifact.version):
            if forecast.source in (Source.LIVE, Source.LATE):
                forecasts.setdefault(forecast.open_time, forecast.source)
    hours = int((now - min(forecasts, default=now)) / _HOUR)
    return Month(
        slots=slots, done=done, ticks=len(ticks), owners=len({r.owner for r in (*retrainings, *ticks)}),
        hours=hours, forecasts=Counter(forecasts.values()), missing=max(0, hours - len(forecasts)),
        broken=broken_promises(application),
    )  # fmt: skip


def main() -> int:
    from tests.support.postgres import fresh_database

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--speed", type=float, default=7200)
    given = parser.parse_args()
    set_up_logging("error")
    more = {"schedule": SCHEDULE, "live_shadow": True, "retrain_interval_days": 0.9, "models": ("lightgbm",)}
    with fresh_database() as url, tempfile.TemporaryDirectory() as folder:
        with stage(Path(folder), url, **more) as on:
            month = live(on, given.days, given.speed)
    print(f"retraining slots due: {len(month.slots)}; done exactly once: "
          f"{sum(month.done[s] == 1 for s in month.slots)}; by {month.owners} processes")  # fmt: skip
    print(f"candles closed: {month.hours}; ticks: {month.ticks}; hours forecast: "
          f"{ {str(k): v for k, v in month.forecasts.items()} }; without one: {month.missing}")  # fmt: skip
    for line in month.wrong:
        print(f"  WRONG {line}")
    return int(bool(month.wrong))


if __name__ == "__main__":
    sys.exit(main())
