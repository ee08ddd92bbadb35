"""Figures of what things cost: each a ratio against a peer, a limit or another size of the same run.

`small` goes the whole way with next to nothing, for a test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import growth, serving, training_peers
from benchmarks.figures.commands import table
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
