"""mlforecast's side of `benchmarks.training_peers`; runs in an environment of its own, beside `task.json`.

A series is the log returns of the same candles; features are its lags and rolling means and deviations.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb
from mlforecast import MLForecast
from mlforecast.lag_transforms import RollingMean, RollingStd

Clock = Callable[[], float]
_MODELS = {"lightgbm": lgb.LGBMRegressor, "xgboost": xgb.XGBRegressor}
_ROUNDS_OF_ONE = 30
_POOLED = 50


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text())
    candles = pd.read_csv(folder / "candles.csv", parse_dates=["date"])
    fits: dict[str, list[float]] = {family: [] for family in _MODELS}
    for family, kind in _MODELS.items():
        # What it fits is a copy of the model it was given: only the class can be asked.
        setattr(kind, "fit", _timed(kind.fit, fits[family], time.process_time))  # noqa: B010  # it is a method
    told = {name: _case(case, task, candles, fits[case["family"]]) for name, case in task["cases"].items()}
    print(json.dumps(told))


def _case(case: dict[str, Any], task: dict[str, Any], candles: pd.DataFrame, fits: list[float]) -> Any:
    windows, lags = task["windows"], task["lags"]
    # Lags and windows reach so far back.
    series = _series(candles).iloc[-task["rows"] - max(windows) - 1 :]
    model = _MODELS[case["family"]](**case["params"])
    trained = []
    fits.clear()
    for _ in range(case["rounds"]):
        forecaster = MLForecast(
            models={"model": model}, freq="h", lags=list(range(1, lags + 1)),
            lag_transforms={1: [k(window_size=w) for k in (RollingMean, RollingStd) for w in windows]},
            num_threads=1,
        )  # fmt: skip
        began = time.process_time()
        forecaster.fit(series, static_features=[])
        trained.append(time.process_time() - began)
    single = list(fits)
    hours = count(1)

    def live() -> None:
        """A new candle comes, and the next is forecast."""
        at = series["ds"].iloc[-1] + pd.Timedelta(hours=next(hours))
        forecaster.update(pd.DataFrame({"unique_id": ["BTCUSDT"], "ds": [at], "y": [0.001]}))
        forecaster.predict(1)

    own: list[float] = []
    timed = _timed(live, own, time.perf_counter)
    for _ in range(_ROUNDS_OF_ONE):
        timed()
    told = {"fit": single, "train": trained, "live": own, "features": lags + 2 * len(windows)}
    if case.get("pooled"):
        many = pd.concat([series.assign(unique_id=f"C{n:02d}USDT") for n in range(_POOLED)])
        began = time.process_time()
        forecaster.fit(many, static_features=[])
        told["pooled"] = [time.process_time() - began]
    return told


def _series(candles: pd.DataFrame) -> pd.DataFrame:
    returns = np.log(candles["close"]).diff()
    frame = pd.DataFrame({"unique_id": "BTCUSDT", "ds": candles["date"].dt.tz_localize(None), "y": returns})
    return frame.iloc[1:]


def _timed(work: Callable[..., Any], seconds: list[float], clock: Clock) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = clock()
        done = work(*args, **kwargs)
        seconds.append(clock() - began)
        return done

    return timed


if __name__ == "__main__":
    main(Path(sys.argv[1]))
