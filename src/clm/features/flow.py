"""Volume and order flow: how much was traded, in what pieces, and who crossed the spread."""

from __future__ import annotations

from clm.core.domain import FloatArray
from clm.features.arithmetic import Values, clip, log, log_ratio, maximum, ratio, sqrt, where
from clm.features.bars import (
    QUOTE,
    RETURN,
    SIGN,
    SIZE,
    TAKER,
    TAKER_SHARE,
    TRADES,
    USUAL_VOLUME,
    VOLUME,
    Bars,
)
from clm.features.feature import Feature, scaled


def _volume(n: int) -> Feature:
    return Feature(
        f"volume_{n}", "flow", n,
        lambda b: log_ratio(b.volume, b.mean(VOLUME, n)), basic=n == 24,
    )  # fmt: skip


def _trades(n: int) -> Feature:
    return Feature(
        f"trades_{n}", "flow", n,
        lambda b: log_ratio(b.trades, b.mean(TRADES, n)),
    )  # fmt: skip


def _trade_size(n: int) -> Feature:
    """Log of this candle's mean trade over the mean trade of n candles."""

    def size(b: Bars) -> Values:
        usual = ratio(b.mean(VOLUME, n), b.mean(TRADES, n))
        return log_ratio(ratio(b.volume, b.trades), usual)

    return Feature(f"trade_size_{n}", "flow", n, size)


def _taker(n: int) -> Feature:
    """Taker share of all volume of n candles, minus one half."""

    def share(b: Bars) -> Values:
        return ratio(b.mean(TAKER, n), b.mean(VOLUME, n), 0.5) - 0.5

    return Feature(f"taker_share_{n}", "flow", n, share, basic=n == 6)


def _taker_surprise(n: int) -> Feature:
    """Taker share against its own last n candles, in standard deviations, within ±10."""

    def surprise(b: Bars) -> Values:
        average, squares = b.mean(TAKER_SHARE, n), b.mean_product(TAKER_SHARE, TAKER_SHARE, n)
        spread = sqrt(maximum(squares - average * average, 1e-10))
        return clip((b.taker_share - average) / spread, -10.0, 10.0)

    return Feature(f"taker_surprise_{n}", "flow", n, surprise)


def _signed_volume(n: int) -> Feature:
    """Σ sign(return)·volume over Σ volume, within ±1 (on-balance volume made stationary)."""
    return Feature(
        f"signed_volume_{n}", "flow", n,
        lambda b: ratio(b.mean_product(SIGN, VOLUME, n), b.mean(VOLUME, n)),
        basic=n == 24,
    )  # fmt: skip


def _above_vwap(n: int) -> Feature:
    """Close over the volume-weighted price of n candles, in volatilities."""

    def above(b: Bars) -> Values:
        volume, paid = b.mean(VOLUME, n), b.mean(QUOTE, n)
        traded = (volume > 0) & (paid > 0)
        vwap = where(traded, paid / where(traded, volume, 1.0), b.close)
        return (b.log_close - log(vwap)) / b.spread(n)

    return Feature(f"above_vwap_{n}", "flow", scaled(n), above)


def _volume_move(n: int) -> Feature:
    """Correlation of a candle's volume with the size of its move."""

    return Feature(
        f"volume_move_correlation_{n}", "flow", n + 24, lambda b: b.correlation(USUAL_VOLUME, SIZE, n)
    )


def _flow_move(n: int) -> Feature:
    """Correlation of the taker share with the return: how far takers move the price."""
    return Feature(f"flow_move_correlation_{n}", "flow", n, lambda b: b.correlation(TAKER_SHARE, RETURN, n))


def _illiquidity(fast: int, slow: int) -> Feature:
    """Log of Amihud's (2002) |return| per amount traded, n recent candles over many."""

    return Feature(
        f"illiquidity_{fast}_{slow}", "flow", slow,
        lambda b: log_ratio(b.mean(_price_of_size, fast), b.mean(_price_of_size, slow)),
    )  # fmt: skip


def _price_of_size(b: Bars) -> FloatArray:
    move: FloatArray = ratio(b.size, b.quote)
    return move


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
