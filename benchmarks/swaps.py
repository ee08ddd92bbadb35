"""`make bench-swaps`: promotions to and fro while forecasts are asked for; does an answer fail, or mix?

The service is a process of its own; promotions come from this one, as they would from another replica. Every
answer must be one version's as a whole: its name, its artifact, its forecast. Exit code 1 when one is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np

from benchmarks.asking import Connection
from benchmarks.rehearsal import Stage, ended, serve, stage
from clm.bootstrap import Application
from clm.core.runs import RunRequest
from clm.telemetry import set_up_logging

_MODEL = "lightgbm"


@dataclass
class Seen:
    """answers: (version, sha256, forecast) as answered; failed: what went wrong.

    lags: seconds from a promotion to the first answer by it; seconds: each answer's; lasted: all in all.
    """

    answers: set[tuple[str, str, float]] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lasted: float = 0.0


def _ask(url: str, seen: Seen, over: threading.Event, per_second: float) -> None:
    connection = Connection(url, f"/api/clm/predict?model={_MODEL}")
    due = time.perf_counter()
    while not over.is_set():
        began = time.perf_counter()
        try:
            found = json.loads(connection.answer())
            seen.answers.add((found["version"], found["artifact_sha256"], found["forecast"]))
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            seen.failed.append(f"{type(error).__name__}: {error}")
            connection.renew()
        seen.seconds.append(time.perf_counter() - began)
        due += 1 / per_second
        time.sleep(max(0.0, due - time.perf_counter()))


def two_versions(application: Application, on: Stage) -> list[str]:
    """Versions of different trainings, to promote in turns."""
    for _ in range(2):
        run = application.supervisor.submit(RunRequest(models=(_MODEL,), force=True))
        ended(application, run.run_id)
        on.exchange.clock.advance(timedelta(hours=30))
    return [version.version for version in application.registry.get_model_history(_MODEL, limit=2)]


def swap(on: Stage, promotions: int, per_second: float = 200) -> tuple[Seen, set[tuple[str, str]]]:
    """(what was seen, (version, sha256) of those promoted) over so many promotions under load."""
    seen, over = Seen(), threading.Event()
    with on.application() as application:
        versions = two_versions(application, on)
        registry = application.registry
        known = {(v, str(registry.get_version(_MODEL, v).artifact_sha256)) for v in versions}
        registry.promote(_MODEL, versions[0])
        service = serve(on)
        _until_answered(service.url, versions[0])
        asking = [
            threading.Thread(target=_ask, args=(service.url, seen, over, per_second / 2)) for _ in range(2)
        ]
        for thread in asking:
            thread.start()
        began_asking = time.perf_counter()
        for number in range(1, promotions + 1):
            wanted = versions[number % 2]
            registry.promote(_MODEL, wanted)
            if number % 50 == 0:
                began = time.perf_counter()
                _until_answered(service.url, wanted)
                seen.lags.append(time.perf_counter() - began)
        over.set()
        for thread in asking:
            thread.join()
        seen.lasted = time.perf_counter() - began_asking
        service.stop(60)
    return seen, known


def _until_answered(url: str, version: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if httpx.get(f"{url}/api/clm/predict", params={"model": _MODEL}).json()["version"] == version:
            return
        time.sleep(0.01)
    raise RuntimeError(f"{version} never answered")


def mixed(seen: Seen, known: set[tuple[str, str]]) -> list[str]:
    """Answers that are no version's as a whole."""
    forecasts: dict[str, set[float]] = {}
    for version, _, forecast in seen.answers:
        forecasts.setdefault(version, set()).add(forecast)
    found = [f"{v} with {sha[:8]}" for v, sha, _ in seen.answers if (v, sha) not in known]
    return found + [f"{version} forecast {made}" for version, made in forecasts.items() if len(made) > 1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--promotions", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=200)
    given = parser.parse_args()
    set_up_logging("error")
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), models=(_MODEL,)) as on:
        seen, known = swap(on, given.promotions, given.per_second)
    wrong = mixed(seen, known)
    pace = f"{len(seen.seconds):,} answers at {len(seen.seconds) / seen.lasted:.0f} a second"
    answered = f"{pace}: {len(seen.failed)} failed, {len(wrong)} mixed"
    print(f"{given.promotions} promotions, {answered}")
    print(f"a promotion answers after {np.median(seen.lags):.2f} s (median), {max(seen.lags):.2f} s at most")
    print(f"an answer took {1e3 * np.quantile(seen.seconds, 0.5):.1f} ms (median), "
          f"{1e3 * np.quantile(seen.seconds, 0.99):.1f} ms (p99)")  # fmt: skip
    for line in [*seen.failed[:5], *wrong[:5]]:
        print(f"  {line}")
    return int(bool(seen.failed or wrong or max(seen.lags) > 1))


if __name__ == "__main__":
    sys.exit(main())
