"""The catalogue's features as one would write them with pandas rolling windows: the peer of `features`.

Aroon and CCI are left out on both sides: pandas has no rolling form of them but a Python call per row, which
would make the comparison look better than it is. Exponential means are pandas' own, with infinite memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

#: pandas' stubs do not follow numpy's functions over a Series.
Series = Any
Columns = dict[str, Series]
LEFT_OUT = ("aroon_", "commodity_channel_")


def pandas_features(c: pd.DataFrame) -> pd.DataFrame:
    """A frame of features over candles without gaps; NaN while windows fill."""
    x = np.log(c["close"])
    r = x.diff()
    sigma = np.sqrt((r**2).ewm(alpha=0.03).mean())
    columns: Columns = {}
    _price(columns, c, x, r, sigma)
    _risk(columns, c, r, sigma)
    _flow(columns, c, x, r, sigma)
    _shape(columns, c, r, sigma)
    return pd.DataFrame(columns)


def _price(out: Columns, c: pd.DataFrame, x: Series, r: Series, sigma: Series) -> None:
    for k in (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 120, 168):
        out[f"return_{k}"] = x.diff(k) / (sigma * np.sqrt(k))
    for k in range(1, 7):
        out[f"return_lag_{k}"] = r.shift(k) / sigma
    for n in (6, 12, 24, 48, 96, 168):
        out[f"price_to_sma_{n}"] = (x - x.rolling(n).mean()) / (sigma * np.sqrt(n))
    for fast, slow in ((6, 24), (12, 48), (24, 96), (48, 168)):
        gap = x.rolling(fast).mean() - x.rolling(slow).mean()
        out[f"sma_to_sma_{fast}_{slow}"] = gap / (sigma * np.sqrt(slow))
    time = pd.Series(np.arange(len(x), dtype=float), index=x.index)
    for n in (6, 12, 24, 48, 168):
        slope = x.rolling(n).cov(time) / time.rolling(n).var()
        out[f"trend_slope_{n}"] = slope / sigma * np.sqrt(n)
    for fast, slow in ((6, 13), (12, 26), (24, 42)):
        gap = x.ewm(span=fast).mean() - x.ewm(span=slow).mean()
        out[f"macd_log_{fast}_{slow}"] = gap / (sigma * np.sqrt(slow))
    for n in (12, 24, 72):
        out[f"efficiency_{n}"] = x.diff(n) / r.abs().rolling(n).sum()
    up, down = np.log(c["high"]).diff(), -np.log(c["low"]).diff()
    for n in (14, 48):
        plus = up.where((up > down) & (up > 0), 0.0).rolling(n).mean()
        minus = down.where((down > up) & (down > 0), 0.0).rolling(n).mean()
        out[f"directional_{n}"] = (plus - minus) / (plus + minus)
    for n in (7, 14, 28, 96):
        out[f"rsi_{n}"] = r.rolling(n).mean() / r.abs().rolling(n).mean()
    for n in (14, 48, 168):
        high, low = c["high"].rolling(n).max(), c["low"].rolling(n).min()
        out[f"range_position_{n}"] = (c["close"] - low) / (high - low)
    for n in (24, 168):
        out[f"below_high_{n}"] = (x - np.log(c["high"].rolling(n).max())) / (sigma * np.sqrt(n))
        out[f"above_low_{n}"] = (x - np.log(c["low"].rolling(n).min())) / (sigma * np.sqrt(n))
    typical = (c["high"] + c["low"] + c["close"]) / 3
    flow, rising = typical * c["volume"], np.sign(typical.diff())
    for n in (14, 48):
        both = (rising.abs() * flow).rolling(n).mean()
        out[f"money_flow_{n}"] = (rising * flow).rolling(n).mean() / both
    for n in (12, 48, 168):
        out[f"up_share_{n}"] = np.sign(r).rolling(n).mean()


def _risk(out: Columns, c: pd.DataFrame, r: Series, sigma: Series) -> None:
    def std(n: int) -> Series:
        return np.sqrt((r**2).rolling(n).mean())

    size = r.abs()
    span: Series = np.log(c["high"] / c["low"])
    out["volatility_ewma"], out["shock"] = sigma, size / sigma
    for n in (6, 12, 24, 72, 168):
        out[f"volatility_{n}"] = np.log(std(n) / sigma)
    for n in (6, 24, 72):
        out[f"parkinson_{n}"] = np.log(np.sqrt((span**2).rolling(n).mean() / (4 * np.log(2))) / sigma)
    body = np.log(c["close"] / c["open"])
    squares = (0.5 * span**2 - (2 * np.log(2) - 1) * body**2).rolling(24).mean()
    out["garman_klass_24"] = np.log(np.sqrt(squares) / sigma)
    for n in (24, 72, 168):
        out[f"skewness_{n}"] = (r**3).rolling(n).mean() / std(n) ** 3
    for n in (72, 168):
        out[f"kurtosis_{n}"] = np.log1p((r**4).rolling(n).mean() / std(n) ** 4)
    for n in (24, 72):
        out[f"semivariance_asymmetry_{n}"] = -(np.sign(r) * r**2).rolling(n).mean() / (r**2).rolling(n).mean()
    for n in (24, 168):
        out[f"largest_move_{n}"] = size.rolling(n).max() / sigma
    for n in (24, 96, 160):
        out[f"autocorrelation_{n}"] = r.rolling(n).corr(r.shift(1))
    for k, n in ((4, 96), (12, 144)):
        long = (r.rolling(k).sum() ** 2).rolling(n).mean() / k
        out[f"variance_ratio_{k}_{n}"] = np.log(long / std(n) ** 2)
    for n in (24, 96):
        out[f"volatility_of_volatility_{n}"] = size.rolling(n).std(ddof=0) / size.rolling(n).mean()
    out["volatility_clustering_96"] = size.rolling(96).corr(size.shift(1))
    for fast, slow in ((6, 24), (12, 72), (24, 168)):
        out[f"volatility_{fast}_over_{slow}"] = np.log(std(fast) / std(slow))


def _flow(out: Columns, c: pd.DataFrame, x: Series, r: Series, sigma: Series) -> None:
    volume, trades, taker = c["volume"], c["trades"].astype(float), c["taker_buy_base"]
    share = taker / volume - 0.5
    for n in (6, 24, 168):
        out[f"volume_{n}"] = np.log(volume / volume.rolling(n).mean())
    for n in (24, 168):
        out[f"trades_{n}"] = np.log(trades / trades.rolling(n).mean())
        usual = volume.rolling(n).mean() / trades.rolling(n).mean()
        out[f"trade_size_{n}"] = np.log(volume / trades / usual)
        out[f"taker_surprise_{n}"] = (share - share.rolling(n).mean()) / share.rolling(n).std(ddof=0)
    out["taker_share"] = share
    for n in (3, 6, 12, 24, 72, 168):
        out[f"taker_share_{n}"] = taker.rolling(n).mean() / volume.rolling(n).mean() - 0.5
    for n in (6, 24, 72, 168):
        out[f"signed_volume_{n}"] = (np.sign(r) * volume).rolling(n).mean() / volume.rolling(n).mean()
    for n in (12, 24, 96):
        vwap = c["quote_volume"].rolling(n).sum() / volume.rolling(n).sum()
        out[f"above_vwap_{n}"] = (x - np.log(vwap)) / (sigma * np.sqrt(n))
    surprise: Series = np.log(volume / volume.rolling(24).mean())
    for n in (24, 96):
        out[f"volume_move_correlation_{n}"] = surprise.rolling(n).corr(r.abs())
    for n in (48, 144):
        out[f"flow_move_correlation_{n}"] = share.rolling(n).corr(r)
    price = r.abs() / c["quote_volume"]
    out["illiquidity_24_168"] = np.log(price.rolling(24).mean() / price.rolling(168).mean())
    for fast, slow in ((6, 24), (24, 168)):
        out[f"volume_{fast}_over_{slow}"] = np.log(volume.rolling(fast).mean() / volume.rolling(slow).mean())
    out["trades_6_over_48"] = np.log(trades.rolling(6).mean() / trades.rolling(48).mean())
    for fast, slow in ((6, 72), (24, 168)):
        out[f"taker_share_{fast}_minus_{slow}"] = share.rolling(fast).mean() - share.rolling(slow).mean()


def _shape(out: Columns, c: pd.DataFrame, r: Series, sigma: Series) -> None:
    width = c["high"] - c["low"]
    top, bottom = c[["open", "close"]].max(axis=1), c[["open", "close"]].min(axis=1)
    shapes = {
        "body": (c["close"] - c["open"]) / width,
        "upper_wick": (c["high"] - top) / width,
        "lower_wick": (bottom - c["low"]) / width,
        "close_location": (2 * c["close"] - c["high"] - c["low"]) / width,
    }
    for name, values in shapes.items():
        out[name] = values
        for n in (6, 24):
            out[f"{name}_{n}"] = values.rolling(n).mean()
    span: Series = np.log(c["high"] / c["low"])
    out["range"] = span / sigma
    for fast, slow in ((6, 48), (24, 168)):
        out[f"range_{fast}_over_{slow}"] = np.log(span.rolling(fast).mean() / span.rolling(slow).mean())
    close = pd.DatetimeIndex(c.index) + (c.index[1] - c.index[0])
    seconds = close.as_unit("s").asi8
    for name, period in (("day", 86_400), ("half_day", 43_200), ("week", 604_800)):
        angle = 2 * np.pi * (seconds % period) / period
        out[f"{name}_sin"] = pd.Series(np.sin(angle), index=c.index)
        out[f"{name}_cos"] = pd.Series(np.cos(angle), index=c.index)
