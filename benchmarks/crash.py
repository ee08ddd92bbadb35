"""`make bench-crash`: SIGKILL at every step, commit and file operation of a run, and at random moments.

After each kill the run is taken up again, and everything that must hold is checked. Exit code 1 when anything
did not. `--kills` spreads so many over all points; the default meets each of them.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from benchmarks.asking import until
from benchmarks.kamikaze import POINTS
from benchmarks.rehearsal import Stage, broken_promises, ended, killed_run, points, stage
from clm.bootstrap import Application
from clm.core.runs import Run, RunRequest, RunState
from clm.telemetry import set_up_logging

_RANDOM_SHARE = 5


def plan(passed: dict[str, int], kills: int) -> list[tuple[str, int]]:
    """Points to die at, spread evenly over all there are; a fifth of the kills at least at random moments."""
    every = [(point, nth) for point in POINTS for nth in range(1, passed.get(point, 0) + 1)]
    chosen = min(len(every), kills - kills // _RANDOM_SHARE)
    at_points = [every[k * len(every) // chosen] for k in range(chosen)]
    return [*at_points, *(("random", k) for k in range(kills - chosen))]


def killed_at_random(application: Application, dice: random.Random) -> Run:
    """A forced run whose worker is killed from outside at a random moment of its life.

    Within what a run takes; one that is over before its moment comes is followed by another.
    """
    while True:
        usual = _seconds(application.runs.recent(20))
        run = application.supervisor.submit(RunRequest(force=True, requested_by="rehearsal"))
        until(lambda run=run: application.runs.get(run.run_id).state is not RunState.QUEUED)  # type: ignore[misc]
        time.sleep(dice.uniform(0.0, usual))
        found = application.runs.get(run.run_id)
        if found.state is RunState.RUNNING:
            os.kill(int(found.owner.rpartition(":")[2]), signal.SIGKILL)
        over = ended(application, run.run_id)
        if over.interruptions:
            return over


def _seconds(runs: Iterable[Run]) -> float:
    """How long it usually takes."""
    lives = ((run.started_at, run.finished_at) for run in runs)
    return median((e - b).total_seconds() for b, e in lives if b is not None and e is not None)


def rehearse(on: Stage, kills: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """(outcomes, broken promises) of so many kills, one after the other on the same registry."""
    dice, outcomes, broken, recomputed = random.Random(seed), Counter[str](), [], set[int]()
    with on.application() as application:
        passed = points(application)
        print(f"an undisturbed run passes {passed}", flush=True)
        for number, (point, nth) in enumerate(plan(passed, kills), 1):
            run = (
                killed_at_random(application, dice)
                if point == "random"
                else killed_run(application, point, nth)
            )
            killed = len(run.interruptions)
            fate = "killed, taken up, completed" if killed else "over before the kill"
            outcomes[fate if run.state is RunState.COMPLETED else str(run.state)] += 1
            if run.state is not RunState.COMPLETED:
                broken.append(f"{point} {nth}: run ended as {run.state}: {run.error}")
            # A worker that is killed before its first commit has begun no attempt.
            begun = sum(interruption["attempt"] > 0 for interruption in run.interruptions)
            if begun != run.attempt - 1:
                broken.append(f"{point} {nth}: {begun} of {run.attempt - 1} on record")
            broken += [f"{point} {nth}: {what}" for what in broken_promises(application, recomputed)]
            if number % 20 == 0:
                print(f"  {number} kills: {dict(outcomes)}, {len(broken)} promises broken", flush=True)
        broken += broken_promises(application)
    return outcomes, broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="a fresh PostgreSQL database; default: SQLite")
    given = parser.parse_args()
    set_up_logging("error")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), given.database) as on:
        outcomes, broken = rehearse(on, given.kills, given.seed)
    for line in broken:
        print(f"  BROKEN {line}")
    print(f"{sum(outcomes.values())} kills in {time.monotonic() - began:.0f} s: {dict(outcomes)}")
    print(f"promises broken: {len(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
