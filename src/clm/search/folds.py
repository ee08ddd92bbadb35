"""Purged, forward-chaining folds: each is trained on everything before it, and none knows what comes after.

|------------- train -------------|purge| test 1 |
|------------------ train -----------------|purge| test 2 |
|----------------------- train ----------------------|purge| test 3 | …
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from clm.core.timeline import Window

#: The later half of the window is tested on, a part at a time. More parts tell the error of a mean better,
#: and each costs a training.
FOLDS = 8


@dataclass(frozen=True, slots=True)
class Fold:
    """Windows of moments, as a `Timeline`'s."""

    train: Window
    test: Window


def chained(window: Window, purge: timedelta, step: timedelta) -> tuple[Fold, ...]:
    """The folds of `window`, oldest first; tests follow each other without a gap and end with it."""
    candles = (window.end - window.start) // step
    edges = [window.end - (FOLDS - k) * candles // (2 * FOLDS) * step for k in range(FOLDS + 1)]
    return tuple(
        Fold(Window(window.start, begin - purge), Window(begin, end)) for begin, end in pairwise(edges)
    )
