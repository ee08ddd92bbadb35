"""One row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clm.features.arithmetic import Values
from clm.features.bars import SIGMA_WINDOW, Bars

Function = Callable[[Bars], Values]


@dataclass(frozen=True, slots=True)
class Feature:
    """A causal, near-stationary function of candles.

    lookback: candles before the first valid value. A changed definition gets a new name: models know their
    inputs by name. basic: also in the small catalogue.
    """

    name: str
    family: str
    lookback: int
    function: Function
    basic: bool = False


def scaled(own: int) -> int:
    """Look-back of a feature that is divided by the volatility: at least the volatility's own."""
    return max(own, SIGMA_WINDOW)
