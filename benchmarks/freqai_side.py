"""FreqAI's side of `benchmarks.training_peers`; runs in freqtrade's own environment, beside `task.json`.

Driven are its own classes: `LightGBMRegressor` and `XGBoostRegressor` with their data kitchen and drawer, and
the features of freqtrade's own example strategy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.data.dataprovider import DataProvider
from freqtrade.enums import RunMode
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.prediction_models.LightGBMRegressor import LightGBMRegressor
from freqtrade.freqai.prediction_models.XGBoostRegressor import XGBoostRegressor
from freqtrade.freqai.utils import get_tb_logger
from freqtrade.templates.FreqaiExampleStrategy import FreqaiExampleStrategy

Clock = Callable[[], float]
_PAIR = "BTC/USDT"
_MODELS = {"lightgbm": LightGBMRegressor, "xgboost": XGBoostRegressor}
#: Candles freqtrade keeps of a pair, and computes features of, when it runs live on Binance.
_KEPT = 1000
_ROUNDS_OF_ONE = 50


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text())
    candles = pd.read_csv(folder / "candles.csv", parse_dates=["date"])
    told: dict[str, Any] = {}
    for name, case in task["cases"].items():
        told[name] = _case(folder, name, case, task, candles)
    print(json.dumps(told))


def _case(folder: Path, name: str, case: dict[str, Any], task: dict[str, Any], candles: pd.DataFrame) -> Any:
    config = _config(folder, name, case["params"], task["periods"])
    model, strategy = _MODELS[case["family"]](config), FreqaiExampleStrategy(config)
    strategy.freqai_info = config["freqai"]
    strategy.dp = DataProvider(config, None)
    model.live, model.can_short = True, False
    kitchen = FreqaiDataKitchen(config, True, _PAIR)
    kitchen.set_paths(_PAIR, 1)
    kitchen.data_path.mkdir(parents=True)
    model.dd.set_pair_dict_info({"pair": _PAIR})
    kitchen.set_new_model_names(_PAIR, 1)
    fits: list[float] = []
    model.fit = _timed(model.fit, fits, time.process_time)
    whole, trained = [], []
    for _ in range(case["rounds"]):
        began = time.process_time()
        frame = _features(kitchen, strategy, candles).iloc[-task["rows"] - 1 :]
        kitchen.find_features(frame)
        kitchen.find_labels(frame)
        model.tb_logger = get_tb_logger(model.dd.model_type, kitchen.data_path, False)
        before = time.process_time()
        model.model = model.train(frame, _PAIR, kitchen)
        trained.append(time.process_time() - before)
        model.dd.save_data(model.model, _PAIR, kitchen)
        whole.append(time.process_time() - began)
    recent = candles.iloc[-_KEPT:].reset_index(drop=True)
    ready = _features(kitchen, strategy, recent)
    used = kitchen.data_dictionary["train_features"]
    return {
        "fit": fits, "train": trained, "whole": whole, "rows": len(used), "features": used.shape[1],
        "row": _of_one(lambda: model.predict(ready.iloc[-1:], kitchen), _ROUNDS_OF_ONE),
        "live": _of_one(
            lambda: model.predict(_features(kitchen, strategy, recent).iloc[-1:], kitchen),
            _ROUNDS_OF_ONE // 5,
        ),
    }  # fmt: skip


def _features(kitchen: Any, strategy: Any, candles: pd.DataFrame) -> pd.DataFrame:
    """As `start_live` and `extract_data_and_train_model` compute them."""
    frame: pd.DataFrame = kitchen.use_strategy_to_populate_indicators(
        strategy, prediction_dataframe=candles, pair=_PAIR
    )
    return frame


def _timed(work: Callable[..., Any], seconds: list[float], clock: Clock) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = clock()
        done = work(*args, **kwargs)
        seconds.append(clock() - began)
        return done

    return timed


def _of_one(work: Callable[[], Any], times: int) -> list[float]:
    seconds: list[float] = []
    timed = _timed(work, seconds, time.perf_counter)
    for _ in range(times):
        timed()
    return seconds


def _config(folder: Path, name: str, params: dict[str, Any], periods: list[int]) -> dict[str, Any]:
    return {
        "user_data_dir": folder / "freqai", "runmode": RunMode.DRY_RUN, "timeframe": "1h",
        "stake_currency": "USDT", "candle_type_def": "spot", "trading_mode": "spot",
        "exchange": {"name": "binance", "pair_whitelist": [_PAIR]},
        "freqai": {
            "enabled": True, "identifier": name, "train_period_days": 365, "backtest_period_days": 7,
            "live_retrain_hours": 24, "data_kitchen_thread_count": 1, "activate_tensorboard": False,
            "save_backtest_models": True, "purge_old_models": 2, "write_metrics_to_disk": False,
            "fit_live_predictions_candles": 0, "conv_width": 1,
            "feature_parameters": {
                "include_timeframes": ["1h"], "include_corr_pairlist": [], "label_period_candles": 1,
                "include_shifted_candles": 0, "indicator_periods_candles": periods, "DI_threshold": 0,
                "buffer_train_data_candles": 0, "plot_feature_importances": 0, "weight_factor": 0,
                "shuffle_after_split": False,
            },
            # Every row is trained on, as with the others.
            "data_split_parameters": {"test_size": 0, "shuffle": False},
            "model_training_parameters": params,
        },
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
