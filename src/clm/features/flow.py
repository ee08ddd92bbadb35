"""Volume and order flow: how much was traded, in what pieces, and who crossed the spread."""

from __future__ import annotations

import numpy as np

from clm.core.domain import FloatArray
from clm.features.bars import Bars, log_ratio, ratio
from clm.features.feature import Feature, scaled


def _volume(n: int) -> Feature:
    return Feature(
        f"volume_{n}", "flow", n,
        lambda b: log_ratio(b.volume, b.mean("volume", n, lambda: b.volume)), basic=n == 24,
    )  # fmt: skip


def _trades(n: int) -> Feature:
    return Feature(
        f"trades_{n}", "flow", n,
        lambda b: log_ratio(b.trades, b.mean("trades", n, lambda: b.trades)),
    )  # fmt: skip


def _trade_size(n: int) -> Feature:
    """Log of this candle's mean trade over the mean trade of n candles."""

    def size(b: Bars) -> FloatArray:
        usual = ratio(b.mean("volume", n, lambda: b.volume), b.mean("trades", n, lambda: b.trades))
        return log_ratio(ratio(b.volume, b.trades), usual)

    return Feature(f"trade_size_{n}", "flow", n, size)


def _taker(n: int) -> Feature:
    """Taker share of all volume of n candles, minus one half."""

    def share(b: Bars) -> FloatArray:
        return ratio(b.window(b.taker, n), b.mean("volume", n, lambda: b.volume), 0.5) - 0.5

    return Feature(f"taker_share_{n}", "flow", n, share, basic=n == 6)


def _taker_surprise(n: int) -> Feature:
    """Taker share against its own last n candles, in standard deviations, within ±10."""

    def surprise(b: Bars) -> FloatArray:
        average = b.mean("share", n, lambda: b.taker_share)
        squares = b.mean("share2", n, lambda: b.taker_share**2)
        spread = np.sqrt(np.maximum(squares - average**2, 1e-10))
        return np.clip((b.taker_share - average) / spread, -10, 10)

    return Feature(f"taker_surprise_{n}", "flow", n, surprise)


def _signed_volume(n: int) -> Feature:
    """Σ sign(return)·volume over Σ volume, within ±1 (on-balance volume made stationary)."""
    return Feature(
        f"signed_volume_{n}", "flow", n,
        lambda b: ratio(b.window(b.sign * b.volume, n), b.mean("volume", n, lambda: b.volume)),
        basic=n == 24,
    )  # fmt: skip


def _above_vwap(n: int) -> Feature:
    """Close over the volume-weighted price of n candles, in volatilities."""

    def above(b: Bars) -> FloatArray:
        volume = b.mean("volume", n, lambda: b.volume)
        paid = b.mean("quote", n, lambda: b.quote)
        traded = (volume > 0) & (paid > 0)
        vwap = np.where(traded, paid / np.where(traded, volume, 1.0), b.close)
        distance: FloatArray = (b.log_close - np.log(vwap)) / (b.sigma * np.sqrt(n))
        return distance

    return Feature(f"above_vwap_{n}", "flow", scaled(n), above)


def _volume_move(n: int) -> Feature:
    """Correlation of a candle's volume with the size of its move."""

    return Feature(
        f"volume_move_correlation_{n}", "flow", n + 24, lambda b: b.correlation(b.usual_volume, b.size, n)
    )


def _flow_move(n: int) -> Feature:
    """Correlation of the taker share with the return: how far takers move the price."""
    return Feature(f"flow_move_correlation_{n}", "flow", n, lambda b: b.correlation(b.taker_share, b.r, n))


def _illiquidity(fast: int, slow: int) -> Feature:
    """Log of Amihud's (2002) |return| per amount traded, n recent candles over many."""

    def illiquidity(b: Bars) -> FloatArray:
        price_of_size = ratio(b.size, b.quote)
        return log_ratio(b.window(price_of_size, fast), b.window(price_of_size, slow))

    return Feature(f"illiquidity_{fast}_{slow}", "flow", slow, illiquidity)


FEATURES = (
    *(_volume(n) for n in (6, 24, 168)),
    *(_trades(n) for n in (24, 168)),
    *(_trade_size(n) for n in (24, 168)),
    Feature("taker_share", "flow", 0, lambda b: b.taker_share, basic=True),
    *(_taker(n) for n in (3, 6, 12, 24, 72, 168)),
    *(_taker_surprise(n) for n in (24, 168)),
    *(_signed_volume(n) for n in (6, 24, 72, 168)),
    *(_above_vwap(n) for n in (12, 24, 96)),
    *(_volume_move(n) for n in (24, 96)),
    *(_flow_move(n) for n in (48, 144)),
    _illiquidity(24, 168),
)
