"""`make bench-fanout`: a run over several series, side by side against one after the other.

Both do the same work from stored candles in a fresh registry: cycles of two models with the `accurate`
parameters. With `--dask` also on a cluster of as many workers on this machine, the documented two commands.
With `--fits` against the bare fits it contains: those of some series, in as many processes side by side.
Exit code 1 when the speed-up is less than the limit, the cluster or what is not fitting takes more than its
limit, or the models are not the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.cycle import bare_fits
from benchmarks.rehearsal import NOW
from clm.bootstrap import Application
from clm.core.domain import Series
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.fanout import perform
from clm.jobs.pool import cores
from clm.settings import Settings
from clm.telemetry import set_up_logging

_LEAST, _DASK, _OVERHEAD = 1.85, 1.10, 0.10
#: Series whose bare fits are timed, for each process.
_FITTED = 2


#: They take a second or two to import what they need, which a cluster that stands does not.
_WORKERS_BEGIN_SECONDS = 10.0


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


def fits(settings_json: str, series: Series) -> float:
    """Seconds of the bare fits of one series, from stored candles."""
    settings = Settings.model_validate_json(settings_json)
    with Application(settings) as application:
        return bare_fits(application, series, str(settings.training_preset), NOW)[0]


def beside_fits(settings: Settings) -> int:
    """What a run in the local pool takes besides fitting; the exit code."""
    seconds, _ = timed(settings)
    series = [Series(symbol, settings.interval) for symbol in settings.symbols[: _FITTED * cores()]]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores(), mp_context=context) as pool:
        fitted = list(pool.map(fits, [settings.for_children()] * len(series), series))
    whole = sum(fitted) / len(fitted) * len(settings.symbols)
    overhead = seconds * cores() / whole - 1
    count = len(settings.symbols)
    print(f"{count} series × 2 models   {seconds:6.1f} s   in {cores()} processes")
    print(f"their bare fits       {whole:6.1f} s   reckoned from {len(series)} series, {cores()} at once")
    print(f"all that is not them  {overhead:6.1%}     ≤ {_OVERHEAD:.0%}")
    return int(overhead > _OVERHEAD)


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of a Dask scheduler with so many workers, in processes of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as stack:

        def begin(*arguments: str) -> None:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)

        begin("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        for _ in range(workers):
            begin("worker", f"tcp://127.0.0.1:{port}", *alone)
        time.sleep(_WORKERS_BEGIN_SECONDS)
        yield f"dask://127.0.0.1:{port}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=8)
    parser.add_argument("--preset", default="accurate")
    parser.add_argument("--dask", action="store_true", help="beside the local pool only")
    parser.add_argument("--fits", action="store_true", help="beside the bare fits only")
    given = parser.parse_args()
    set_up_logging("error")
    symbols = tuple(f"C{number:03d}USDT" for number in range(given.series))
    market = simulate_market(symbols, "1h", start=NOW - timedelta(days=400), end=NOW, seed=3, signal=0.04)
    seconds: dict[str, float] = {}
    made: dict[str, list[str | None]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ExchangeServer(market, ExchangeClock(NOW, speed=0)) as ex,
        cluster(cores()) if given.dask else nullcontext("inline") as other,
    ):
        for executor in ("local",) if given.fits else (other, "local"):
            own = Path(folder) / executor.partition(":")[0]
            own.mkdir()
            more: dict[str, Any] = {
                "symbols": symbols, "executor": executor, "training_preset": given.preset,
                "binance_url": ex.url, "db_url": f"sqlite:///{own}/clm.db", "model_dir": own / "models",
                "data_dir": Path(folder) / "data", "schedule": "off", "live_shadow": False,
                "log_level": "error",
            }  # fmt: skip
            settings = Settings.load(**more)
            if given.fits:
                return beside_fits(settings)
            seconds[own.name], made[own.name] = timed(settings)
    same = all(hashes == made["local"] for hashes in made.values())
    told = "the same to the last bit" if same else "NOT the same"
    if given.dask:
        ratio = seconds["dask"] / seconds["local"]
        print(f"on a Dask cluster     {seconds['dask']:6.1f} s   {given.series} series × 2 models")
        print(f"in the local pool     {seconds['local']:6.1f} s   {cores()} processes")
        print(f"ratio                 {ratio:6.2f}     ≤ {_DASK:g}")
        print(f"champions             {told}")
        return int(ratio > _DASK or not same)
    speed_up = seconds["inline"] / seconds["local"]
    print(f"one after the other   {seconds['inline']:6.1f} s   {given.series} series × 2 models")
    print(f"side by side          {seconds['local']:6.1f} s   {cores()} processes")
    print(f"speed-up              {speed_up:6.2f}     ≥ {_LEAST:g}")
    print(f"champions             {told}")
    return int(speed_up < _LEAST or not same)


if __name__ == "__main__":
    sys.exit(main())
