"""Rebuilds one registered version in a process of its own: `python -m clm.rebuild`, told on standard input.

Standard input: `{"settings": {…}, "symbol", "interval", "model_type", "version", "restore"}`. Last line of
standard output: what came of it, or `{"error": "…"}`. A fresh interpreter, as every training has: nothing is
left of whoever asks. From the settings it only takes where candles and model files are; everything else that
made the version is stored with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from clm.bootstrap import Application
from clm.core.consoles import write_otherwise
from clm.core.domain import ModelArtifact, Progress, Series
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    ClmError,
    DatabaseUnavailable,
    LeaseLost,
    PermanentError,
    StorageFailed,
)
from clm.core.protocols import TrainedModel
from clm.core.reproduce import CandleSource, Verdict, reproduce
from clm.core.runs import Run
from clm.core.wire import jsonable
from clm.cycles import CycleOutcome
from clm.features.engineer import QuantumFeatureEngineer
from clm.jobs.supervisor import ONE_THREAD
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.market.stores import candle_store
from clm.registry.sql import SQLModelRegistry
from clm.settings import Settings, environment_of_children
from clm.telemetry import set_up_logging
from clm.training.trainer import QuantumModelTrainer


def main() -> int:
    """Do what standard input says; 0 whatever came of the rebuild, 1 where it could not be tried."""
    write_otherwise()
    order = json.load(sys.stdin.buffer)
    settings = Settings(**order["settings"])
    set_up_logging(**settings.logging())
    series = Series(order["symbol"], order["interval"])
    try:
        with Application(settings, interactive=True) as application:
            told = rebuild(application, series, order["model_type"], order["version"], order["restore"])
    except ClmError as error:
        told = {"error": str(error)}
    sys.stdout.write(f"\n{json.dumps(told)}\n")
    return int("error" in told)


def in_a_process_of_its_own(settings: Settings, artifact: ModelArtifact, *, restore: bool) -> dict[str, Any]:
    """As `rebuild`, by a child. Raises PermanentError with what it said where it could not be tried."""
    order = {
        "settings": json.loads(settings.for_children()), **jsonable(artifact.series),
        "model_type": artifact.model_type, "version": artifact.version, "restore": restore,
    }  # fmt: skip
    done = subprocess.run(
        (sys.executable, "-m", "clm.rebuild"), input=json.dumps(order).encode(), stdout=subprocess.PIPE,
        env=environment_of_children(**ONE_THREAD), check=False,
    )  # fmt: skip
    try:
        told: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition(b"\n")[2])
    except ValueError:
        told = {"error": f"the process that rebuilds ended with exit code {done.returncode}"}
    if "error" in told:
        raise PermanentError(told["error"])
    return told


def rebuild(
    application: Application, series: Series, model_type: str, version: str, restore: bool = False
) -> dict[str, Any]:
    """A version made once more, here, and what came of it; its file put back where that was asked for.

    restored: True where the file is in its place now. Raises what `clm.core.reproduce.reproduce` raises.
    """
    began = time.perf_counter()
    registry = application.registry.for_series(series)
    artifact = registry.get_version(model_type, version)
    others = partial(_sources, application.settings)
    model = _model(registry, artifact)
    found = reproduce(artifact, others(series), QuantumFeatureEngineer.of, _train, model, others)
    restored = restore and found.verdict is Verdict.IDENTICAL and found.raw is not None
    if restored and found.raw is not None:
        registry.folder.claim()
        registry.upkeep.put_back(artifact, found.raw)
    return {**found.view(), "restored": restored, "seconds": round(time.perf_counter() - began, 3)}


def remake(application: Application, run: Run, progress: Callable[[Progress], None]) -> CycleOutcome:
    """What a run of the kind REPRODUCE asks for; its report is what `rebuild` answers."""
    request = run.request
    if not (request.models and request.symbols and request.intervals and request.version):
        raise BadInput("version", request.version, "the name of a version, with its model type and series")
    series, model_type = Series(request.symbols[0], request.intervals[0]), request.models[0]
    named = f"{model_type} {request.version} of {series}"
    message = f"making {named} once more from what is stored about it"
    progress(Progress(step="rebuild", message=message, done=0, total=1, model_type=model_type, series=series))
    try:
        found = rebuild(application, series, model_type, request.version)
    except (DatabaseUnavailable, LeaseLost):
        raise
    except ClmError as error:
        return CycleOutcome({}, str(error))
    message = f"{named}: {found['verdict']}"
    progress(Progress(step="done", message=message, done=1, total=1, model_type=model_type, series=series))
    return CycleOutcome(found, None)


def _train(model_type: str, rows: pd.DataFrame, params: Mapping[str, Any], seed: int) -> TrainedModel:
    return QuantumModelTrainer(seed=seed).train(model_type, rows, params)


def _model(registry: SQLModelRegistry, artifact: ModelArtifact) -> TrainedModel | None:
    try:
        return registry.load_model(artifact)
    except (ArtifactMissing, ArtifactCorrupt, StorageFailed):
        return None


def _sources(settings: Settings, series: Series) -> list[CandleSource]:
    """The store, which keeps what was read then; then the exchange's word of today.

    Whatever the store lacks it is given on the way, as by any other reader.
    """
    client = partial(
        BinanceDataClient, series.symbol, series.interval, cache_ttl=settings.cache_ttl,
        base_url=settings.binance_url, data_dir=settings.data_dir, pace=Pace.interactive(),
    )  # fmt: skip
    exchange = client(cache_enabled=False)
    if not settings.cache_enabled:
        return [("the exchange", exchange.load_training_data)]
    store, through = candle_store(settings.data_dir), client(cache_enabled=True)

    def stored(start: datetime, end: datetime) -> pd.DataFrame | None:
        step = series.step.total_seconds()
        span = (int(start.timestamp() * 1000), int(end.timestamp() // step * step * 1000))
        if store.coverage(series).missing(span):
            return through.load_training_data(start, end)
        return store.read(series, span)

    return [("the candle store", stored), ("the exchange", exchange.load_training_data)]


if __name__ == "__main__":
    sys.exit(main())
