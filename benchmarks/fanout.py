"""`make bench-fanout`: a run over several series, side by side against one after the other.

Both do the same work from stored candles in a fresh registry: cycles of two models with the `accurate`
parameters. Exit code 1 when the speed-up is less than the limit, or the models are not the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.rehearsal import NOW
from clm.bootstrap import Application
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.fanout import perform
from clm.jobs.pool import cores
from clm.settings import Settings
from clm.telemetry import set_up_logging

_LEAST = 1.85


def timed(settings: Settings) -> tuple[float, list[str | None]]:
    """(seconds of a forced run over all series, hashes of the champions)."""
    with Application(settings) as application:
        for series in application.series:
            application.data_client(series).load_recent_data(settings.training_lookback_days + 10)
        run = application.runs.create(RunRequest(force=True))
        run = application.runs.start(run.run_id, "benchmark:1")
        began = time.perf_counter()
        outcome = perform(application, run, lambda progress: None)
        seconds = time.perf_counter() - began
        if outcome.error:
            raise RuntimeError(outcome.error)
        registries = [application.registry.for_series(series) for series in application.series]
        champions = [registry.get_active(m) for registry in registries for m in application.models]
        return seconds, [champion.artifact_sha256 for champion in champions if champion is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=8)
    parser.add_argument("--preset", default="accurate")
    given = parser.parse_args()
    set_up_logging("error")
    symbols = tuple(f"C{number:03d}USDT" for number in range(given.series))
    market = simulate_market(symbols, "1h", start=NOW - timedelta(days=400), end=NOW, seed=3, signal=0.04)
    seconds: dict[str, float] = {}
    made: dict[str, list[str | None]] = {}
    with tempfile.TemporaryDirectory() as folder, ExchangeServer(market, ExchangeClock(NOW, speed=0)) as ex:
        for executor in ("inline", "local"):
            own = Path(folder) / executor
            own.mkdir()
            more: dict[str, Any] = {
                "symbols": symbols, "executor": executor, "training_preset": given.preset,
                "binance_url": ex.url, "db_url": f"sqlite:///{own}/clm.db", "model_dir": own / "models",
                "data_dir": Path(folder) / "data", "schedule": "off", "live_shadow": False,
                "log_level": "error",
            }  # fmt: skip
            seconds[executor], made[executor] = timed(Settings.load(**more))
    speed_up = seconds["inline"] / seconds["local"]
    print(f"one after the other   {seconds['inline']:6.1f} s   {given.series} series × 2 models")
    print(f"side by side          {seconds['local']:6.1f} s   {cores()} processes")
    print(f"speed-up              {speed_up:6.2f}     ≥ {_LEAST:g}")
    same = made["inline"] == made["local"]
    print(f"champions             {'the same to the last bit' if same else 'NOT the same'}")
    return int(speed_up < _LEAST or not same)


if __name__ == "__main__":
    sys.exit(main())
