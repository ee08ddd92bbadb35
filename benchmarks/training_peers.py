"""`make bench-training-peers`: training and forecasting beside FreqAI and mlforecast.

The same candles, as many features, as many rows, the same trees with the same parameters on one thread; each
peer is installed on its own.

* Training: the whole call, feature frame → model (mlforecast: series → model), over the bare fit inside it;
  processor seconds, the median over paired rounds. Ours must be no larger.
* One forecast of the newest candle, features and all, and where the peer can without them; the best of many.
  Ours must be 10 times as fast.

For information: promotions on noise, where FreqAI has every retrained model answer. Exit code 1 when a limit
is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

from benchmarks import promotion
from benchmarks.market import candles
from benchmarks.peers import environment_with
from clm.core.domain import TARGET
from clm.core.plugins import model_family
from clm.features.engineer import QuantumFeatureEngineer
from clm.features.newest import Window, newest_row
from clm.telemetry import set_up_logging
from clm.training.boosting import ROWS_PER_BIN, LightGBMFamily, XGBoostFamily
from clm.training.scaling import feature_matrix, training_target
from clm.training.trainer import QuantumModelTrainer

_DAYS, _ROWS = 400, 8_000
#: Nine indicators of FreqAI's example at each of so many periods, and five besides.
_PERIODS = list(range(8, 128, 8))
_FEATURES = 9 * len(_PERIODS) + 5
_LAGS, _WINDOWS = 70, list(range(4, 144, 4))
_FASTER = 10.0
#: By so much do paired rounds differ that do the same.
_NOISE = 0.01
_ONE = 200
#: Trainings that take many seconds are repeated so often only.
_ROUNDS, _LONG_ROUNDS = 7, 4
_NEEDS = {
    "FreqAI": ("freqtrade[freqai]",),
    "mlforecast": ("mlforecast", "lightgbm", "xgboost-cpu", "scikit-learn"),
}
_SIDES = {"FreqAI": "freqai_side.py", "mlforecast": "mlforecast_side.py"}
_CASES = tuple(
    (family, preset) for preset in ("regularised", "accurate") for family in ("lightgbm", "xgboost")
)
#: Seconds by what was timed, and counts.
Timings = Mapping[str, Any]
#: The same by who did it.
Told = Mapping[str, Timings]


def ours(frame: pd.DataFrame, family: str, preset: str, rounds: int) -> dict[str, Any]:
    """The same as a peer's side tells. frame: candles."""
    engineer = QuantumFeatureEngineer()
    features = engineer.transform(frame)
    names = [name for name in features.columns if name != TARGET][:_FEATURES]
    rows = features.loc[features[TARGET].notna(), [*names, TARGET]].iloc[-_ROWS:]
    bare, trained = [_bare(rows, family, preset)], []
    for _ in range(rounds):
        # A new one each time: nothing of the training before is to help.
        trainer, began = QuantumModelTrainer(), time.process_time()
        model: Any = trainer.train(family, rows, {"preset": preset})
        trained.append(time.process_time() - began)
        bare.append(_bare(rows, family, preset))
    # A peer's fit is timed inside its training, ours beside it, before and after: the machine's pace changes.
    fits = [(before + after) / 2 for before, after in pairwise(bare)]
    window = Window.of(frame, engineer.warmup + 1)
    catalogue = engineer.catalogue[:_FEATURES]
    row = newest_row(catalogue, window)
    return {
        "fit": fits, "train": trained, "features": len(names), "rows": len(rows),
        "row": _each(lambda: model.predict_row(row)),
        "live": _each(lambda: model.predict_row(newest_row(catalogue, window))),
    }  # fmt: skip


