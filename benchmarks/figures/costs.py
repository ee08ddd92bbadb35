"""Figures of what things cost: each a ratio against a peer, a limit or another size of the same run.

What a benchmark module answers is taken as rows; those that only print are read by their lines. `small`
goes the whole way with next to nothing, for a test.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import growth, serving, training_peers
from benchmarks.figures import commands
from benchmarks.figures.commands import found, table
from benchmarks.result import Result

_FAMILIES = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}
_PRESETS = {"regularised": "default recipe", "accurate": "`accurate`"}
#: Weight the exchange gives an address a minute that CLM uses; of a page of candles, of its clock.
_BUDGET, _PAGE, _CLOCK = 5500, 2, 1
_A_PAGE = 1000
#: Versions of a model type whose files retention keeps.
_KEPT = 50


def by_start(results: Sequence[Result], name: str) -> Result:
    """The first whose name begins so. Raises StopIteration where there is none."""
    return next(one for one in results if one.name.startswith(name))


def newest_forecast() -> str:
    """`python -m benchmarks newest`, its ratios."""
    from benchmarks import newest

    return newest_table(newest.run())


def newest_table(results: Sequence[Result]) -> str:
    whole = by_start(results, "newest: features and forecast")
    row = {family: by_start(results, f"newest: one row, {family}") for family in ("xgboost", "lightgbm")}
    return table("| | against | ratio |", [
        ("features of the newest candle and a forecast", "pandas over 90 days and `XGBRegressor.predict`",
         _of_one(whole.ratio)),
        ("one row, XGBoost / LightGBM", "`XGBRegressor.predict` on a numpy row",
         " / ".join(f"{one.ratio:.2f}" for one in row.values())),
    ])  # fmt: skip


def _of_one(ratio: float) -> str:
    """How many times less, in two digits: what repeats."""
    times = 1 / ratio
    return f"1 / {times:.0f}" if times < 100 else f"1 / {round(times, -1):.0f}"


#: How the page calls who is asked.
_ASKED = {
    "constant route": "a constant FastAPI route",
    "plain XGBRegressor": "a plain FastAPI route around `XGBRegressor`",
    "MLServer": "MLServer", "mlflow models serve": "`mlflow models serve`", "BentoML": "BentoML",
}  # fmt: skip


def over_http(*, small: bool = False) -> str:
    """`make bench-peers`: forecasts over HTTP beside those of others; without the peers where it is small."""
    rows = serving.measured(0.05, 2) if small else serving.measured(with_peers=True)
    return over_http_table(rows)


def over_http_table(rows: Sequence[serving.Row]) -> str:
    """A forecast of one model against each of the others, and the tails of all."""
    ours = {row.name: row for row in rows if row.name.startswith("forecast")}
    shown = [(f"{name}", "", f"{row.tail:.1f}") for name, row in ours.items()]
    one = ours["forecast, one model"]
    shown += [
        (_ASKED[row.name], f"{one.times[row.name]:.2g}", f"{row.tail:.1f}")
        for row in rows
        if row.name not in ours
    ]
    return table("| | a forecast here is so many times as fast | p99 / p50 |", shown)


@cache
def beside_peers(
    rounds: int = 7, peers: Sequence[str] = ("FreqAI", "mlforecast")
) -> dict[str, training_peers.Told]:
    """`make bench-training-peers`, once for the figures that are made of it."""
    return dict(training_peers.cases(rounds, peers))


def training(cases: Mapping[str, training_peers.Told] | None = None) -> str:
    """The training call over the bare fit in it."""
    of = cases or beside_peers()
    who = list(next(iter(of.values())))
    rows = []
    for case, told in of.items():
        family, preset = case.split()
        cells = [f"{training_peers.overhead(told[one]):.2f}" for one in who]
        rows.append((f"{_FAMILIES[family]}, {_PRESETS[preset]}", *cells))
    return table(f"| the training call over the bare fit in it | {' | '.join(who)} |", rows)


def newest_candle(cases: Mapping[str, training_peers.Told] | None = None) -> str:
    """One forecast, features and all: the range over families and presets."""
    of = cases or beside_peers()
    rows = []
    for one in next(iter(of.values())):
        cells = []
        for part in ("live", "row"):
            seconds = [min(told[one][part]) for told in of.values() if part in told[one]]
            cells.append(f"{_ms(min(seconds))} to {_ms(max(seconds))} ms" if seconds else "–")
        rows.append((one, *cells))
    return table("| the newest candle | features and forecast | the row alone |", rows)


def _ms(seconds: float) -> str:
    """Milliseconds in two or three digits."""
    number = seconds * 1e3
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:.0f}"


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one series. retraining: processor seconds of two models by preset; tick, look: of the live shadow's
    and of serving's, a candle. weight: of a first year of hours, of minutes. candles: MB a year of hours, of
    minutes; files: MB of a version of each of two models.
    """

    retraining: Mapping[str, float]
    tick: float
    look: float
    weight: tuple[int, int]
    candles: tuple[float, float]
    files: float


