"""The simulated market: seeded, consistent, heavy-tailed, and its signal is there as asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.errors import BadInput
from clm.exchange.market import Market
from clm.exchange.simulate import simulate_market
from clm.market.candles import validate

START = datetime(2022, 1, 1, tzinfo=UTC)
END = START + timedelta(days=1000)


def _frame(market: Market, symbol: str = "BTCUSDT", interval: str = "1h") -> pd.DataFrame:
    tape = market.tapes[symbol][interval]
    index = pd.DatetimeIndex(tape.opens.astype("datetime64[ms]"), name="open_time").tz_localize("UTC")
    return pd.DataFrame({name: tape.columns[name] for name in CANDLE_COLUMNS}, index=index)


def _returns(frame: pd.DataFrame) -> np.ndarray:
    return np.diff(np.log(frame["close"].to_numpy()))


def _share(frame: pd.DataFrame) -> np.ndarray:
    return (frame["taker_buy_base"] / frame["volume"]).to_numpy() - 0.5


@pytest.mark.parametrize("interval", ["5m", "1h", "1d"])
def test_candles_keep_every_rule_of_a_candle_frame(interval: str) -> None:
    market = simulate_market(interval=interval, start=START, end=START + timedelta(days=60), seed=3)

    report = validate(_frame(market, interval=interval), Series("BTCUSDT", interval))

    assert report.gaps == ()


def test_the_same_seed_begins_alike_however_far_it_goes() -> None:
    short = _frame(simulate_market(start=START, end=START + timedelta(days=50), seed=5))
    long = _frame(simulate_market(start=START, end=END, seed=5))
    other = _frame(simulate_market(start=START, end=START + timedelta(days=50), seed=6))

    pd.testing.assert_frame_equal(short, long.iloc[: len(short)])
    assert not np.allclose(short["close"], other["close"])


def test_tails_are_heavy_and_volatility_clusters() -> None:
    returns = _returns(_frame(simulate_market(start=START, end=END, signal=0)))
    size = np.abs(returns)

    assert kurtosis(returns) > 2
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.05
    assert 0.004 < returns.std() < 0.009


def test_without_a_signal_nothing_can_be_forecast_from_what_is_seen() -> None:
    frame = _frame(simulate_market(start=START, end=END, signal=0))

    correlation = np.corrcoef(_share(frame)[:-1], _returns(frame))[0, 1]

    assert abs(correlation) < 3 / np.sqrt(len(frame))


@pytest.mark.parametrize("signal", [0.01, 0.05])
def test_the_taker_share_shows_four_fifths_of_the_signal_and_it_turns_at_a_regime_change(
    signal: float,
) -> None:
    turn = START + timedelta(days=500)
    frame = _frame(simulate_market(start=START, end=END, signal=signal, regime_changes=(turn,), seed=2))
    half = int((frame.index < pd.Timestamp(turn)).sum())

    share, returns = _share(frame)[:-1], _returns(frame)
    scaled = (
        returns / pd.Series(np.abs(returns)).rolling(100, min_periods=1).mean().shift(1).bfill().to_numpy()
    )
    before = np.corrcoef(share[: half - 1], scaled[: half - 1])[0, 1]
    after = np.corrcoef(share[half:], scaled[half:])[0, 1]

    expected = 0.9 * np.sqrt(signal)
    assert before == pytest.approx(expected, abs=0.04)
    assert after == pytest.approx(-expected, abs=0.04)


def test_symbols_move_together_but_not_as_one() -> None:
    market = simulate_market(("BTCUSDT", "ETHUSDT", "SOLUSDT"), start=START, end=END)
    returns = np.stack([_returns(_frame(market, symbol)) for symbol in market.symbols()])

    together = np.corrcoef(returns)[np.triu_indices(3, 1)]

    assert ((together > 0.4) & (together < 0.75)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"signal": 1.5}, "signal"),
        ({"signal": -0.1}, "signal"),
        ({"symbols": ()}, "at least one symbol"),
        ({"symbols": ("btc",)}, "symbol"),
        ({"interval": "7m"}, "1m, 3m"),
        ({"end": START}, "after the start"),
    ],
)
def test_an_impossible_market_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        simulate_market(**{"start": START, "end": END, **wrong})