def _bare(rows: pd.DataFrame, family: str, preset: str) -> float:
    """Seconds of the library's own calls on arrays that are ready."""
    found = model_family(family)
    assert isinstance(found, LightGBMFamily | XGBoostFamily)
    knobs = found.table.resolve({"preset": preset})
    names = [name for name in rows.columns if name != TARGET]
    matrix, label = feature_matrix(rows, names), training_target(rows, knobs)
    began = time.process_time()
    if family == "lightgbm":
        settings = {**_common(knobs), **_of_lightgbm(knobs), "bagging_freq": 1, "deterministic": True,
                    "boost_from_average": False, "num_leaves": knobs["max_leaves"],
                    "min_data_in_leaf": int(knobs["min_data_in_leaf"])}  # fmt: skip
        lgb.train(settings, lgb.Dataset(matrix, label), num_boost_round=int(knobs["num_boost_round"]))
    else:
        settings = {**_common(knobs), "tree_method": "hist", "base_score": 0.0,
                    "max_leaves": knobs["max_leaves"],
                    "min_child_weight": knobs["min_data_in_leaf"]}  # fmt: skip
        data = xgb.QuantileDMatrix(matrix, label, max_bin=int(knobs["max_bin"]), nthread=1)
        xgb.train(settings, data, num_boost_round=int(knobs["num_boost_round"]))
    return time.process_time() - began


