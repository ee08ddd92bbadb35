"""`make bench-growth`: what one series costs where there are 1, 10, 100, 200 and 1,000 of them.

Simulated markets behind a local exchange in a process of its own; LightGBM with a few small trees, so that
what is not fitting shows. Each work is done in a fresh process: processor seconds over the number of series,
and the most memory it ever held. A machine's pace changes within minutes, by a fifth and more: each process
also tells what a fixed piece of work took it before and after, and its seconds are told at the pace of the
end; 10 are measured before and after 200. Every series has a champion, a challenger and the forecasts of
both, so that evidence is pooled over all.

Exit code 1 when a series costs more than 10 % more among 200 than among 10, or a process holds more memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.rehearsal import NOW
from clm.bootstrap import Application
from clm.core.domain import Decision, Outcome, Series, VersionStatus
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import Market
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.market.binance import BinanceDataClient
from clm.market.connections import Connections
from clm.market.pace import Pace
from clm.settings import Settings
from clm.telemetry import set_up_logging

_SIZES = (1, 10, 100, 200, 10, 1000)
_FEW, _MANY, _DRIFT = 10, 200, 1.10
_MODEL = "lightgbm"
_PAST, _FUTURE = timedelta(days=60), timedelta(days=10)
_TRAINED_AT_MOST = 200
_UNLIMITED = 10**9
#: Looks and ticks are repeated until they are so many series' worth, at most so often.
_WORTH, _REPEATED = 60, 6
_STANDBY_SECONDS = 4.0
_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Of one number of series. seconds: of processor, for one series, by what was done, over its pace.

    memory: the most a process held, in megabytes, by process.
    """

    seconds: dict[str, float]
    memory: dict[str, float]


