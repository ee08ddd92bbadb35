"""One warm cycle of one series against the bare fits it contains, and what each of its steps takes.

Cycles and bare fits take turns, and of each the quickest counts. The steps are timed where the manager calls
its parts, each of which is handed to it in a wrapping that looks at the clock.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmarks.market import NOW, market
from benchmarks.result import Result
from clm.bootstrap import Application
from clm.core.certificate import shuffled_labels
from clm.core.domain import TARGET, Series
from clm.core.manager import ContinuousLearningManager
from clm.core.plugins import model_family
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.settings import Settings
from clm.shadow.tester import QuantumShadowTester

_MODELS = ("xgboost", "lightgbm")
#: The accurate preset takes half a minute a round.
_ROUNDS = {"regularised": 5, "accurate": 2}
_FITS, _REST = "fits", "certificate, fingerprints, profile"


def run() -> list[Result]:
    return [result for preset in _ROUNDS for result in of(preset)]


def of(preset: str) -> list[Result]:
    with (
        ExchangeServer(market(400), ExchangeClock(NOW, speed=0)) as exchange,
        tempfile.TemporaryDirectory() as folder,
    ):
        root = Path(folder)
        settings = Settings.load(
            binance_url=exchange.url, db_url=f"sqlite:///{root}/clm.db", model_dir=root / "models",
            data_dir=root / "data", training_preset=preset, models=_MODELS,
        )  # fmt: skip
        with Application(settings) as application:
            watch = Watch()
            manager = _watched(application, watch)
            manager.run_full_cycle(force=True)
            cycles, fits = [], []
            for _ in range(_ROUNDS[preset]):
                watch.clear()
                taken = seconds(lambda: _complete(manager))
                noted = watch.total()
                watch.add(_REST, taken[0] - noted[0], taken[1] - noted[1])
                cycles.append({**watch.taken, "": taken})
                fits.append(bare_fits(application, application.series[0], preset, NOW))
    (wall, cpu), (bare_wall, bare_cpu) = (
        (min(each[0] for each in many), min(each[1] for each in many))
        for many in ([each[""] for each in cycles], fits)
    )
    quickest = min(cycles, key=lambda each: each[""][1])
    rest = [quickest[""][k] - quickest[_FITS][k] for k in (0, 1)]
    note = (
        f"both models, 365 days of hours; {rest[0]:.2f} s besides the fits; "
        f"by CPU time {cpu / bare_cpu:.3f}, {rest[1]:.2f} s besides"
    )
    whole = quickest.pop("")
    steps = [
        Result(f"  {step}", "the whole cycle", taken, whole[0], f"{busy:.3f} s of CPU time")
        for step, (taken, busy) in sorted(quickest.items(), key=lambda each: -each[1][1])
    ]
    return [Result(f"cycle: warm, {preset}", "its six fits, each alone", wall, bare_wall, note), *steps]


def _complete(manager: ContinuousLearningManager) -> None:
    report = manager.run_full_cycle(force=True)
    if report.failed_models:
        raise SystemExit(str(report.failures))


def bare_fits(application: Application, series: Series, preset: str, now: datetime) -> tuple[float, float]:
    """Seconds and CPU seconds, per model: before the holdout, the same shuffled, once more."""
    manager = application.manager(series)
    timeline = manager.timeline_rule.at(now, series.step)
    warmup = (application.feature_engineer.warmup + 1) * series.step
    client = application.data_client(series)
    candles = client.load_training_data(timeline.fit.start - warmup, timeline.now)
    features = application.feature_engineer.transform(candles)
    fit, refit = (window.rows(features, series.step) for window in (timeline.fit, timeline.refit))
    frames = (fit, shuffled_labels(fit, seed=len(fit)), refit)
    assert all(np.isfinite(frame[TARGET]).all() for frame in frames)
    every = [
        seconds(lambda name=name, frame=frame: model_family(name).train(frame, {"preset": preset}, 0))  # type: ignore[misc]
        for name in _MODELS
        for frame in frames
    ]
    return sum(wall for wall, _ in every), sum(cpu for _, cpu in every)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(by the clock, of the processor)."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - busy


class Watch:
    """Seconds by the clock and of the processor, by step."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[float, float]] = {}

    def add(self, step: str, wall: float, cpu: float) -> None:
        before = self.taken.get(step, (0.0, 0.0))
        self.taken[step] = before[0] + wall, before[1] + cpu

    def total(self) -> tuple[float, float]:
        return sum(wall for wall, _ in self.taken.values()), sum(cpu for _, cpu in self.taken.values())

    def clear(self) -> None:
        self.taken.clear()


def _watched(application: Application, watch: Watch) -> ContinuousLearningManager:
    """A manager like the application's whose parts note what they take."""
    series = application.series[0]
    client, features = application.data_client(series), application.feature_engineer

    def parts_of(given: Any) -> Any:
        registry = _Watched(given, watch, {"save_model": "saving", "load_model": "reading back"}, "registry")
        registry.book = _Watched(given.book, watch, {}, "evidence")
        registry.for_series = lambda other: parts_of(given.for_series(other))
        return registry

    def transforming(candles: pd.DataFrame) -> str:
        return "features" if len(candles) > 2 * features.warmup else "truncation check"

    return ContinuousLearningManager(
        data_client=cast(Any, _Watched(client, watch, {}, "candles")),
        feature_engineer=cast(Any, _Watched(features, watch, {"transform": transforming}, "features")),
        model_trainer=cast(Any, _Watched(application.trainer, watch, {}, _FITS)),
        model_evaluator=cast(Any, _Watched(QuantumModelEvaluator(features), watch, {}, "holdout")),
        shadow_tester=cast(Any, _Watched(QuantumShadowTester(client, features), watch, {}, "shadow")),
        model_registry=parts_of(application.registry),
        models=_MODELS,
    )


class _Watched:
    """A part whose calls are timed. steps: of some methods, by name or by what they are given."""

    series: Series
    book: Any
    for_series: Any

    def __init__(
        self, part: object, watch: Watch, steps: Mapping[str, str | Callable[..., str]], otherwise: str
    ) -> None:
        for name in (name for name in dir(part) if not name.startswith("_")):
            value = getattr(part, name)
            timed = _timed(value, watch, steps.get(name, otherwise)) if callable(value) else value
            setattr(self, name, timed)


def _timed(call: Callable[..., Any], watch: Watch, step: str | Callable[..., str]) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        began, busy = time.perf_counter(), time.process_time()
        try:
            return call(*given, **named)
        finally:
            now = time.perf_counter() - began, time.process_time() - busy
            watch.add(step if isinstance(step, str) else step(*given), *now)

    return timed
