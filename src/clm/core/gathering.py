"""Candles and features of a cycle, read once for all its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial

import pandas as pd

from clm.core.attempt import Material
from clm.core.certificate import check_truncation
from clm.core.domain import Series, utc
from clm.core.errors import InsufficientData
from clm.core.protocols import DataClient, FeatureEngineer
from clm.core.sheet import Sheet
from clm.core.sight import Sight
from clm.core.timeline import Timeline, TimelineRule
from clm.core.variance import variance_after

#: Called with how many steps are done, the step that begins, and a sentence about it.
Tell = Callable[[int, str, str], None]


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Of one series."""

    data: DataClient
    features: FeatureEngineer
    rule: TimelineRule

    @property
    def series(self) -> Series:
        return self.data.series

    def material(self, now: datetime, tell: Tell) -> Material:
        """Everything the models of one cycle share. Raises InsufficientData, and what its parts raise."""
        timeline = self.rule.at(now, self.series.step)
        tell(0, "candles", f"reading {self.series} candles since {timeline.fit.start:%Y-%m-%d}")
        candles = self._candles(timeline)
        timeline = self.rule.at(now, self.series.step, self._first_row(utc(candles.index[0])))
        tell(1, "features", f"computing features of {len(candles):,} candles")
        sheet = Sheet(self.features, candles)
        return Material(
            self.series, now, timeline, candles, sheet, variance_after(candles),
            cache(partial(check_truncation, self.features, candles, sheet.frame)), Sight.of(self.features),
        )  # fmt: skip

    def short_by(self, begins: datetime, now: datetime) -> str | None:
        """In words, how many candles are missing where the history begins then; None: it is long enough."""
        step = self.series.step
        span = self.rule.at(now, step).now - self._first_row(begins)
        missing = -((span - self.rule.least(step)) // step)
        if missing <= 0:
            return None
        return (
            f"its history begins on {begins:%Y-%m-%d %H:%M} UTC and needs {missing:,} more candles, "
            f"{missing * step / timedelta(days=1):.1f} days, before a model can be trained and judged"
        )

    def _first_row(self, begins: datetime) -> datetime:
        """The close of the first candle with features, of a history that begins then."""
        return begins + (self.features.warmup + 1) * self.series.step

    def _candles(self, timeline: Timeline) -> pd.DataFrame:
        # One more than the warm-up: the first row's candle closes, not opens, where the window begins.
        start = timeline.fit.start - (self.features.warmup + 1) * self.series.step
        candles = self.data.load_training_data(start, timeline.now)
        if candles.empty:
            raise InsufficientData(
                f"{self.series}: the exchange has no candle between {start:%Y-%m-%d} "
                f"and {timeline.now:%Y-%m-%d %H:%M} UTC"
            )
        opens, step = pd.DatetimeIndex(candles.index), self.series.step
        short = self.short_by(utc(opens[0]), timeline.now)
        if short is not None:
            raise InsufficientData(f"{self.series}: {short}")
        newest = utc(opens[-1]) + step
        if newest <= timeline.shadow.start:
            raise InsufficientData(
                f"{self.series}: the newest candle closed at {newest:%Y-%m-%d %H:%M} UTC, before the last "
                f"{self.rule.shadow}; the exchange no longer trades it, or lags behind its own clock"
            )
        return candles
