"""Figures of many series: row by row by the command that each names.

What a benchmark module answers is taken as rows; those that only print are read by their lines. `small`
goes the whole way with next to nothing, for a test.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.figures import commands
from benchmarks.figures.commands import found, table
from benchmarks.figures.costs import by_start
from benchmarks.result import Result

Cells = tuple[str, str, str, str]


def many_series(*, small: bool = False) -> str:
    """Row by row by the command that each names."""
    rows = [
        make(small)
        for make in (_fanned_out, _beside_fits, *_CYCLES, daily, _dashboards, _features, *_FETCHED)
    ]
    return table("| what | here | must be | command |", rows)


def _fanned_out(small: bool) -> Cells:
    more = ("--series", "2", "--preset", "fast") if small else ()
    return fanned_out(commands.bench("fanout", *more))


def fanned_out(output: str) -> Cells:
    series, preset = found(output, r"(\d+) series × 2 models(?:, preset `(\w+)`)?")
    (processes,), (ratio, least) = (
        found(output, r"(\d+) processes"),
        found(output, r"^speed-up +([\d.]+) +≥ ([\d.]+)"),
    )
    (same,) = found(output, r"^champions +(.+)$")
    return (
        f"a run over {series} series × 2 models, preset `{preset or 'accurate'}`",
        f"{ratio} times as fast on {processes} processes as one after the other; the models {same}",
        f"{least} times", "`make bench-fanout`",
    )  # fmt: skip


def _beside_fits(small: bool) -> Cells:
    return beside_fits(commands.bench("fanout", "--fits", "--series", "2" if small else "50"))


def beside_fits(output: str) -> Cells:
    series, processes = found(output, r"^(\d+) series × 2 models .* in (\d+) processes")
    share, most = found(output, r"^all that is not them +([\d.-]+)% +≤ ([\d.]+)%")
    return (
        f"a run over {series} series × 2 models, preset `accurate`, in the local pool of {processes}",
        f"{share} % besides its fits, by the processor's time", f"at most {most} %",
        f"`python -m benchmarks.fanout --fits --series {series}`",
    )  # fmt: skip


@cache
def _cycles(small: bool) -> list[Result]:
    from benchmarks import cycle

    return cycle.of("regularised") if small else cycle.run()


def _accurate(small: bool) -> Cells:
    return accurate(_cycles(small), "regularised" if small else "accurate")


def accurate(results: Sequence[Result], preset: str = "accurate") -> Cells:
    whole = by_start(results, f"cycle: warm, {preset}")
    (busy,) = found(whole.note, r"by CPU time ([\d.]+)")
    return (
        f"a warm cycle, preset `{preset}`",
        f"{whole.ratio:.2f} × the six bare fits it contains, {float(busy):.2f} by the processor's time",
        "at most 1.10", "`python -m benchmarks cycle`",
    )  # fmt: skip


def _default(small: bool) -> Cells:
    return default(_cycles(small))


def default(results: Sequence[Result]) -> Cells:
    whole = by_start(results, "cycle: warm, regularised")
    after = results[results.index(whole) + 1 :]
    steps = {}
    for one in after:
        if not one.name.startswith("  "):
            break
        steps[one.name.strip()] = one.ours / whole.ours
    besides = 1 - steps.pop("fits")
    largest = sorted(steps.items(), key=lambda step: -step[1])[:3]
    named = ", ".join(f"{name.replace(', profile', ' and profile')} {share:.0%}" for name, share in largest)
    return (
        "a warm cycle, default recipe", f"{besides:.0%} of it besides the fits: {named}".replace("%", " %"),
        "–", "`python -m benchmarks cycle`",
    )  # fmt: skip


_CYCLES = (_accurate, _default)


def daily(small: bool, candles: Path | None = None) -> Cells:
    """Steps of a day, LightGBM, one series; every decision decided again."""
    from clm.bootstrap import Application
    from clm.core.recompute import recompute
    from clm.settings import Settings

    start, end = ("2024-11-14", "2024-11-18") if small else ("2023-01-01", "2024-12-31")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        commands.replay(
            Path(folder), candles, "--symbols", "BTCUSDT", "--models", "lightgbm",
            "--policies", "evidence", "--step-days", "1", "--start", start, "--end", end,
            CLM_RETRAIN_INTERVAL_DAYS="1",
        )  # fmt: skip
        seconds = time.monotonic() - began
        own = Path(folder) / "evidence-BTCUSDT"
        settings = Settings.load(
            db_url=f"sqlite:///{own}/clm.db", model_dir=own / "models", data_dir=own / "data"
        )
        with Application(settings) as application:
            registry = application.registry.for_series(application.series[0])
            every = [recompute(registry, made) for made in registry.get_decisions("lightgbm", limit=100_000)]
    # What only follows from another decision, such as that a challenger was superseded, computes nothing.
    again = [one for one in every if one.again is not None]
    same = sum(one.same for one in again)
    days = 4 if small else 730
    return (
        f"{days} daily steps of `clm replay`, one series, LightGBM, policy `evidence`",
        f"{seconds / 600:.1f} × ten minutes; {same} of {len(again)} decisions come out the same when "
        "decided again",
        "1 ×; all",
        "`CLM_RETRAIN_INTERVAL_DAYS=1 clm replay --candles FOLDER --symbols BTCUSDT --models lightgbm "
        f"--policies evidence --step-days 1 --start {start} --end {end}`",
    )  # fmt: skip


def _dashboards(small: bool) -> Cells:
    more = ("--series", "12", "--dashboards", "2", "--rounds", "1", "--sample", "50") if small else ()
    return dashboards(commands.bench("dashboards", *more), "12" if small else "200")


def dashboards(output: str, series: str = "200") -> Cells:
    (opened,) = found(output, r"^(\d+) open")
    ratio, most = found(output, r"^p99 ratio +([\d.]+) +≤ ([\d.]+)")
    page, within = found(output, r"^a page +([\d.]+) s +≤ ([\d.]+)")
    told = f"p99 of the API {ratio} times that while none is open; a page of twelve series {page} s"
    if re.search(r"^readable", output, re.MULTILINE):
        (readable,), (task,) = (
            found(output, r"^readable +([\d.]+) s"),
            found(output, r"^busy at once +([\d.]+) s"),
        )
        told += f", any page readable in a browser after {readable} s, its longest task {task} s"
    return (
        f"{opened} open dashboards, {series} series",
        told,
        f"{most} times; {within} s",
        "`make bench-dashboards`",
    )


def _features(small: bool) -> Cells:
    from benchmarks import features

    return million([features.run(250, 20_000)] if small else [features.run() for _ in range(3)])


def million(runs: Sequence[Sequence[Result]]) -> Cells:
    times = [1 / by_start(results, "features: a million").ratio for results in runs]
    whole = by_start(runs[-1], "features: the same, whole")
    rows, columns = found(whole.note, r"^([\d,]+) candles × (\d+) features")
    (memory,) = found(whole.note, r"grows by ([\d.]+) times")
    return (
        f"{rows} candles × {columns} features",
        f"{min(times):.1f} to {max(times):.1f} times as fast as pandas; memory grows by {memory} times "
        "the matrix",
        "–",
        "`python -m benchmarks features`",
    )  # fmt: skip


def _fetched(small: bool) -> Cells:
    return fetched(commands.bench("fetching", *(("--candles", "3000") if small else ())))


def fetched(output: str) -> Cells:
    (many,), (refused,) = (
        found(output, r"([\d,]+) candles, best of"),
        found(output, r"^answers with 429 +(\d+)"),
    )
    times = {
        who: found(output, rf"^{who} +[\d.]+ s +([\d.]+) times ours, ≥ ([\d.]+)")
        for who in ("python-binance", "ccxt")
    }
    return (
        f"{many} one-minute candles, 50 ms away, validated and stored",
        f"{times['python-binance'][0]} times as fast as python-binance's `get_historical_klines`, "
        f"{times['ccxt'][0]} times as "
        f"ccxt's loop; {refused} answers with 429",
        f"{times['python-binance'][1]} and {times['ccxt'][1]} times; 0", "`make bench-fetch`",
    )  # fmt: skip


def _sustained(limit: int) -> Callable[[bool], Cells]:
    def make(small: bool) -> Cells:
        weight = limit // 25 if small else limit
        return sustained(commands.bench("fetching", "--sustained", "--weight-limit", str(weight)), weight)

    return make


def sustained(output: str, limit: int) -> Cells:
    share, least = found(output, r"a minute, ([\d.]+)% of [\d,]+, ≥ (\d+)%")
    (refused,) = found(output, r"^answers with 429 +(\d+)")
    return (
        f"ten symbols fetched by two processes for two minutes, weight limit {limit:,}",
        f"{share} % of the limit; {refused} answers with 429", f"{least} %; 0",
        f"`python -m benchmarks.fetching --sustained --weight-limit {limit}`",
    )  # fmt: skip


_FETCHED = (_fetched, _sustained(3000), _sustained(6000))
