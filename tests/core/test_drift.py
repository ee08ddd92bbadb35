"""Drift triggers: quiet while nothing changes, heard when something does, calibrated on training itself."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import SCALE, TARGET
from clm.core.drift import Window, feature_drift, performance_decay, regime_shift
from tests.support.candles import random_walk
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC

HOUR = timedelta(hours=1)


def frame(rows: int, seed: int = 0, *, volatility: float = 1.0, shift: float = 0.0) -> pd.DataFrame:
    """Dependent features and returns."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows + 200, 12))
    for t in range(1, len(noise)):
        noise[t] = 0.95 * noise[t - 1] + np.sqrt(1 - 0.95**2) * noise[t]
    columns = {f"f{k}": noise[200:, k] + shift for k in range(12)}
    index = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC", name="open_time")
    returns = volatility * rng.standard_t(5, rows) * 0.006
    return pd.DataFrame({**columns, SCALE: 0.006, TARGET: returns}, index=index)


def window(after: pd.DataFrame, trained: int = 24 * 300) -> Window:
    return Window(frame(trained), after, HOUR)


def test_nothing_is_said_while_nothing_changes() -> None:
    quiet = [window(frame(24 * 10, seed)) for seed in range(1, 21)]

    assert sum(regime_shift(w) is not None for w in quiet) <= 1
    assert sum(feature_drift(w) is not None for w in quiet) <= 2


def test_a_jump_of_volatility_is_a_regime_shift() -> None:
    said = regime_shift(window(frame(24 * 6, 1, volatility=2.5)))

    assert said is not None
    assert said.startswith("Regime shift: returns of the last 5 days are 2.")


def test_features_that_moved_together_are_drift_and_the_most_moved_is_named() -> None:
    said = feature_drift(window(frame(24 * 6, 1, shift=2.0)))

    assert said is not None
    assert said.startswith("Feature drift: 1")
    assert "population stability index" in said


@pytest.mark.parametrize(("trained", "after"), [(24 * 300, 24 * 4), (24 * 90, 24 * 10)])
def test_too_little_is_known_to_say_anything(trained: int, after: int) -> None:
    made = window(frame(after, 1, volatility=9.0, shift=9.0), trained)

    assert regime_shift(made) is feature_drift(made) is None


def _forecasts(rows: int, skill: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal(rows)
    actual = 0.006 * (0.2 * signal + rng.standard_normal(rows))
    return 0.006 * skill * signal, actual, np.full(rows, 0.006**2)


def test_a_model_whose_signal_turned_is_noticed_within_days() -> None:
    said = performance_decay(_forecasts(24 * 14, -0.2, 1), _forecasts(720, 0.2, 2), HOUR)

    assert said is not None
    assert said.startswith("Performance decay: on 336 candles since training")


def test_a_model_that_keeps_its_promise_is_left_alone() -> None:
    false = [
        performance_decay(_forecasts(24 * 30, 0.2, seed), _forecasts(720, 0.2, seed + 500), HOUR)
        for seed in range(20)
    ]

    assert sum(said is not None for said in false) <= 1


def test_without_candles_since_training_nothing_has_decayed() -> None:
    empty = (np.empty(0), np.empty(0), np.empty(0))

    assert performance_decay(empty, _forecasts(720, 0.2, 2), HOUR) is None


class TestTheManager:
    CANDLES = random_walk(24 * 200, seed=3)

    def _client(self, candles: pd.DataFrame, days: float) -> FrameDataClient:
        client = FrameDataClient(candles)
        client.now = (candles.index[0] + pd.Timedelta(days=days)).to_pydatetime()
        return client

    def test_retrains_on_a_regime_shift_long_before_its_time(self) -> None:
        louder = self.CANDLES.copy()
        after = louder.index >= louder.index[0] + pd.Timedelta(days=165)
        closes = np.log(louder["close"].to_numpy())
        steps = np.diff(closes, prepend=closes[0]) * np.where(after, 4.0, 1.0)
        for name in ("open", "high", "low", "close"):
            louder[name] = np.exp(closes[0] + np.cumsum(steps))
        client, registry = self._client(louder, 160), DictRegistry(BTC)
        more = {"training_lookback_days": 150, "retrain_interval_days": 90}
        manager_over(client, registry, **more).run_full_cycle()
        manager = manager_over(client, registry, **more)
        assert manager.check_if_retrain_needed()["lightgbm"] is None

        client.now += timedelta(days=12)

        reason = manager.check_if_retrain_needed()["lightgbm"]
        assert reason is not None
        assert reason.startswith("Regime shift")
        off = manager_over(client, registry, drift_triggers=False, **more)
        assert off.check_if_retrain_needed()["lightgbm"] is None

    def test_looks_once_per_candle(self) -> None:
        client, registry = self._client(self.CANDLES, 160), DictRegistry(BTC)
        more = {"training_lookback_days": 150, "retrain_interval_days": 90}
        manager = manager_over(client, registry, **more)
        manager.run_full_cycle()
        client.now += timedelta(days=12)
        before = client.loads

        first, again = (manager.check_if_retrain_needed() for _ in range(2))

        assert first == again
        assert client.loads == before + 1
