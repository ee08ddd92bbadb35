"""SIGKILL, to workers and to services, at every kind of moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import signal
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from benchmarks import crash, replicas
from benchmarks.rehearsal import broken_promises, ended, points, serve, stage
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.runs import RunKind, RunState
from tests.support.postgres import fresh_database
from tests.support.waiting import LIMIT, eventually

KILLS = {"sqlite": 12, "postgresql": 8}


def test_workers_killed_at_steps_commits_and_file_operations_leave_everything_sound(
    database: str, tmp_path: Path
) -> None:
    kills = KILLS["sqlite" if database.startswith("sqlite") else "postgresql"]

    with stage(tmp_path, database) as on:
        outcomes, broken = crash.rehearse(on, kills, seed=1)

    assert broken == []
    assert sum(outcomes.values()) == kills
    assert outcomes["killed, taken up, completed"] >= kills // 2


def test_the_kills_are_spread_over_all_points_and_a_fifth_comes_at_random() -> None:
    passed = {"step": 15, "commit": 29, "file": 14}

    few, many = crash.plan(passed, 20), crash.plan(passed, 240)

    assert len(few) == 20
    assert {point for point, _ in few} == {"step", "commit", "file", "random"}
    assert len(many) == 240
    assert {(p, n) for p, n in many if p != "random"} == {
        (p, n) for p in passed for n in range(1, passed[p] + 1)
    }


def test_a_run_passes_enough_points_for_the_rehearsal_to_mean_something(tmp_path: Path) -> None:
    with stage(tmp_path) as on, on.application() as application:
        passed = points(application)

        assert passed["step"] == 15
        assert passed["commit"] > 15
        assert passed["file"] > 5
        assert broken_promises(application) == []


def test_a_service_killed_again_and_again_goes_on_where_it_was(tmp_path: Path) -> None:
    """Six lives of a service, each ended at a random moment, while 7,200 seconds pass in one."""
    dice = random.Random(2)
    more = {"schedule": "0 */6 * * *", "live_shadow": True, "retrain_interval_days": 0.2}
    with stage(tmp_path, models=("lightgbm",), **more) as on, on.application() as application:
        on.exchange.clock.run_at(7200)
        for _ in range(6):
            service = serve(on)
            time.sleep(dice.uniform(0.5, 4))
            service.kill()
        last = serve(on)
        # The last life is long enough, on however slow a machine, to retrain and to watch what came of it.
        on.exchange.clock.run_at(1800)
        eventually(
            lambda: len(_slots(application)) >= 3 and _watched(application) > 0, "three slots, watched"
        )
        on.exchange.clock.run_at(0)
        newest = application.runs.latest()
        assert newest is not None
        ended(application, newest.run_id, LIMIT)
        _wait_for_ticks(application)
        # After its farewell uvicorn ends by the signal it was sent.
        assert last.stop(LIMIT) in (0, -signal.SIGTERM)

        assert broken_promises(application) == []
        slots = _slots(application)
        assert len(slots) == len(set(slots))
        for version in application.registry.get_model_history("lightgbm", limit=500):
            every = application.registry.book.forecasts("lightgbm", version.version)
            # A run that was quicker than the live shadow has forecast what the shadow then need not.
            times = [f.open_time for f in every if f.open_time > version.trained_at]
            gaps = [b for a, b in pairwise(times) if b - a != timedelta(hours=1)]
            assert gaps == [], f"hours before these that {version.version} did not forecast"


def test_two_services_on_one_postgresql_do_every_slot_once(tmp_path: Path) -> None:
    more = {
        "schedule": replicas.SCHEDULE, "live_shadow": True, "retrain_interval_days": 0.9,
        "models": ("lightgbm",),
    }  # fmt: skip
    with fresh_database() as url, stage(tmp_path, url, **more) as on:
        month = replicas.live(on, days=3, speed=7200)

    assert month.wrong == []
    assert len(month.slots) >= 3
    assert month.owners >= 3


def _slots(application: Application) -> list[datetime]:
    return [run.request.slot for run in application.runs.recent(500) if run.request.slot]


def _watched(application: Application) -> int:
    """Forecasts the live shadow made, of every version."""
    book = application.registry.book
    versions = application.registry.get_model_history("lightgbm", limit=500)
    every = [f for v in versions for f in book.forecasts("lightgbm", v.version)]
    return sum(f.source in (Source.LIVE, Source.LATE) for f in every)


def _wait_for_ticks(application: Application) -> None:
    def resting() -> bool:
        newest = application.runs.latest(RunKind.SHADOW)
        if newest is None or newest.state is not RunState.COMPLETED:
            return False
        time.sleep(1)
        return application.runs.latest(RunKind.SHADOW) == newest

    eventually(resting, "the live shadow at rest", pause=0.2)
