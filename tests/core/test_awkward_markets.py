"""Markets in which little moves, or much is the same: models are trained, and nothing is called a leak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.certificate import check_truncation
from clm.core.domain import CANDLE_COLUMNS, TARGET, FloatArray
from clm.features.catalogue import ADVANCED, FORMER
from clm.features.engineer import QuantumFeatureEngineer
from tests.support.candles import random_walk
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry
from tests.support.versions import BTC

ROWS = 2600
PRICES = ["open", "high", "low", "close"]
FEW: dict[str, Any] = {"num_trees": 5, "min_data_in_leaf": 100}
ENGINEER = QuantumFeatureEngineer()


def _closing(closes: FloatArray) -> pd.DataFrame:
    """Candles that open where the one before closed, and go no further."""
    candles, opens = random_walk(ROWS), np.concatenate([closes[:1], closes[:-1]])
    columns = [opens, np.maximum(opens, closes), np.minimum(opens, closes), closes]
    candles[PRICES] = np.column_stack(columns)
    return candles


def _times(factor: float, digits: int | None = None, **more: Any) -> pd.DataFrame:
    candles = random_walk(ROWS, **more)
    candles[PRICES] *= factor
    if digits is not None:
        candles[PRICES] = candles[PRICES].round(digits)
        candles["high"], candles["low"] = candles[PRICES].max(axis=1), candles[PRICES].min(axis=1)
    return candles


def _without_trades(begin: int, end: int) -> pd.DataFrame:
    candles = random_walk(ROWS).astype({"trades": "float64"})
    for name in CANDLE_COLUMNS:
        value = candles["close"].iloc[begin - 1] if name in PRICES else 0.0
        candles.iloc[begin:end, candles.columns.get_loc(name)] = value
    return candles


def _noise(size: float, digits: int) -> FloatArray:
    return np.asarray(np.round(np.random.default_rng(5).normal(0, size, ROWS), digits))


MARKETS: dict[str, Callable[[], pd.DataFrame]] = {
    "a stablecoin at 0.9998": lambda: _closing(0.9998 + _noise(0.00005, 4)),
    "a stablecoin that moves once a week": lambda: _closing(1 + 1e-4 * (np.arange(ROWS) // 168 % 2)),
    "prices of 2e-8 in steps of 1e-10": lambda: _times(2e-8 / 30_000, 10),
    "prices of 3e-5 in steps of 1e-8": lambda: _times(1e-9, 8),
    "prices of 1e5 in whole numbers": lambda: _times(4, 0),
    "a month without trades": lambda: _without_trades(1200, 1920),
    "no trade before the holdout ends": lambda: _without_trades(2300, 2500),
    "a walk of a millionth an hour": lambda: _times(1, volatility=1e-6),
    "up and down by the same, in turns": lambda: _closing(100.0 + np.arange(ROWS) % 2),
    "every move of one size": lambda: _closing(100 * np.exp(0.001 * np.cumsum(np.sign(_noise(1.0, 9))))),
    "still but for a spike a day": lambda: _closing(100 + 2.0 * (np.arange(ROWS) % 24 == 5)),
    "no taker ever buys": lambda: random_walk(ROWS).assign(taker_buy_base=0.0),
}


@pytest.mark.parametrize("market", list(MARKETS))
def test_nothing_changes_at_all_when_the_future_is_cut_off(market: str) -> None:
    candles = MARKETS[market]()

    found = check_truncation(ENGINEER, candles, ENGINEER.transform(candles))

    assert (found.rows, found.deviation, found.feature) == (8, 0.0, None)


@pytest.mark.parametrize("market", list(MARKETS))
def test_no_candidate_is_refused_for_noise_and_none_needs_a_former_feature(market: str) -> None:
    registry = DictRegistry(BTC)
    manager = manager_over(
        MARKETS[market](), registry, features=ENGINEER, trainer_params={"lightgbm": FEW}, models=("lightgbm",)
    )

    report = manager.run_full_cycle(force=True)

    assert report.failures == {}
    (made,) = registry.get_model_history("lightgbm")
    assert made.certificate is not None
    assert (made.certificate["problems"], made.certificate["truncation"]) == ([], 0.0)
    assert made.model is not None
    assert made.model.feature_names == tuple(feature.name for feature in ADVANCED)
    assert not {feature.name for feature in FORMER} & set(made.model.feature_names)


@pytest.mark.parametrize("market", list(MARKETS))
def test_the_newest_row_is_the_batchs(market: str) -> None:
    candles = MARKETS[market]()
    batch = ENGINEER.transform(candles).drop(columns=TARGET)

    for time in batch.index[::499]:
        row = ENGINEER.newest(candles.loc[:time]).astype(np.float64)
        expected = batch.loc[time].to_numpy(np.float64)
        off = np.abs(row - expected) > 1e-6 * np.maximum(np.abs(expected), 1.0)
        assert [name for name, wrong in zip(batch.columns, off, strict=True) if wrong] == []