def _common(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Names both libraries know."""
    return {
        "max_depth": knobs["max_depth"], "learning_rate": knobs["learning_rate"], "seed": 0,
        "reg_lambda": knobs["lambda_l2"], "reg_alpha": knobs["lambda_l1"],
        "colsample_bytree": knobs["feature_fraction"], "subsample": knobs["bagging_fraction"],
        "max_bin": knobs["max_bin"], "nthread": 1,
    }  # fmt: skip


def _of_lightgbm(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """What makes our fits quick is the peers' too."""
    return {
        "verbosity": -1, "force_col_wise": True, "enable_bundle": False,
        "bin_construct_sample_cnt": ROWS_PER_BIN * int(knobs["max_bin"]),
    }  # fmt: skip


def _of_scikit_learn(family: str, preset: str) -> dict[str, Any]:
    """The same parameters as the libraries' scikit-learn classes name them, which both peers use."""
    found = model_family(family)
    assert isinstance(found, LightGBMFamily | XGBoostFamily)
    knobs = found.table.resolve({"preset": preset})
    params = _common(knobs) | {"n_estimators": int(knobs["num_boost_round"]), "n_jobs": 1, "random_state": 0}
    del params["nthread"], params["seed"]
    own: dict[str, Any]
    if family == "lightgbm":
        own = {"num_leaves": knobs["max_leaves"], "min_child_samples": int(knobs["min_data_in_leaf"]),
               "subsample_freq": 1, **_of_lightgbm(knobs)}  # fmt: skip
    else:
        own = {"max_leaves": knobs["max_leaves"], "min_child_weight": knobs["min_data_in_leaf"],
               "tree_method": "hist"}  # fmt: skip
    return params | own


def _each(work: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(_ONE):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def asked(peer: str, folder: Path) -> dict[str, Timings]:
    """What the peer's side tells by case; raises RuntimeError where it breaks down."""
    python = environment_with(peer, _NEEDS[peer]) / "python"
    side = Path(__file__).with_name(_SIDES[peer])
    done = subprocess.run(
        [python, str(side), str(folder)], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{peer}: {done.stderr[-2000:]}")
    told: dict[str, Timings] = json.loads(done.stdout.splitlines()[-1])
    return told


def task(folder: Path, frame: pd.DataFrame, rounds: int) -> None:
    """What the peers' sides read: candles, and what to do with them."""
    plain = frame.rename_axis("date").reset_index()
    plain[["date", "open", "high", "low", "close", "volume"]].to_csv(folder / "candles.csv", index=False)
    cases = {
        f"{family} {preset}": {
            "family": family, "params": _of_scikit_learn(family, preset),
            "pooled": (family, preset) == ("lightgbm", "regularised"),
            "rounds": rounds if preset == "regularised" else _LONG_ROUNDS,
        }
        for family, preset in _CASES
    }  # fmt: skip
    given = {
        "cases": cases, "rows": _ROWS, "periods": _PERIODS, "lags": _LAGS,
        "windows": _WINDOWS,
    }  # fmt: skip
    (folder / "task.json").write_text(json.dumps(given))


def cases(rounds: int = _ROUNDS, peers: Sequence[str] = tuple(_NEEDS)) -> Iterator[tuple[str, Told]]:
    """Each of `_CASES`, such as "lightgbm regularised", and what was timed by who did it."""
    frame = candles(_DAYS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        task(folder, frame, rounds)
        theirs = {peer: asked(peer, folder) for peer in peers}
    for family, preset in _CASES:
        case = f"{family} {preset}"
        repeated = rounds if preset == "regularised" else min(rounds, _LONG_ROUNDS)
        yield case, {"CLM": ours(frame, family, preset, repeated), **{p: t[case] for p, t in theirs.items()}}


def overhead(told: Timings) -> float:
    """Of training: the whole call over the fit inside it."""
    return float(np.median(np.array(told["train"]) / np.array(told["fit"])))


def shown(case: str, told: Mapping[str, Timings]) -> bool:
    """Prints one case; whether a limit was missed."""
    counts = ", ".join(f"{who} {timings['features']}" for who, timings in told.items())
    print(f"\n{case}: {_ROWS:,} rows; features: {counts}")
    mine, missed = told["CLM"], False
    for who, timings in told.items():
        row = f", row alone {min(timings['row']) * 1e3:7.3f} ms" if "row" in timings else ""
        whole = f", with features and saving {min(timings['whole']):.2f} s" if "whole" in timings else ""
        print(
            f"  {who:<12} training ÷ fit {overhead(timings):6.3f}, fit {min(timings['fit']):6.3f} s; "
            f"newest candle {min(timings['live']) * 1e3:8.3f} ms{row}{whole}"
        )
        if who == "CLM":
            continue
        missed |= overhead(mine) > overhead(timings) + _NOISE
        missed |= min(mine["live"]) * _FASTER > min(timings["live"])
        missed |= "row" in timings and min(mine["row"]) * _FASTER > min(timings["row"])
        if "pooled" in timings:
            singles = timings["pooled"][0] / float(np.median(timings["train"]))
            print(f"  {who:<12} one model over 50 series costs {singles:.1f} trainings of one series")
    return missed


def noise(scale: float) -> None:
    """Promotions where no candidate is better, by the functions of `benchmarks.promotion`."""
    print(
        f"\nno candidate is any better: promotions on noise ({scale:g} of the paths of make bench-promotion)"
    )
    print(f"  {'':<46} {'ours':>7} {'2 % on point estimates':>23} {'newest, as FreqAI':>18}")
    with ProcessPoolExecutor(2) as pool:
        bench = promotion.Bench(pool, scale)
        looks = bench.crossings(1000, 2000, 1000, promotion.EQUAL, promotion.EQUAL, naive=True)
        years = bench.years("null", 300, 1)
    _shares(
        "one look at 1,000 hours: promoted",
        [look.hour >= 0 and look.total > 0 for look in looks], [look.naive for look in looks],
    )  # fmt: skip
    _shares("a year of daily retraining: ever promoted",
            [year.better > 0 for year in years], [year.naive > 0 for year in years])  # fmt: skip
    mean = [float(np.mean([getattr(year, kind) for year in years])) for kind in ("better", "naive")]
    print(f"  {'  promotions a year':<46} {mean[0]:>7.2f} {mean[1]:>23.1f} {365:>18}")


def _shares(name: str, ours_: Sequence[bool], naive: Sequence[bool]) -> None:
    print(f"  {name:<46} {np.mean(ours_):>7.1%} {np.mean(naive):>23.1%} {1:>18.0%}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--scale", type=float, default=0.1, help="of the paths of the promotions on noise")
    given = parser.parse_args()
    set_up_logging("error")
    missed = False
    for case, told in cases(given.rounds):
        missed |= shown(case, told)
    noise(given.scale)
    print(
        f"\nmust be: training ÷ fit no larger than a peer's; a forecast ≥ {_FASTER:g} times as fast as each"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