class Clock:
    """The exchange's, moved from a process that measures."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def advance(self, hours: float) -> None:
        self._pipe.send(hours)
        self._pipe.recv()


def stocked(application: Application, clock: Clock) -> Costs:
    """Candles, champion, challenger and their forecasts for every series: trained for one, copied to all."""
    first, *others = application.series
    settings = application.settings
    for series in application.series:
        application.data_client(series).load_recent_data(settings.training_lookback_days + 25)
    for hours in (0, 24):
        clock.advance(hours)
        outcome = application.run(RunRequest(force=True, symbols=(first.symbol,)))
        if outcome.error:
            raise RuntimeError(outcome.error)
    registry = application.registry.for_series(first)
    champion, challengers = registry.get_active(_MODEL), registry.challengers(_MODEL)
    if champion is None or len(challengers) != 1:
        raise RuntimeError(f"{first}: {champion} reigns beside {len(challengers)} challengers")
    made = [
        (a, registry.load_model(a), registry.book.forecasts(_MODEL, a.version))
        for a in (champion, challengers[0])
    ]
    for series in others:
        own = application.registry.for_series(series)
        for artifact, model, forecasts in made:
            own.save_model(replace(artifact, series=series, model=model))
            own.book.record_forecasts(forecasts)
        own.promote(_MODEL, champion.version, at=champion.promoted_at)
        said = Decision(
            model_type=_MODEL, candidate_version=challengers[0].version, champion_version=champion.version,
            outcome=Outcome.CONTINUE, label="evidence", policy="evidence", reason="copied",
        )  # fmt: skip
        own.record_decision(said, VersionStatus.SHADOW)
    return {}


def running(application: Application, clock: Clock) -> Costs:
    """What a worker does: runs over all series, and, five days later, looks whether anything has drifted."""
    count = len(application.series)
    managers = [application.manager(series) for series in application.series]

    def run(force: bool) -> None:
        outcome = application.run(RunRequest(force=force))
        if outcome.error or outcome.report["failed_models"]:
            raise RuntimeError(outcome.error or str(outcome.report["failures"]))
        if force is not bool(outcome.report["models_trained"]):
            raise RuntimeError(f"asked to train: {force}; the report: {outcome.report['trigger']}")

    idle = _seconds(lambda: run(False), _times(application))
    clock.advance(1)
    trained = None
    if count <= _TRAINED_AT_MOST:
        application.run(RunRequest(force=True, symbols=(application.settings.symbols[0],)))
        trained = _seconds(lambda: run(True))
    clock.advance(5 * 24)
    # Once over all, however many: a second look knows what the first has read.
    managers[0].check_if_retrain_needed()
    clock.advance(1)
    looked = _seconds(lambda: [manager.check_if_retrain_needed() for manager in managers])
    found = {"a run, nothing due": idle / count, "a look for drift": looked / count}
    return found if trained is None else {**found, "a run that trains": trained / count}


def ticking(application: Application, clock: Clock) -> Costs:
    """What the live shadow does: a tick at each candle close."""
    shadow = application.live_shadow()

    def tick() -> None:
        done = shadow.tick()
        if done.errors:
            raise RuntimeError(str(done.errors))

    # The outcomes that were copied are another series': the first tick finds them revised.
    for _ in range(3):
        clock.advance(1)
        tick()
    seconds = 0.0
    for _ in range(_times(application)):
        clock.advance(1)
        seconds += _seconds(tick)
    return {"a tick of the live shadow": seconds / _times(application) / len(application.series)}


def serving(application: Application, clock: Clock) -> Costs:
    """What answers forecasts loads every champion, forecasts the newest candle, and stands by."""
    follower = application.forecasts.follower

    def look() -> None:
        follower.begin()
        while not follower.ready:
            time.sleep(0.01)

    seconds = _seconds(look)
    if any(not follower.snapshot(series).by_model for series in application.series):
        raise RuntimeError("a series has no forecast")
    standing_by = _seconds(lambda: time.sleep(_STANDBY_SECONDS)) / _STANDBY_SECONDS
    return {"serving's first look": seconds / len(application.series), _STANDING_BY: standing_by}


Costs = Mapping[str, float]
Work = Callable[[Application, Clock], Costs]
#: The process whose memory is told → its work, in the order in which they are done; what trains is last.
_PROCESSES: Mapping[str, Work] = {"live shadow": ticking, "serving": serving, "worker": running}
_STANDING_BY = "serving, standing by, all series"


def _times(application: Application) -> int:
    return max(1, min(_REPEATED, _WORTH // len(application.series)))


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The most memory this process has held inside; looked at every few milliseconds."""
    own, held, over = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            held[0] = max(held[0], own.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield held
    finally:
        over.set()
        watcher.join()
        held[0] = max(held[0], own.memory_info().rss)


def _child(work: Work, settings_json: str, pipe: Connection) -> None:
    """One work in a process of its own; the last thing it sends is what came of it."""
    set_up_logging("error")
    settings = Settings.model_validate_json(settings_json)
    before = _pace()
    with _peak() as held:
        # The exchange here allows any weight: what is measured is not waiting.
        connections = Connections(settings.binance_url)
        clients = {
            Series(symbol, settings.interval): BinanceDataClient(
                symbol, settings.interval, base_url=settings.binance_url, data_dir=settings.data_dir,
                pace=Pace(weight_budget=_UNLIMITED), connections=connections,
            )
            for symbol in settings.symbols
        }  # fmt: skip
        with Application(settings, clients=clients) as application:
            seconds = work(application, Clock(pipe))
    pace = (before + _pace()) / 2
    pipe.send(({name: one / pace for name, one in seconds.items()}, held[0] / _MB))


def _pace() -> float:
    """Processor seconds of what is always the same, about half of it Python's own and half numpy's."""
    began = time.process_time()
    values = np.random.default_rng(0).standard_normal(200_000)
    for _ in range(20):
        sum(number * number for number in range(100_000))
        np.cumsum(np.sort(values))
    return time.process_time() - began


def _done(work: Work, settings: Settings, exchange: ExchangeServer) -> tuple[Costs, float]:
    """`work` in a fresh process, which moves the clock; its costs, and the most memory it held, MB."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_child, args=(work, settings.for_children(), there))
    process.start()
    there.close()
    try:
        while isinstance(told := here.recv(), int | float):
            exchange.clock.advance(timedelta(hours=told))
            here.send(None)
    except EOFError:
        raise RuntimeError(f"{work.__name__} over {len(settings.symbols)} series broke down") from None
    finally:
        process.join()
    costs, memory = told
    return costs, memory


def found(size: int, market: Market, folder: Path) -> Found:
    """Every work over so many series."""
    few = {"num_trees": 5, "min_data_in_leaf": 50}
    with ExchangeServer(market, ExchangeClock(NOW, speed=0), weight_limit=_UNLIMITED) as exchange:
        given: dict[str, Any] = {
            "symbols": market.symbols()[:size], "models": (_MODEL,), "binance_url": exchange.url,
            "db_url": f"sqlite:///{folder}/clm.db", "model_dir": folder / "models",
            "data_dir": folder / "data", "training_lookback_days": 30, "holdout_days": 10,
            "training_params": {_MODEL: few}, "schedule": "off", "live_shadow": False, "log_level": "error",
        }  # fmt: skip
        settings = Settings.load(**given)
        _done(stocked, settings, exchange)
        seconds: dict[str, float] = {}
        memory: dict[str, float] = {}
        for name, work in _PROCESSES.items():
            costs, memory[name] = _done(work, settings, exchange)
            seconds |= costs
        return Found(seconds, memory)


def mean(several: Sequence[Found], pace: float) -> Found:
    """Of the same number of series, measured several times; in seconds at that pace."""

    def of(costs: Sequence[Costs]) -> dict[str, float]:
        return {name: sum(cost[name] for cost in costs) / len(costs) for name in costs[0]}

    seconds = {name: cost * pace for name, cost in of([one.seconds for one in several]).items()}
    return Found(seconds, of([one.memory for one in several]))


def told(sizes: Mapping[int, Found]) -> bool:
    """Prints the tables; whether a limit was missed."""
    missed = False
    tables: Mapping[str, dict[int, dict[str, float]]] = {
        "processor time for one series, ms": {
            size: {name: seconds * 1e3 for name, seconds in f.seconds.items()} for size, f in sizes.items()
        },
        "the most memory a process held, MB": {size: f.memory for size, f in sizes.items()},
    }
    for title, columns in tables.items():
        print(f"\n{title:<38}" + "".join(f"{size:>9,}" for size in columns) + f"{f'{_MANY} ÷ {_FEW}':>11}")
        for name in dict.fromkeys(name for column in columns.values() for name in column):
            shown = "".join(f"{c[name]:>9.1f}" if name in c else f"{'':>9}" for c in columns.values())
            drift = ""
            if name != _STANDING_BY and all(name in columns.get(size, {}) for size in (_FEW, _MANY)):
                ratio = columns[_MANY][name] / columns[_FEW][name]
                drift = f"{ratio:>11.3f}{'  MISSED' if ratio > _DRIFT else ''}"
                missed |= ratio > _DRIFT
            print(f"{name:<38}{shown}{drift}")
    print(f"\nmust be: {_MANY} ÷ {_FEW} ≤ {_DRIFT:g}")
    return missed


def plot(sizes: Mapping[int, Found], file: Path) -> None:
    """Cost against the number of series, as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    times, memory = figure.subplots(1, 2)
    lines = [(times, {size: f.seconds for size, f in sizes.items()}, 1e3)]
    lines += [(memory, {size: f.memory for size, f in sizes.items()}, 1.0)]
    for axes, columns, unit in lines:
        for name in dict.fromkeys(name for column in columns.values() for name in column):
            points = [(size, column[name] * unit) for size, column in columns.items() if name in column]
            if name != _STANDING_BY:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set(xscale="log", xlabel="series")
        axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    times.set_yscale("log")
    # Room below the lines for their names.
    times.set_ylim(bottom=0.6)
    memory.set_ylim(bottom=0)
    times.set_title("processor time for one series (ms)", fontsize=10)
    memory.set_title("the most memory a process held (MB)", fontsize=10)
    figure.savefig(file, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", default=",".join(map(str, _SIZES)), help="numbers of series, in that order"
    )
    parser.add_argument("--plot", type=Path, help="also draw it into this PNG file")
    given = parser.parse_args(arguments)
    on_average = measured_over([int(size) for size in given.sizes.split(",")])
    missed = told(on_average)
    if given.plot is not None:
        plot(on_average, given.plot)
    return int(missed)


def measured_over(sizes: Sequence[int] = _SIZES) -> dict[int, Found]:
    """Every work over so many series, in that order; of a size that comes twice the mean."""
    set_up_logging("error")
    symbols = tuple(f"C{number:04d}USDT" for number in range(max(sizes)))
    market = simulate_market(symbols, "1h", start=NOW - _PAST, end=NOW + _FUTURE, seed=3, signal=0.04)
    measured: dict[int, list[Found]] = {size: [] for size in sorted(sizes)}
    for size in sizes:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            measured[size].append(found(size, market, Path(folder)))
        print(f"{size:,} series: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    pace = _pace()
    return {size: mean(several, pace) for size, several in measured.items()}


if __name__ == "__main__":
    sys.exit(main())
