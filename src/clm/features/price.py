"""Returns, trend and momentum: where the price went, in units of its own volatility."""

from __future__ import annotations

from math import sqrt

import numpy as np

from clm.core.domain import FloatArray
from clm.features.arithmetic import Values, log, maximum, ratio, where
from clm.features.bars import HIGH, LOW, RETURN, SIGN, SIZE, Bars, typical
from clm.features.feature import Feature, scaled


def _return(k: int) -> Feature:
    basic = k in (1, 3, 6, 12, 24)
    return Feature(f"return_{k}", "returns", scaled(k), lambda b: b.change(k) / b.spread(k), basic)


def _lagged(lag: int) -> Feature:
    return Feature(
        f"return_lag_{lag}", "returns", scaled(lag + 1),
        lambda b: b.ago(RETURN, lag) / b.sigma, basic=lag == 1,
    )  # fmt: skip


def _above_sma(n: int) -> Feature:
    return Feature(
        f"price_to_sma_{n}", "trend", scaled(n), lambda b: b.above_mean(n) / b.spread(n), basic=n == 24
    )


def _sma_cross(fast: int, slow: int) -> Feature:
    return Feature(
        f"sma_to_sma_{fast}_{slow}", "trend", scaled(slow),
        lambda b: (b.above_mean(slow) - b.above_mean(fast)) / b.spread(slow),
    )  # fmt: skip


def _slope(n: int) -> Feature:
    """Least-squares slope of the log price per candle, in volatilities."""
    return Feature(
        f"trend_slope_{n}", "trend", scaled(n),
        lambda b: b.slope(n) / b.sigma * sqrt(n),
        basic=n == 24,
    )  # fmt: skip


def _macd(fast: int, slow: int) -> Feature:
    """Difference of two exponential means of the log price, cut off at four slow spans at most 168."""
    window = min(4 * slow, 168)
    decays = 1 - 2 / (fast + 1), 1 - 2 / (slow + 1)
    return Feature(
        f"macd_log_{fast}_{slow}", "trend", scaled(window),
        lambda b: b.mean_gap(*decays, window) / b.spread(slow),
        basic=(fast, slow) == (12, 26),
    )  # fmt: skip


def _efficiency(n: int) -> Feature:
    """Kaufman's efficiency ratio, signed: net move over the path walked, within ±1."""
    return Feature(
        f"efficiency_{n}", "trend", n, lambda b: ratio(b.change(n), n * b.mean(SIZE, n))
    )  # fmt: skip


def _directional(n: int) -> Feature:
    """(+DM − −DM)/(+DM + −DM) over n candles, Wilder's directional movement with plain sums, within ±1."""

    def directional(b: Bars) -> Values:
        plus, minus = b.mean(_up, n), b.mean(_down, n)
        return ratio(plus - minus, plus + minus)

    return Feature(f"directional_{n}", "trend", n, directional)


def _rise(b: Bars) -> FloatArray:
    """How far the high rose since the candle before."""
    rise = np.zeros(len(b.high))
    rise[1:] = np.log(b.high[1:] / b.high[:-1])
    return rise


def _fall(b: Bars) -> FloatArray:
    """How far the low fell since the candle before."""
    fall = np.zeros(len(b.low))
    fall[1:] = np.log(b.low[:-1] / b.low[1:])
    return fall


def _up(b: Bars) -> FloatArray:
    up, down = b.series(_rise), b.series(_fall)
    return np.where((up > down) & (up > 0), up, 0.0)


def _down(b: Bars) -> FloatArray:
    up, down = b.series(_rise), b.series(_fall)
    return np.where((down > up) & (down > 0), down, 0.0)


def _aroon(n: int) -> Feature:
    return Feature(f"aroon_{n}", "trend", n, lambda b: b.aroon(n) / 100)


def _rsi(n: int) -> Feature:
    """Relative strength with plain means (Cutler's), mapped to ±1."""

    def rsi(b: Bars) -> Values:
        return ratio(b.mean(RETURN, n), b.mean(SIZE, n))

    return Feature(f"rsi_{n}", "momentum", n, rsi, basic=n == 14)


def _range_position(n: int) -> Feature:
    """Where the close lies in the range of n candles, 0 bottom to 1 top (stochastic %K, Williams %R)."""

    def position(b: Bars) -> Values:
        low = b.smallest(LOW, n)
        return ratio(b.close - low, b.largest(HIGH, n) - low, 0.5)

    return Feature(f"range_position_{n}", "momentum", n, position, basic=n == 48)


def _from_high(n: int) -> Feature:
    return Feature(
        f"below_high_{n}", "momentum", scaled(n),
        lambda b: (b.log_close - log(maximum(b.largest(HIGH, n), b.close))) / b.spread(n),
    )  # fmt: skip


def _from_low(n: int) -> Feature:
    def above(b: Bars) -> Values:
        low = b.smallest(LOW, n)
        return (b.log_close - log(where(low > 0, low, b.close))) / b.spread(n)

    return Feature(f"above_low_{n}", "momentum", scaled(n), above)


def _cci(n: int) -> Feature:
    return Feature(f"commodity_channel_{n}", "momentum", n, lambda b: b.cci(n) / 100)


def _mfi(n: int) -> Feature:
    """Money flow: (money of rising − of falling candles) / all, by typical price, within ±1."""

    def money_flow(b: Bars) -> Values:
        return ratio(b.mean(_signed_money, n), b.mean(_moved_money, n))

    return Feature(f"money_flow_{n}", "momentum", n, money_flow)


def _signed_money(b: Bars) -> FloatArray:
    price = b.series(typical)
    rising = np.zeros(len(price))
    rising[1:] = np.sign(price[1:] - price[:-1])
    money: FloatArray = rising * (price * b.volume)
    return money


def _moved_money(b: Bars) -> FloatArray:
    return np.abs(b.series(_signed_money))


def _up_share(n: int) -> Feature:
    return Feature(f"up_share_{n}", "momentum", n, lambda b: b.mean(SIGN, n))


FEATURES = (
    *(_return(k) for k in (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 120, 168)),
    *(_lagged(lag) for lag in (1, 2, 3, 4, 5, 6)),
    *(_above_sma(n) for n in (6, 12, 24, 48, 96, 168)),
    *(_sma_cross(*pair) for pair in ((6, 24), (12, 48), (24, 96), (48, 168))),
    *(_slope(n) for n in (6, 12, 24, 48, 168)),
    *(_macd(*pair) for pair in ((6, 13), (12, 26), (24, 42))),
    *(_efficiency(n) for n in (12, 24, 72)),
    *(_directional(n) for n in (14, 48)),
    *(_aroon(n) for n in (14, 25, 96)),
    *(_rsi(n) for n in (7, 14, 28, 96)),
    *(_range_position(n) for n in (14, 48, 168)),
    *(_from_high(n) for n in (24, 168)),
    *(_from_low(n) for n in (24, 168)),
    *(_cci(n) for n in (20, 72)),
    *(_mfi(n) for n in (14, 48)),
    *(_up_share(n) for n in (12, 48, 168)),
)
