"""A seeded market to rehearse on: clustered volatility, heavy tails, and a signal that can be learnt.

Returns follow the generator of the promotion benchmark: Student-t(5) innovations of unit variance, a
GARCH(1,1) variance h and a diurnal factor. On top, a latent Gaussian AR(1) `G` (coefficient 0.7) moves the
*next* candle: r[t+1] = σ[t+1]·(±√R²·G[t] + √(1−R²)·z[t+1]). What a trader can see of G[t] is the taker's
share of candle t, 0.5 + 0.1·(0.9·G[t] + 0.44·noise). At each regime change ± turns: a model trained before
turns harmful. Symbols share a part of z (correlation 0.6) and of G (0.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from clm.core.domain import FloatArray, Series, utc
from clm.core.errors import BadInput
from clm.exchange.market import STEP_MS, Market, merge

#: Volatility of an average hour, log return.
_HOURLY_VOLATILITY = 0.006
_BURN_IN = 500
_FIRST_PRICES = (42_000.0, 2_300.0, 100.0, 310.0, 0.6)


def simulate_market(
    symbols: Sequence[str] = ("BTCUSDT",),
    interval: str = "1h",
    *,
    start: datetime,
    end: datetime,
    seed: int = 0,
    signal: float = 0.02,
    regime_changes: Sequence[datetime] = (),
) -> Market:
    """Candles from the one that holds `start` to before `end`.

    signal: attainable R² of the next candle's return, 0.02 = 2 %.
    The same seed, start and symbols give the same candles, however far the end lies.
    """
    if not 0 <= signal < 1:
        raise BadInput("signal", signal, "a share of variance from 0 to below 1; 0.02 = 2 %")
    if not symbols:
        raise BadInput("symbols", list(symbols), "at least one symbol")
    every = [Series(symbol, interval) for symbol in symbols]
    step = pd.Timedelta(milliseconds=STEP_MS[interval])
    opens = pd.date_range(pd.Timestamp(utc(start)).floor(step), utc(end), freq=step, inclusive="left")
    if len(opens) == 0:
        raise BadInput("end", end.isoformat(), f"after the start, {start.isoformat()}")
    sign = _signs(opens, regime_changes)
    n = len(opens) + _BURN_IN
    shared_z, shared_g = _stream(seed, 0), _stream(seed, 1)
    common_z, common_g = _student(shared_z, n), shared_g.standard_normal(n)
    frames = []
    for number, series in enumerate(every):
        own = [_stream(seed, 10 * (number + 1) + k) for k in range(6)]
        z = np.sqrt(0.6) * common_z + np.sqrt(0.4) * _student(own[0], n)
        g = np.sqrt(0.3) * common_g + np.sqrt(0.7) * own[1].standard_normal(n)
        latent: FloatArray = lfilter([np.sqrt(1 - 0.7**2)], [1, -0.7], g)
        first = _FIRST_PRICES[number % len(_FIRST_PRICES)]
        frames.append((series, _candles(opens, interval, z, latent, sign, signal, first, own)))
    return merge(frames, seed)


def _candles(
    opens: pd.DatetimeIndex,
    interval: str,
    z: FloatArray,
    latent: FloatArray,
    sign: FloatArray,
    signal: float,
    first_price: float,
    own: list[np.random.Generator],
) -> pd.DataFrame:
    n = len(z)
    hours = STEP_MS[interval] / 3_600_000
    variance = _garch(z)[_BURN_IN:]
    hour = (opens.hour + opens.minute / 60).to_numpy(dtype=np.float64)
    diurnal = np.exp(0.25 * np.cos(2 * np.pi * (hour - 15) / 24))
    sigma = _HOURLY_VOLATILITY * np.sqrt(hours * variance) * diurnal / np.sqrt(np.i0(0.5))
    driven = np.concatenate(([0.0], sign[1:] * latent[_BURN_IN:-1]))
    returns = sigma * (np.sqrt(signal) * driven + np.sqrt(1 - signal) * z[_BURN_IN:])

    tick = 10.0 ** (np.floor(np.log10(first_price)) - 6)
    close = _rounded(first_price * np.exp(np.cumsum(returns)), tick)
    opened = np.concatenate(([first_price], close[:-1]))
    wick = np.abs(own[2].standard_normal((n, 2))[_BURN_IN:]) * (0.4 * sigma)[:, None]
    high = np.maximum(
        _rounded(np.maximum(opened, close) * np.exp(wick[:, 0]), tick), np.maximum(opened, close)
    )
    low = np.minimum(
        _rounded(np.minimum(opened, close) * np.exp(-wick[:, 1]), tick), np.minimum(opened, close)
    )

    busy = np.exp(0.35 * own[3].standard_normal(n)[_BURN_IN:]) * variance**0.5 * diurnal
    amount = _rounded(hours * 4e7 / first_price * busy * (1 + np.abs(returns) / sigma), 1e-5)
    visible = 0.9 * latent + np.sqrt(1 - 0.9**2) * own[4].standard_normal(n)
    share = np.clip(0.5 + 0.1 * visible[_BURN_IN:], 0.02, 0.98)
    typical = (opened + high + low + close) / 4
    return pd.DataFrame(
        {
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": amount,
            "quote_volume": _rounded(amount * typical, 1e-5),
            "taker_buy_base": _rounded(amount * share, 1e-5),
            "trades": np.maximum(1, np.round(amount * first_price / 1_500)),
        },
        index=pd.DatetimeIndex(opens, name="open_time"),
    )


def _garch(z: FloatArray) -> FloatArray:
    """h[t] = 0.02 + h[t−1]·(0.06·z[t−1]² + 0.92), h[0] = 1."""
    h = np.empty(len(z))
    level = 1.0
    for t, shock in enumerate((0.06 * z**2 + 0.92).tolist()):
        h[t] = level
        level = 0.02 + level * shock
    return h


def _signs(opens: pd.DatetimeIndex, changes: Sequence[datetime]) -> FloatArray:
    """+1 before the first change, turning at each."""
    turned = sum((opens >= pd.Timestamp(utc(change))).astype(np.int64) for change in changes)
    return np.where(np.asarray(turned) % 2 == 0, 1.0, -1.0) * np.ones(len(opens))


def _stream(seed: int, number: int) -> np.random.Generator:
    """One generator per quantity, so that a longer simulation begins like a shorter one."""
    return np.random.default_rng([seed, number])


def _student(rng: np.random.Generator, n: int) -> FloatArray:
    """Student-t with 5 degrees of freedom, unit variance; one draw after the other."""
    draws: FloatArray = rng.standard_t(5, n) * np.sqrt(3 / 5)
    return draws


def _rounded(values: FloatArray, tick: float) -> FloatArray:
    rounded: FloatArray = np.round(np.round(values / tick) * tick, 8)
    return rounded
