"""lookback → fit | purge | holdout | shadow: pure arithmetic on timestamps.

     now-lookback                                              holdout_end   now
       |------------- fit -------------|purge|------ holdout ------|- shadow -|
       |-------------------- refit ---------------------|purge|

Windows speak of *moments*: a row belongs to a window when its forecast is made (its candle closes) at or
after the start and its target is known at or before the end. `fit` and `refit` therefore hold no label that
reaches past their end, and `purge` keeps the labels and the slow features of both sides apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from clm.core.domain import TARGET, utc
from clm.core.errors import InvalidSetting

#: Rows to train on: below this a fit is noise whatever the parameters.
MIN_ROWS = 200


@dataclass(frozen=True, slots=True)
class Window:
    """Moments start <= t <= end; see the module for what that means for a row."""

    start: datetime
    end: datetime

    def rows(self, frame: pd.DataFrame, step: timedelta, horizon: int = 1) -> pd.DataFrame:
        """The rows of a feature frame that lie wholly inside and have a known target."""
        opens = pd.DatetimeIndex(frame.index)
        first, last = pd.Timestamp(self.start - step), pd.Timestamp(self.end - (1 + horizon) * step)
        inside = (opens >= first) & (opens <= last) & np.isfinite(frame[TARGET].to_numpy())
        rows: pd.DataFrame = frame.loc[inside]
        return rows


@dataclass(frozen=True, slots=True)
class Timeline:
    """The windows of one cycle."""

    now: datetime
    fit: Window
    holdout: Window
    refit: Window
    shadow: Window
    purge: timedelta

    def out_of_sample(self, train_end: datetime) -> Window:
        """The part of the holdout a model whose training ended at `train_end` has never seen.

        May be empty (start > end): then there is nothing to compare.
        """
        return Window(max(self.holdout.start, utc(train_end) + self.purge), self.holdout.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRule:
    """Lengths of the windows. All positive; the lookback must leave room to fit before the holdout."""

    lookback: timedelta = timedelta(days=365)
    holdout: timedelta = timedelta(days=30)
    shadow: timedelta = timedelta(hours=24)
    purge: timedelta = timedelta(hours=24)
    horizon: int = 1

    def __post_init__(self) -> None:
        for name in ("lookback", "holdout", "shadow", "purge"):
            value: timedelta = getattr(self, name)
            if value <= timedelta(0):
                raise InvalidSetting(name, str(value), "a positive length of time")
        if self.horizon < 1:
            raise InvalidSetting("horizon", self.horizon, "a whole number of candles, at least 1")
        reserved = self.holdout + self.shadow + self.purge
        if self.lookback < 2 * reserved:
            raise InvalidSetting(
                "lookback",
                str(self.lookback),
                f"at least {2 * reserved}, twice holdout + shadow + purge ({reserved}), "
                "so that at least half of it is left to train on",
            )

    def at(self, now: datetime, step: timedelta) -> Timeline:
        """The windows as of `now`, cut at the last candle close so that no window ends inside a candle.

        Raises InvalidSetting where the purge is shorter than the label (horizon × step).
        """
        if self.purge < self.horizon * step:
            label = self.horizon * step
            raise InvalidSetting("purge", str(self.purge), f"at least the label's length, {label}")
        moment = utc(now)
        epoch = datetime(1970, 1, 1, tzinfo=moment.tzinfo)
        now = epoch + (moment - epoch) // step * step
        start = now - self.lookback
        shadow = Window(now - self.shadow, now)
        holdout = Window(shadow.start - self.holdout, shadow.start)
        return Timeline(
            now=now,
            fit=Window(start, holdout.start - self.purge),
            holdout=holdout,
            refit=Window(start, shadow.start - self.purge),
            shadow=shadow,
            purge=self.purge,
        )
