"""One warm cycle's wall time against the bare fits it contains."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.market import NOW, market
from benchmarks.result import Result
from clm.bootstrap import Application
from clm.core.certificate import shuffled_labels
from clm.core.domain import TARGET
from clm.core.plugins import model_family
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.settings import Settings

_MODELS = ("xgboost", "lightgbm")
#: The accurate preset takes half a minute a round.
_ROUNDS = {"regularised": 3, "accurate": 1}


def run() -> list[Result]:
    return [_cycle(preset) for preset in _ROUNDS]


def _cycle(preset: str) -> Result:
    with ExchangeServer(market(400), ExchangeClock(NOW, speed=0)) as exchange:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            settings = Settings.load(
                binance_url=exchange.url, db_url=f"sqlite:///{root}/clm.db", model_dir=root / "models",
                data_dir=root / "data", training_preset=preset, models=_MODELS,
            )  # fmt: skip
            with Application(settings) as application:
                application.run(RunRequest(force=True))
                cycle = fits = float("inf")
                for _ in range(_ROUNDS[preset]):
                    began = time.perf_counter()
                    outcome = application.run(RunRequest(force=True))
                    cycle = min(cycle, time.perf_counter() - began)
                    fits = min(fits, _bare_fits(application, preset))
                if outcome.error is not None:
                    raise SystemExit(outcome.error)
    note = f"both models, 365 days of hours; {cycle - fits:.2f} s besides the fits"
    return Result(f"cycle: warm, preset {preset}", "its six bare fits", cycle, fits, note)


def _bare_fits(application: Application, preset: str) -> float:
    """Seconds of the library calls alone, per model: before the holdout, the same shuffled, once more."""
    manager = application.manager()
    timeline = manager.timeline_rule.at(NOW, manager.series.step)
    warmup = (application.feature_engineer.warmup + 1) * manager.series.step
    client = application.data_client(manager.series)
    candles = client.load_training_data(timeline.fit.start - warmup, timeline.now)
    features = application.feature_engineer.transform(candles)
    fit, refit = (window.rows(features, manager.series.step) for window in (timeline.fit, timeline.refit))
    frames = (fit, shuffled_labels(fit, seed=len(fit)), refit)
    return sum(_seconds(name, frame, preset) for name in _MODELS for frame in frames)


def _seconds(name: str, frame: pd.DataFrame, preset: str) -> float:
    family = model_family(name)
    assert np.isfinite(frame[TARGET]).all()
    began = time.perf_counter()
    family.train(frame, {"preset": preset}, 0)
    return time.perf_counter() - began
