"""`make bench-fanout`: a run over several series, side by side against one after the other.

Both do the same work from stored candles in a fresh registry: cycles of two models with the `accurate`
parameters. With `--dask` also on a cluster of as many workers on this machine, the documented two commands.
With `--fits` against the fits it contains, by the processor's time each took where it was done: the machine's
pace changes within minutes, and bare fits timed before or after the run were a fifth slower or quicker.
Exit code 1 when the speed-up is less than the limit, the cluster or what is not fitting takes more than its
limit, or the models are not the same.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.rehearsal import NOW
from clm import fanout
from clm.bootstrap import Application
from clm.core.plugins import model_family
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.jobs.pool import cores
from clm.settings import Settings
from clm.telemetry import set_up_logging
from clm.training import trainer

_LEAST, _DASK, _OVERHEAD = 1.85, 1.10, 0.10
#: The folder where each process notes what its fits took.
_NOTES = "CLM_BENCH_FITS"
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
        outcome = fanout.perform(application, run, lambda progress: None)
        seconds = time.perf_counter() - began
        if outcome.error:
            raise RuntimeError(outcome.error)
        registries = [application.registry.for_series(series) for series in application.series]
        champions = [registry.get_active(m) for registry in registries for m in application.models]
        return seconds, [champion.artifact_sha256 for champion in champions if champion is not None]


class _Fitting:
    """A family of trees that notes the CPU seconds of each fit."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def bins(self, *given: Any) -> Any:
        return self._noted(self._family.bins, *given)

    def train_binned(self, *given: Any) -> Any:
        return self._noted(self._family.train_binned, *given)

    def _noted(self, work: Callable[..., Any], *given: Any) -> Any:
        began = time.process_time()
        came = work(*given)
        with Path(os.environ[_NOTES], str(os.getpid())).open("a") as notes:
            notes.write(f"{time.process_time() - began}\n")
        return came


def noting(task: fanout.Task) -> fanout.Done:
    """A task whose fits are noted."""
    vars(trainer)["model_family"] = lambda name: _Fitting(model_family(name))
    return _CYCLE(task)


_CYCLE = fanout.cycle


def beside_fits(settings: Settings) -> int:
    """What a run in the local pool takes besides fitting; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_NOTES] = folder
        fanout.cycle = noting
        seconds, _ = timed(settings)
        fits = [float(line) for notes in Path(folder).iterdir() for line in notes.read_text().split()]
    overhead = seconds * cores() / sum(fits) - 1
    series = len(settings.symbols)
    print(f"{series} series × 2 models   {seconds:6.1f} s   in {cores()} processes")
    print(f"their fits            {sum(fits):6.1f} s   of the processor, where they were done")
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
    print(
        f"one after the other   {seconds['inline']:6.1f} s   {given.series} series × 2 models, preset "
        f"`{given.preset}`"
    )
    print(f"side by side          {seconds['local']:6.1f} s   {cores()} processes")
    print(f"speed-up              {speed_up:6.2f}     ≥ {_LEAST:g}")
    print(f"champions             {told}")
    return int(speed_up < _LEAST or not same)


if __name__ == "__main__":
    sys.exit(main())
