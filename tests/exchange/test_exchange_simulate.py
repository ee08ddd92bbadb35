"""The simulated market: deterministic, of the asked strength, and turning when told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clm.core.errors import BadInput, UnknownInterval
from clm.exchange.market import Tape
from clm.exchange.simulate import simulate_market

START = datetime(2022, 1, 1, tzinfo=UTC)


def tape(
    *, days: float = 1000, symbols: Sequence[str] = ("BTCUSDT",), interval: str = "1h", seed: int = 1,
    signal: float = 0.05, regime_changes: Sequence[datetime] = (), symbol: str = "BTCUSDT",
) -> Tape:  # fmt: skip
    market = simulate_market(
        symbols, interval, start=START, end=START + timedelta(days=days), seed=seed, signal=signal,
        regime_changes=regime_changes,
    )  # fmt: skip
    return market.tapes[symbol][interval]


def returns(of: Tape) -> np.ndarray:
    return np.log(of.columns["close"] / of.columns["open"])


def share(of: Tape) -> np.ndarray:
    return of.columns["taker_buy_base"] / of.columns["volume"] - 0.5


def forecast_correlation(of: Tape, hours: slice = slice(None)) -> float:
    """Of the buyers' share of a candle and the return of the next, both as ranks against heavy tails."""
    seen, following = share(of)[:-1][hours], returns(of)[1:][hours]
    # The forecast is proportional to volatility: divide it out by the candle before's smoothed size.
    size = np.sqrt(np.convolve(returns(of) ** 2, np.ones(48) / 48)[: len(returns(of))][:-1][hours] + 1e-12)
    return float(np.corrcoef(seen[48:], (following / size)[48:])[0, 1])


def test_the_same_seed_gives_the_same_candles_however_far_the_end_lies() -> None:
    short, long = tape(days=20, symbols=("BTCUSDT", "ETHUSDT")), tape(days=60, symbols=("BTCUSDT", "ETHUSDT"))

    for name, column in short.columns.items():
        assert np.array_equal(column, long.columns[name][: len(column)]), name


def test_another_seed_gives_another_market() -> None:
    assert not np.array_equal(tape(days=5).columns["close"], tape(days=5, seed=2).columns["close"])


def test_a_regime_change_leaves_everything_before_it_alone() -> None:
    change = START + timedelta(days=10)
    steady, turning = tape(days=20), tape(days=20, regime_changes=(change,))

    before = turning.opens < change.timestamp() * 1000

    assert before.sum() == 240
    assert np.array_equal(steady.columns["close"][before], turning.columns["close"][before])
    assert not np.array_equal(steady.columns["close"][~before], turning.columns["close"][~before])


@pytest.mark.parametrize("signal", [0.02, 0.05, 0.10])
def test_the_share_of_buyers_forecasts_the_next_return_with_about_the_r2_asked_for(signal: float) -> None:
    """Somewhat less: the share shows four fifths of the signal, and volatility is known only roughly."""
    r2 = forecast_correlation(tape(signal=signal)) ** 2

    assert 0.5 * signal < r2 < 1.1 * signal


def test_without_a_signal_nothing_forecasts_the_next_return() -> None:
    candles = tape(signal=0)
    moves = returns(candles)

    own = np.corrcoef(np.sign(moves[:-1]), np.sign(moves[1:]))[0, 1]

    assert abs(forecast_correlation(candles)) < 3 / np.sqrt(len(moves))
    assert abs(own) < 3 / np.sqrt(len(moves))


def test_the_relation_turns_its_sign_at_each_regime_change() -> None:
    changes = (START + timedelta(days=300), START + timedelta(days=700))
    candles = tape(regime_changes=changes)
    parts = (slice(0, 7200), slice(7200, 16800), slice(16800, None))

    signs = [np.sign(forecast_correlation(candles, part)) for part in parts]

    assert signs == [1, -1, 1]


def test_candles_are_consistent_and_follow_one_another() -> None:
    c = tape(days=200).columns

    assert np.all(c["low"] <= np.minimum(c["open"], c["close"]))
    assert np.all(c["high"] >= np.maximum(c["open"], c["close"]))
    assert np.all(c["low"] > 0)
    assert np.array_equal(c["open"][1:], c["close"][:-1])
    assert np.all((c["taker_buy_base"] > 0) & (c["taker_buy_base"] < c["volume"]))
    assert np.all(c["trades"] >= 1)
    average = c["quote_volume"] / c["volume"]
    assert np.all((average >= c["low"] * 0.999) & (average <= c["high"] * 1.001))


def test_volatility_clusters_tails_are_heavy_and_volume_goes_with_them() -> None:
    candles = tape()
    moves = returns(candles)
    size = np.abs(moves)

    clustering = np.corrcoef(size[:-1], size[1:])[0, 1]
    kurtosis = np.mean((moves - moves.mean()) ** 4) / moves.var() ** 2
    with_volume = np.corrcoef(size, candles.columns["volume"])[0, 1]

    assert clustering > 0.05
    assert kurtosis > 4
    assert with_volume > 0.3
    assert 0.004 < moves.std() < 0.009


def test_symbols_move_together() -> None:
    both = ("BTCUSDT", "ETHUSDT")
    first, second = (returns(tape(symbols=both, symbol=symbol)) for symbol in both)

    assert 0.4 < np.corrcoef(first, second)[0, 1] < 0.75


def test_an_interval_a_quarter_as_long_has_half_the_volatility() -> None:
    hours, quarters = returns(tape(days=300)), returns(tape(days=300, interval="15m"))

    assert 0.4 < quarters.std() / hours.std() < 0.6


def test_wrong_options_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match="signal"):
        tape(signal=1)
    with pytest.raises(BadInput, match="signal"):
        tape(signal=-0.1)
    with pytest.raises(BadInput, match="symbols"):
        tape(symbols=())
    with pytest.raises(BadInput, match="symbol"):
        tape(symbols=("btcusdt",))
    with pytest.raises(BadInput, match="end"):
        tape(days=0)
    with pytest.raises(UnknownInterval, match="7m"):
        tape(interval="7m")
    with pytest.raises(BadInput, match="timezone"):
        simulate_market(start=datetime(2024, 1, 1), end=START)


def test_a_start_inside_a_candle_begins_with_that_candle() -> None:
    inside = START + timedelta(minutes=30)

    market = simulate_market(interval="1h", start=inside, end=START + timedelta(days=2))

    assert market.tapes["BTCUSDT"]["1h"].opens[0] == int(START.timestamp() * 1000)
