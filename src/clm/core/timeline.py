"""lookback → fit | purge | holdout | shadow: pure arithmetic on timestamps.

     now-lookback                                              holdout_end   now
       |------------- fit -------------|purge|------ holdout ------|- shadow -|
       |-------------------- refit ---------------------|purge|

Windows speak of *moments*: a row belongs to a window when its forecast is made (its candle closes) at or
after the start and its target is known at or before the end. `fit` and `refit` therefore hold no label that
reaches past their end, and `purge` keeps the labels and the slow features of both sides apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor, log10

import numpy as np
import pandas as pd

from clm.core.domain import INTERVALS, TARGET, utc
from clm.core.errors import InvalidSetting

#: Rows to train on: below this a fit is noise whatever the parameters. Windows leave a few more, for gaps.
MIN_ROWS, ROOM = 200, 220
#: Below this many candles that are out-of-sample a point estimate says nothing.
MIN_COMPARED = 30
#: A lookback with no room for the configured purge is at least so many purges long.
_PURGES = 14
#: Window → the setting it is told by.
_SETTINGS = {
    "lookback": "training_lookback_days", "holdout": "holdout_days", "shadow": "shadow_test_hours",
    "purge": "purge_hours",
}  # fmt: skip


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
    """Lengths of the windows, all positive, as they are asked for.

    Where half of what there is (the lookback, or a history that is younger) has no room for holdout, shadow
    and purge, holdout and purge are shorter: see `at`. The shadow never is.
    """

    lookback: timedelta = timedelta(days=365)
    holdout: timedelta = timedelta(days=30)
    shadow: timedelta = timedelta(hours=24)
    purge: timedelta = timedelta(hours=24)
    horizon: int = 1

    def __post_init__(self) -> None:
        for name, setting in _SETTINGS.items():
            value: timedelta = getattr(self, name)
            if value <= timedelta(0):
                raise InvalidSetting(setting, str(value), "a positive length of time")
        if self.horizon < 1:
            raise InvalidSetting("horizon", self.horizon, "a whole number of candles, at least 1")

    def require(self, step: timedelta) -> None:
        """Raises InvalidSetting, by the setting's name, where no cycle on candles of `step` could succeed."""
        label, candle = self.horizon * step, _told(step)
        if self.purge < label:
            raise InvalidSetting(
                "purge_hours", _hours(self.purge), f"at least the label's, {_enough(_hours(label))}"
            )
        if self.shadow < label:
            allowed = f"at least {_enough(_hours(label))}, one candle of {candle} with a known outcome"
            raise InvalidSetting("shadow_test_hours", _hours(self.shadow), allowed)
        if self.holdout < MIN_COMPARED * step:
            enough = _enough(_days(MIN_COMPARED * step))
            allowed = f"at least {enough}, {MIN_COMPARED} candles of {candle} to judge on"
            raise InvalidSetting("holdout_days", _days(self.holdout), allowed)
        least = self.least(step)
        roomy = self._roomy(self.lookback, self.holdout + self.shadow + self.purge, step)
        if self.lookback < least and not roomy:
            # With a longer lookback the purge is longer too.
            while (again := replace(self, lookback=least).least(step)) > least:
                least = again
            purge = replace(self, lookback=least)._purge(step)
            raise InvalidSetting(
                "training_lookback_days", _days(self.lookback),
                f"at least {_enough(_days(least))}: {ROOM} candles of {candle} to train on, "
                f"{MIN_COMPARED} to judge on, {_hours(self.shadow):g} hours of shadow test "
                f"(CLM_SHADOW_TEST_HOURS) and {_hours(purge):g} of purge (CLM_PURGE_HOURS)",
            )  # fmt: skip

    def least(self, step: timedelta) -> timedelta:
        """The shortest span, from the first row of features to now, that windows fit into."""
        return self.shadow + self._purge(step) + (MIN_COMPARED + ROOM + self.horizon - 1) * step

    def at(self, now: datetime, step: timedelta, begins: datetime | None = None) -> Timeline:
        """The windows as of `now`, cut at the last candle close so that no window ends inside a candle.

        begins: the close of the first candle with features; None: where the lookback begins. A holdout that
        half of that span has no room for, beside shadow and purge, takes what is left of that half, and
        leaves `ROOM` candles to train on. The purge depends on the lookback alone: where that has no room for
        all, it is at most a day in a fortnight. Raises InvalidSetting where the purge is shorter than the
        label (horizon × step).
        """
        if self.purge < self.horizon * step:
            label = self.horizon * step
            raise InvalidSetting("purge", str(self.purge), f"at least the label's length, {label}")
        moment = utc(now)
        epoch = datetime(1970, 1, 1, tzinfo=moment.tzinfo)
        now = epoch + (moment - epoch) // step * step
        span = self.lookback if begins is None else min(self.lookback, now - utc(begins))
        purge = self._purge(step)
        start = now - self.lookback
        shadow = Window(now - self.shadow, now)
        holdout = Window(shadow.start - self._holdout(span, purge, step), shadow.start)
        return Timeline(
            now=now,
            fit=Window(start, holdout.start - purge),
            holdout=holdout,
            refit=Window(start, shadow.start - purge),
            shadow=shadow,
            purge=purge,
        )

    def as_at(self, timeline: Timeline) -> TimelineRule:
        """The lengths that `timeline` came to, which make it again."""
        return replace(self, holdout=timeline.holdout.end - timeline.holdout.start, purge=timeline.purge)

    def _purge(self, step: timedelta) -> timedelta:
        if self.lookback >= 2 * (self.holdout + self.shadow + self.purge):
            return self.purge
        return min(self.purge, max(self.horizon * step, self.lookback / _PURGES // step * step))

    def _holdout(self, span: timedelta, purge: timedelta, step: timedelta) -> timedelta:
        besides = self.shadow + purge
        if self._roomy(span, self.holdout + besides, step):
            return self.holdout
        room = min(span / 2, span - ROOM * step) - besides
        return min(self.holdout, max(room // step, MIN_COMPARED) * step)

    def _roomy(self, span: timedelta, reserved: timedelta, step: timedelta) -> bool:
        """Whether at least half of a span is left to train on, and enough of it."""
        return span >= 2 * reserved and span - reserved >= (MIN_ROWS + self.horizon - 1) * step


def _told(step: timedelta) -> str:
    """A candle's length, as intervals are named."""
    return next((name for name, length in INTERVALS.items() if length == step), str(step))


def _days(length: timedelta) -> float:
    return length / timedelta(days=1)


def _enough(value: float) -> str:
    """In four digits, rounded up: who sets what is told is not refused again."""
    scale = 10.0 ** (3 - floor(log10(value)))
    return f"{ceil(value * scale - 1e-9) / scale:g}"


def _hours(length: timedelta) -> float:
    return length / timedelta(hours=1)
