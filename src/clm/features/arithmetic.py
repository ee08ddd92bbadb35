"""Arithmetic that takes a number as readily as a series: a feature is written once, and computed for either.

A number is a Python float and answered by one, which is many times quicker than NumPy with a single value.
Of two arguments both are numbers or both series; where one may be a constant, it is the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

#: A float64 series of shape (n_candles,), or the newest candle's float.
Values = Any


def _either(number: Callable[[float], float], series: np.ufunc) -> Callable[[Values], Values]:
    return lambda x: number(x) if isinstance(x, float) else series(x)


def _log(x: float) -> float:
    if x > 0:
        return math.log(x)
    return -math.inf if x == 0 else math.nan


log = _either(_log, np.log)
log1p = _either(math.log1p, np.log1p)
sqrt = _either(math.sqrt, np.sqrt)
sin = _either(math.sin, np.sin)
cos = _either(math.cos, np.cos)


def maximum(a: Values, b: Values) -> Values:
    return max(a, b) if isinstance(a, float) else np.maximum(a, b)


def minimum(a: Values, b: Values) -> Values:
    return min(a, b) if isinstance(a, float) else np.minimum(a, b)


def clip(x: Values, low: float, high: float) -> Values:
    return min(max(x, low), high) if isinstance(x, float) else np.clip(x, low, high)


def where(condition: Any, a: Values, b: Values) -> Values:
    """`a` where the condition holds, else `b`."""
    if isinstance(condition, bool):
        return a if condition else b
    return a if condition.all() else np.where(condition, a, b)


def ratio(a: Values, b: Values, neutral: float = 0.0) -> Values:
    """a/b, `neutral` where b is zero."""
    if isinstance(b, float):
        return a / b if b > 0 else neutral
    if b.min(initial=1.0) > 0:
        # Many times quicker than a division here and there.
        return a / b
    out = np.full(b.shape, neutral)
    np.divide(a, b, out=out, where=b > 0)
    return out


def log_ratio(a: Values, b: Values) -> Values:
    """Log of a/b for amounts that may be zero: a thousandth of b is added to both; 0 where b is zero.

    Scale-free, and bounded below where a candle saw no trade at all.
    """
    return log(ratio(a + 1e-3 * b, 1.001 * b, 1.0))
