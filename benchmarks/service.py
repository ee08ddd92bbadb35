"""`make bench-service`: how the service answers while models train, and what it holds on to.

Latency: p99 of GET requests while two trainings run, over p99 when nothing runs, both of the same process.
Memory: resident set after 10,000 requests and 100 runs, over that after the first hundred requests and run.
Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.rehearsal import Service, Stage, ended, environment, serve, stage
from clm.telemetry import set_up_logging

_PATHS = ("/api/clm/models", "/api/clm/status", "/api/clm/history/lightgbm", "/api/clm/decisions")
_MOST_LATENCY, _MOST_GROWTH = 2.0, 1.10


def latencies(client: httpx.Client, requests: int) -> list[float]:
    """Seconds of each of so many requests, one after the other."""
    taken = []
    for number in range(requests):
        began = time.perf_counter()
        client.get(_PATHS[number % len(_PATHS)]).raise_for_status()
        taken.append(time.perf_counter() - began)
    return taken


def p(seconds: Sequence[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return float(np.quantile(np.array(seconds), share)) * 1e3


def under_training(on: Stage, client: httpx.Client, requests: int) -> tuple[list[float], list[float]]:
    """(idle, while training): the service's own run, and a second one in a database of its own."""
    latencies(client, 200)
    idle = latencies(client, requests)
    heavy = {"CLM_TRAINING_PRESET": "accurate", "CLM_FEATURES": "advanced", "CLM_TRAINING_PARAMS": "{}"}
    other = subprocess.Popen(
        [sys.executable, "-m", "clm", "retrain", "--force"], cwd=on.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**_plain(on), **heavy, "CLM_DB_URL": f"sqlite:///{on.folder}/other.db",
             "CLM_MODEL_DIR": str(on.folder / "other")},
    )  # fmt: skip
    client.post("/api/clm/retrain", json={"force": True}).raise_for_status()
    busy: list[float] = []
    # Only as long as both are at it.
    while len(busy) < requests and other.poll() is None and _running(client):
        busy += latencies(client, 25)
    other.kill()
    other.wait()
    return idle, busy


def memory(
    on: Stage, service: Service, client: httpx.Client, requests: int, runs: int
) -> tuple[float, float]:
    """(at the start, after so many requests and runs): megabytes resident of the service's process."""
    process = psutil.Process(service.process.pid)
    _run(on, client)
    latencies(client, 100)
    first = process.memory_info().rss / 1e6
    for _ in range(runs):
        _run(on, client)
        latencies(client, requests // runs)
    return first, process.memory_info().rss / 1e6


def _run(on: Stage, client: httpx.Client) -> None:
    answer = client.post("/api/clm/retrain", json={"force": True, "models": ["lightgbm"]})
    answer.raise_for_status()
    with on.application() as application:
        ended(application, answer.json()["run_id"])


def _running(client: httpx.Client) -> bool:
    return bool(client.get("/api/clm/status").json()["status"] == "running")


def _plain(on: Stage) -> dict[str, str]:
    return {**os.environ, **environment(on.settings)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--sample", type=int, default=2000, help="requests of a latency measurement")
    given = parser.parse_args()
    set_up_logging("error")
    with tempfile.TemporaryDirectory() as folder:
        heavy: dict[str, Any] = {"training_preset": "accurate", "features": "advanced", "training_params": {}}
        with stage(Path(folder), training_lookback_days=90, **heavy) as on:
            service = serve(on)
            with httpx.Client(base_url=service.url, timeout=60) as client:
                idle, busy = under_training(on, client, given.sample)
            service.stop(60)
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as on:
        service = serve(on)
        with httpx.Client(base_url=service.url, timeout=60) as client:
            first, last = memory(on, service, client, given.requests, given.runs)
        service.stop(60)
    slower, growth = p(busy, 0.99) / p(idle, 0.99), last / first
    for name, taken in (("idle", idle), ("two trainings", busy)):
        p50, p99 = p(taken, 0.5), p(taken, 0.99)
        print(f"{name:<16}  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  {len(taken):,} requests")
    print(f"p99 ratio         {slower:.2f}   ≤ {_MOST_LATENCY:g}")
    print(f"memory            {first:.0f} → {last:.0f} MB: {given.requests:,} requests, {given.runs} runs")
    print(f"growth            {growth:.3f}   ≤ {_MOST_GROWTH:g}")
    return int(slower > _MOST_LATENCY or growth > _MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