#: A page and a clock for the live shadow, the same for serving.
_A_CANDLE = 2 * (_PAGE + _CLOCK)


@cache
def costs(*, small: bool = False) -> Costs:
    """Everything measured anew."""
    from benchmarks import cycle

    size = 2 if small else 200
    of = growth.measured_over([size])[size].seconds
    presets = ("regularised",) if small else ("regularised", "accurate")
    taken = {preset: by_start(cycle.of(preset), f"cycle: warm, {preset}").ours for preset in presets}
    days = 20 if small else 365
    hours, minutes = (_stored(days, interval) * 365 / days for interval in ("1h", "1m"))
    return Costs(
        taken, of["a tick of the live shadow"], of["serving's first look"], (_weight(8760), _weight(525_600)),
        (hours, minutes), _files(60 if small else 400),
    )  # fmt: skip


def _weight(candles: int) -> int:
    return -(-candles // _A_PAGE) * _PAGE + _CLOCK


def _stored(days: float, interval: str) -> float:
    """MB that so many days take in a store."""
    import pandas as pd

    from benchmarks.market import candles
    from clm.core.domain import Series
    from clm.market.store import CandleStore

    frame = candles(days, interval)
    with tempfile.TemporaryDirectory() as folder:
        opens = pd.DatetimeIndex(frame.index).as_unit("ms").asi8
        CandleStore(Path(folder)).write(
            Series("BTCUSDT", interval), frame, (int(opens[0]), int(opens[-1]) + 1)
        )
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6


def _files(days: float) -> float:
    from benchmarks.market import candles
    from clm.features.engineer import QuantumFeatureEngineer
    from clm.training.trainer import QuantumModelTrainer

    features, trainer = QuantumFeatureEngineer().transform(candles(days)), QuantumModelTrainer()
    return sum(len(trainer.train(model, features).to_bytes()) for model in ("xgboost", "lightgbm")) / 1e6


def series_cost(of: Costs | None = None) -> str:
    """The constants of the arithmetic."""
    of = of or costs()
    retraining = f"{of.retraining['regularised']:.1f} s"
    if "accurate" in of.retraining:
        retraining += f"; `accurate` {of.retraining['accurate']:.0f} s"
    return table("| per series | |", [
        ("processor, a retraining of two models, default recipe", retraining),
        ("processor, a candle, 200 series: live shadow and serving", f"{of.tick:.2f} s and {of.look:.2f} s"),
        ("request weight, first year of hours",
         f"{of.weight[0]}: nine pages and a clock; of minutes {of.weight[1]:,}"),
        ("request weight, a candle",
         f"{_A_CANDLE} at most: page and clock for the live shadow, the same for serving"),
        ("candles a year", f"{of.candles[0]:.2f} MB of hours, {of.candles[1]:.0f} MB of minutes"),
        ("a version's files, two models",
         f"{of.files:.2f} MB; retention keeps {_KEPT} of each: {_KEPT * of.files:.1f} MB"),
    ])  # fmt: skip


_SIZES = (50, 200, 1_000, 10_000)
#: Of a run over many series besides its fits.
_BESIDES = 1.1
_CORES, _CLUSTER = 2, 32


def series_growth(of: Costs | None = None) -> str:
    """What the constants come to."""
    of = of or costs()
    trained = of.retraining["regularised"] * _BESIDES
    each: list[tuple[str, Callable[[int], str]]] = [
        ("first history", lambda n: _took(n * of.weight[0] / _BUDGET * 60)),
        ("weight, after each candle closes", lambda n: _took(n * _A_CANDLE / _BUDGET * 60)),
        ("daily retraining of all, two cores", lambda n: _took(n * trained / _CORES)),
        ("the same, 32 cores on a cluster",
         lambda n: _took(n * trained / _CLUSTER) if n > _CLUSTER * 2 else "–"),
        ("live shadow after a candle, one process", lambda n: _took(n * of.tick)),
        ("candles and models kept", lambda n: f"{n * (of.candles[0] + _KEPT * of.files) / 1000:.2g} GB"),
    ]  # fmt: skip
    header = "| series of hours | " + " | ".join(f"{n:,}" for n in _SIZES) + " |"
    return table(header, [(name, *(cost(n) for n in _SIZES)) for name, cost in each])


def _took(seconds: float) -> str:
    """In the unit that fits, two digits."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


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
            Path(folder), candles or commands.candles(), "--symbols", "BTCUSDT", "--models", "lightgbm",
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
