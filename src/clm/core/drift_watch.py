"""Looks for drift when no plain trigger fires: reads candles, computes features, asks `clm.core.drift`."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from clm.core import drift, scoring
from clm.core.book import Source
from clm.core.domain import ModelArtifact
from clm.core.errors import InsufficientData
from clm.core.protocols import DataClient, FeatureEngineer, ModelRegistry
from clm.core.reign import load_fit
from clm.core.sheet import Sheet
from clm.core.sight import Sight
from clm.core.variance import variance_after


class DriftWatch:
    """Of one series. What was found is remembered until the next candle or training."""

    def __init__(
        self, data: DataClient, features: FeatureEngineer, registry: ModelRegistry, purge: timedelta
    ) -> None:
        self._data, self._features, self._registry, self._purge = data, features, registry, purge
        self._seen: dict[str, tuple[tuple[str, str, int], str | None]] = {}

    def reason(self, champion: ModelArtifact, newest: ModelArtifact, now: datetime) -> str | None:
        """What has moved since the last training, in a sentence; None: nothing, or too little is known.

        champion: whose performance counts; newest: the last training, whose data are what is usual.
        """
        candle = int(now.timestamp() // champion.series.step.total_seconds())
        key = (newest.version, champion.version, candle)
        if champion.model_type not in self._seen or self._seen[champion.model_type][0] != key:
            self._seen[champion.model_type] = (key, self._look(champion, newest, now))
        return self._seen[champion.model_type][1]

    def _look(self, champion: ModelArtifact, newest: ModelArtifact, now: datetime) -> str | None:
        if now - newest.train_end < drift.RECENT:
            return None
        start = newest.train_start - (self._features.warmup + 1) * champion.series.step
        candles = self._data.load_training_data(start, now)
        if len(candles) < 2:
            return None
        try:
            sheet = Sheet(self._features, candles)
        except InsufficientData:
            # After a long gap there is nothing to compare yet.
            return None
        features = sheet.frame
        after = features.index >= pd.Timestamp(newest.train_end)
        window = drift.Window(features.loc[~after], features.loc[after], champion.series.step)
        return (
            drift.regime_shift(window) or drift.feature_drift(window) or self._decay(champion, sheet, candles)
        )

    def _decay(self, champion: ModelArtifact, sheet: Sheet, candles: pd.DataFrame) -> str | None:
        """The champion on all candles since its training, against its own holdout."""
        own = champion.train_end + self._purge
        stored = self._registry.book.forecasts(champion.model_type, champion.version)
        holdout = [f for f in stored if f.source is Source.HOLDOUT and f.open_time < own]
        model, _ = load_fit(self._registry, champion, Sight.of(self._features))
        if model is None or not holdout:
            return None
        features = sheet.of(model)
        rows = scoring.with_known_outcome(features.loc[features.index >= pd.Timestamp(own)])
        if rows.empty:
            return None
        variance = variance_after(candles).loc[rows.index].to_numpy()
        live = scoring.forecasts(model, rows, champion.version), scoring.outcomes(rows), variance
        columns = [(f.forecast, f.actual, f.variance) for f in holdout if f.actual is not None]
        p, r, v = np.array(columns, dtype=np.float64).T
        return drift.performance_decay(live, (p, r, v), champion.series.step)
