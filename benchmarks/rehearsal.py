"""A stage to break things on: a registry, an exchange, real processes; and what must hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.asking import free_port
from clm.bootstrap import Application
from clm.core.domain import VersionStatus
from clm.core.recompute import recompute
from clm.core.runs import Run, RunRequest, RunState
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.jobs.supervisor import RunSupervisor, to_be_resumed
from clm.settings import Settings

NOW = datetime(2024, 6, 1, 0, 30, tzinfo=UTC)
_FEW = {"num_trees": 5, "min_data_in_leaf": 100}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a rehearsal plays on. settings: of every process on it."""

    folder: Path
    exchange: ExchangeServer
    settings: Settings

    @contextmanager
    def application(self) -> Iterator[Application]:
        """One more process's view of it; closed afterwards."""
        with Application(self.settings, interactive=True) as application:
            yield application


@contextmanager
def stage(folder: Path, db_url: str | None = None, **more: Any) -> Iterator[Stage]:
    """BTCUSDT by the hour with a signal, 90 days of history, small models, everything below `folder`."""
    market = simulate_market(
        ("BTCUSDT",), "1h", start=NOW - timedelta(days=120), end=NOW + timedelta(days=60), seed=3, signal=0.04
    )
    with ExchangeServer(market, ExchangeClock(NOW, speed=0)) as exchange:
        given: dict[str, Any] = {
            "binance_url": exchange.url, "db_url": db_url or f"sqlite:///{folder}/clm.db",
            "model_dir": folder / "models", "data_dir": folder / "data", "training_lookback_days": 90,
            "features": "basic", "schedule": "off", "live_shadow": False, "keep_versions": 0,
            "shutdown_grace_seconds": 0, "log_level": "error",
            "training_params": {"xgboost": _FEW, "lightgbm": _FEW},
        }  # fmt: skip
        yield Stage(folder, exchange, Settings.load(**{**given, **more}))


def killed_run(application: Application, point: str, nth: int) -> Run:
    """A forced run whose first worker kills itself there, once it has been taken up and is over."""
    worker = (sys.executable, "-m", "benchmarks.kamikaze", point, str(nth))
    supervisor = RunSupervisor(application.runs, application.settings.model_dump_json(), worker)
    run = supervisor.submit(RunRequest(force=True, requested_by="rehearsal"))
    return ended(application, run.run_id)


def points(application: Application) -> dict[str, int]:
    """How many points of each kind an undisturbed run passes."""
    run = killed_run(application, "never", 0)
    if run.state is not RunState.COMPLETED:
        raise RuntimeError(f"an undisturbed run ended as {run.state}: {run.error}")
    # The worker writes it after its last word to the database.
    file = Path(application.settings.model_dir).parent / "points.json"
    deadline = time.monotonic() + 10
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    counted: dict[str, int] = json.loads(file.read_text())
    return counted


def ended(application: Application, run_id: str, seconds: float = 120) -> Run:
    """The run once nothing more happens to it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = application.runs.get(run_id)
        if run.state.over and not to_be_resumed(run):
            return run
        time.sleep(0.02)
    raise RuntimeError(f"run {run_id} is still {run.state} after {seconds} s")


def broken_promises(application: Application, recomputed: set[int] | None = None) -> list[str]:
    """What does not hold that must hold at any moment at which nobody is at work; empty: all is well.

    recomputed: decisions that have been recomputed and need not be again; those that are now are added.
    """
    recomputed = set() if recomputed is None else recomputed
    found = [f"{f.model_type} {f.version}: {f.problem}" for f in application.registry.verify() if f.damaged]
    for series in application.series:
        registry = application.registry.for_series(series)
        for model_type in application.models:
            history = registry.get_model_history(model_type, limit=10_000)
            active = [a for a in history if a.status is VersionStatus.ACTIVE]
            if len(active) != 1:
                found.append(f"{model_type} of {series} has {len(active)} champions")
            for champion in active:
                registry.load_model(champion)
            decisions = registry.get_decisions(model_type, limit=10_000)
            made = Counter((d.candidate_version, d.label, d.decided_at) for d in decisions)
            found += [f"{key} was decided {n} times" for key, n in made.items() if n > 1]
            rises = {d.candidate_version for d in decisions if str(d.outcome) == "PROMOTE"}
            found += [
                f"{a.version} was promoted without a decision"
                for a in history
                if a.promoted_at is not None and a.version not in rises
            ]
            found += [
                f"decision {d.decision_id} does not recompute: {again.differences}"
                for d in decisions
                if d.inputs and d.decision_id not in recomputed and not (again := recompute(registry, d)).same
            ]
            recomputed |= {d.decision_id for d in decisions if d.decision_id is not None}
    found += [f"run {r.run_id} is still {r.state}" for r in application.runs.recent(500) if not r.state.over]
    return found


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables that `clm …` makes the same settings of."""
    made = {}
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(value, list):
            value = ",".join(value)
        elif not isinstance(value, str):
            value = json.dumps(value)
        if value:
            made[f"CLM_{name.upper()}"] = value
    return made


@dataclass
class Service:
    """A `clm serve` process. url: where it answers."""

    process: subprocess.Popen[bytes]
    url: str

    def kill(self) -> None:
        """SIGKILL: no farewell, no cleaning up."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, as an operator's system does; the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


def serve(on: Stage, log: Path | None = None, **more: str) -> Service:
    """A service on the stage, once it answers. more: further environment variables."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLM_")}
    with (log or Path(os.devnull)).open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "clm", "serve", "--port", str(port)], cwd=on.folder,
            env={**inherited, **environment(on.settings), **more}, stdout=out, stderr=out,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health/live")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return Service(process, url)
    process.kill()
    raise RuntimeError(f"clm serve did not come up: exit code {process.wait()}")
