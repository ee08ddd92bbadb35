"""False alarms and delays of the drift triggers, looked at daily with the default features.

    make bench-triggers

Stationary: a year in which nothing changes; every alarm is false, and retrains. Breaks: volatility doubles,
or the signal turns its sign, 60 days after the training; the delay is counted from there. Exit code 1 when
there is more than one false alarm a month, or a median delay above 7 days.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.manager import ContinuousLearningManager
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.exchange.simulate import simulate_market
from clm.features.engineer import QuantumFeatureEngineer
from clm.registry.sql import SQLModelRegistry
from clm.replay.client import AsOfClient
from clm.shadow.tester import QuantumShadowTester
from clm.training.trainer import QuantumModelTrainer

_SERIES = Series("BTCUSDT", "1h")
_TRAINED = datetime(2024, 1, 1, tzinfo=UTC)
_BREAK = _TRAINED + timedelta(days=60)
_DAY = timedelta(days=1)
#: Attainable R² of the simulated signal: one that can be missed when it goes.
SIGNAL = 0.05
_LONGEST_DELAY = 60


def candles(seed: int, kind: str) -> pd.DataFrame:
    """Two years of one market; `kind`: stationary, volatility or signal."""
    changes = (_BREAK,) if kind == "signal" else ()
    market = simulate_market(
        ("BTCUSDT",), "1h", start=_TRAINED - 380 * _DAY, end=_TRAINED + 370 * _DAY, seed=seed, signal=SIGNAL,
        regime_changes=changes,
    )  # fmt: skip
    tape = market.tapes["BTCUSDT"]["1h"]
    index = pd.DatetimeIndex(tape.opens.astype("datetime64[ms]"), name="open_time").tz_localize("UTC")
    frame = pd.DataFrame({name: tape.columns[name] for name in CANDLE_COLUMNS}, index=index)
    frame = frame.assign(trades=frame["trades"].astype("int64"))
    return _louder(frame) if kind == "volatility" else frame


def _louder(frame: pd.DataFrame) -> pd.DataFrame:
    """Every log return after the break doubled, the candles' shapes with it."""
    closes = np.log(frame["close"].to_numpy())
    factor = np.where(frame.index >= pd.Timestamp(_BREAK), 2.0, 1.0)
    moved = np.concatenate(([closes[0]], closes[0] + np.cumsum(np.diff(closes) * factor[1:])))
    columns = {
        name: np.exp(moved + (np.log(frame[name].to_numpy()) - closes) * factor)
        for name in ("open", "high", "low")
    }
    return frame.assign(**columns, close=np.exp(moved))


def manager_of(client: AsOfClient, folder: str) -> ContinuousLearningManager:
    """Only drift triggers: the next slot by time is years away."""
    features = QuantumFeatureEngineer()
    return ContinuousLearningManager(
        client, features, QuantumModelTrainer(), QuantumModelEvaluator(features),
        QuantumShadowTester(client, features),
        SQLModelRegistry(f"sqlite:///{folder}/clm.db", Path(folder) / "models", series=_SERIES),
        retrain_interval_days=9_999, models=("lightgbm",),
    )  # fmt: skip


def watch(job: tuple[int, str]) -> tuple[str, list[str], float | None]:
    """(kind, alarms, days from the break to the first alarm after it)."""
    seed, kind = job
    client = AsOfClient(_SERIES, candles(seed, kind), _TRAINED)
    with tempfile.TemporaryDirectory() as folder:
        manager = manager_of(client, folder)
        manager.run_full_cycle()
        alarms: list[str] = []
        end = _TRAINED + 365 * _DAY if kind == "stationary" else _BREAK + _LONGEST_DELAY * _DAY
        while client.now < end:
            client.now += _DAY
            reason = manager.check_if_retrain_needed()["lightgbm"]
            if reason is None:
                continue
            if kind != "stationary" and client.now > _BREAK:
                return kind, [reason], (client.now - _BREAK) / _DAY
            alarms.append(f"{client.now:%Y-%m-%d} {reason}")
            manager.run_full_cycle(force=True)
        return kind, alarms, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=4, help="stationary years")
    parser.add_argument("--breaks", type=int, default=8, help="markets per kind of break")
    given = parser.parse_args()
    began = time.monotonic()
    jobs = [(seed, "stationary") for seed in range(given.years)]
    jobs += [(100 + seed, kind) for kind in ("volatility", "signal") for seed in range(given.breaks)]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(watch, jobs))
    alarms = [alarm for kind, some, _ in found if kind == "stationary" for alarm in some]
    for alarm in alarms:
        print(f"  false: {alarm}")
    monthly = len(alarms) / (12 * given.years)
    missed = monthly > 1
    print(f"{'false alarms a month, stationary year':<44} {monthly:>6.2f}   ≤ 1")
    for kind in ("volatility", "signal"):
        some = [(reasons, delay) for k, reasons, delay in found if k == kind]
        delays = [delay if delay is not None else float("inf") for _, delay in some]
        print(f"{f'median days until noticed, {kind} break':<44} {np.median(delays):>6.1f}   ≤ 7   {delays}")
        print(f"  by: {', '.join(sorted({r[0].split(':')[0] for r, d in some if r and d is not None}))}")
        missed = missed or bool(np.median(delays) > 7)
    print(f"{time.monotonic() - began:.0f} s; {'MISSED' if missed else 'nothing missed'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
