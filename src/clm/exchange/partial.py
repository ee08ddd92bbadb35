"""The open candle: what can be seen of a candle while it is still being traded.

The price goes from the open to the close along a Brownian bridge (a Brownian motion given where it ends)
whose volatility is that of the candle's own range (Parkinson 1980: variance = (ln high/low)² / 4 ln 2). So a
partial candle says of the final close what the elapsed part of a Brownian path says of its end: their squared
correlation is about the elapsed fraction. Volumes come in along gamma bridges, one for the takers who buy
and one for the rest: neither the final volume nor the final share of buyers follows from the elapsed time.

Promised: the true open; highs that only rise, lows that only fall, volumes and trades that only grow; all
within the final candle, and other than its final values wherever it leaves room for that (a candle that never
left its open has no other price to show). Nothing of any later candle. The same at every time of asking.
Not promised: the course the real market took, which is not in the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, exp, floor, log, sqrt

import numpy as np

from clm.core.domain import FloatArray

#: Points of the path within one candle.
_POINTS = 64
_TIMES = np.linspace(0.0, 1.0, _POINTS + 1)
#: Share of the way from the open to a final extreme that shows before the close.
_REACH = 0.97
#: Gamma shape of the volume between two points: at half-time the final volume is known to about a third.
_SHAPE = 0.15
#: Part of the volume that comes in evenly, so that some is missing until the very end.
_EVEN = 0.05


def partial_candle(
    whole: Mapping[str, float], elapsed: float, seed: list[int], price_places: int, volume_places: int
) -> dict[str, float]:
    """`whole` after the fraction `elapsed` (0 to below 1) of its time, along the path that `seed` names.

    price_places, volume_places: decimal places the market quotes.
    """
    rng = np.random.default_rng(seed)
    opened, high, low, close = whole["open"], whole["high"], whole["low"], whole["close"]
    walk = np.concatenate(([0.0], np.cumsum(rng.normal(0.0, sqrt(1 / _POINTS), _POINTS))))
    volatility = log(high / low) / (2 * sqrt(log(2)))
    path = log(opened) + _TIMES * log(close / opened) + volatility * (walk - _TIMES * walk[-1])
    buyers, sellers = _course(rng), _course(rng)

    seen = np.append(path[elapsed >= _TIMES], np.interp(elapsed, _TIMES, path))
    highest, lowest, last = (
        _short_of_extremes(exp(level), opened, high, low, price_places)
        for level in (float(seen.max()), float(seen.min()), float(seen[-1]))
    )
    if last == close:
        last = _beside(close, opened, highest, lowest, price_places)
    bought, sold = whole["taker_buy_base"], whole["volume"] - whole["taker_buy_base"]
    taker = _cut(bought * _at(buyers, elapsed), volume_places)
    rest = _cut(sold * _at(sellers, elapsed), volume_places)
    times = np.append(_TIMES[elapsed >= _TIMES], elapsed)
    flow = bought * np.interp(times, _TIMES, buyers) + sold * np.interp(times, _TIMES, sellers)
    turned_over = float(np.diff(flow) @ np.exp(seen[1:]))
    # The path's prices are not the ones the final turnover was made of: stay short of it.
    most = whole["quote_volume"] * (1 + float(flow[-1]) / (bought + sold)) / 2 if bought + sold else 0.0
    return {
        "open": opened,
        "close": last,
        "high": highest,
        "low": lowest,
        "volume": taker + rest,
        "quote_volume": min(turned_over, most),
        "taker_buy_base": taker,
        "trades": float(int(whole["trades"] * _at(sellers, elapsed))),
    }


def _course(rng: np.random.Generator) -> FloatArray:
    """Share of a total that has come in at each point of the candle, 0 to 1, never falling."""
    parts = rng.gamma(_SHAPE, size=_POINTS)
    uneven = np.concatenate(([0.0], np.cumsum(parts))) / parts.sum()
    course: FloatArray = (1 - _EVEN) * uneven + _EVEN * _TIMES
    return course


def _at(course: FloatArray, elapsed: float) -> float:
    return float(np.interp(elapsed, _TIMES, course))


def _short_of_extremes(price: float, opened: float, high: float, low: float, places: int) -> float:
    """`price` on the price grid, rounded towards the open, and short of the final high and low."""
    scale = 10.0**places
    if price > opened:
        reached = min(price, opened + _REACH * (high - opened))
        return max(opened, round(floor(reached * scale) / scale, places))
    reached = max(price, opened - _REACH * (opened - low))
    return min(opened, round(ceil(reached * scale) / scale, places))


def _beside(close: float, opened: float, highest: float, lowest: float, places: int) -> float:
    """A price one step from the final close among those traded so far; the close where there is none."""
    step = 10.0**-places if opened > close else -(10.0**-places)
    for price in (round(close + step, places), round(close - step, places)):
        if lowest <= price <= highest:
            return price
    return close


def _cut(value: float, places: int) -> float:
    return floor(value * 10.0**places) / 10.0**places
