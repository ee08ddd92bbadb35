"""Drift over time: how far each day's last five were from the training window, worked out when asked for.

Nothing of it is stored: it follows from the candles and from where the newest training ended, and what the
trigger compares with today is what is shown of every day before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm.core import drift
from clm.core.domain import ModelArtifact, Series, utc
from clm.core.errors import BadInput, InsufficientData, VersionNotFound
from clm.core.protocols import DataClient, FeatureEngineer, ModelRegistry
from clm.serving.once import Once

#: A window of more candles takes minutes and gigabytes; a year of 5m has 105,000.
MOST_CANDLES = 120_000
#: Answers kept, each some 100 kB.
_REMEMBERED = 8
#: Versions looked through for one that was trained on this series alone.
_HISTORY = 100
_DAY = timedelta(days=1)


class DriftOverTime:
    """Of every series. data: the client of a series. families: feature → its family."""

    def __init__(
        self,
        registry: ModelRegistry,
        data: Callable[[Series], DataClient],
        features: FeatureEngineer,
        families: Mapping[str, str],
    ) -> None:
        self._registry, self._data, self._features = registry, data, features
        self._families = families
        self._known: Once[tuple[object, ...], _Course] = Once(_REMEMBERED)

    def look(self, series: Series, model_type: str, *, days: int, top: int) -> dict[str, Any]:
        """The last `days` days, one moment a day, and the `top` features that have moved most by now.

        JSON-ready but for times. Worked out once a candle. Raises VersionNotFound (nothing was trained yet),
        BadInput (more candles than can be worked out), InsufficientData, and what candles raise.
        """
        registry = self._registry.for_series(series)
        history = registry.get_model_history(model_type, limit=_HISTORY)
        newest = next((version for version in history if not version.pooled), None)
        if newest is None:
            raise VersionNotFound(f"{model_type} of {series} was never trained, so nothing can have drifted")
        now = utc(self._data(series).server_time())
        many = int((now - newest.train_start) / series.step)
        if many > MOST_CANDLES:
            allowed = f"a series whose training window has at most {MOST_CANDLES:,} candles; it has {many:,}"
            raise BadInput("interval", series.interval, allowed)
        key = (series, newest.version, int(now.timestamp() // series.step.total_seconds()))
        course = self._known.get(key, lambda: self._course(newest, now))
        return {
            "symbol": series.symbol, "interval": series.interval, "model_type": model_type,
            "version": newest.version, "train_start": newest.train_start, "train_end": newest.train_end,
            "now": now, "block_days": drift.RECENT.days, **course.view(days, top, self._families),
        }  # fmt: skip

    def _course(self, newest: ModelArtifact, now: datetime) -> _Course:
        step = newest.series.step
        start = newest.train_start - (self._features.warmup + 1) * step
        features = self._features.transform(self._data(newest.series).load_training_data(start, now))
        after = features.index >= pd.Timestamp(newest.train_end)
        window = drift.Window(features.loc[~after], features.loc[after], step)
        if len(window.trained) < drift.MIN_BLOCKS * window.size:
            raise InsufficientData(
                f"{newest.model_type} {newest.version} of {newest.series} was trained on "
                f"{len(window.trained):,} candles; what is usual is known from "
                f"{drift.MIN_BLOCKS * window.size:,} on"
            )
        return _Course(window, features)


class _Course:
    """What every day came to. features: all rows, ascending."""

    def __init__(self, window: drift.Window, features: pd.DataFrame) -> None:
        self._usual = drift.Usual.of(window.trained, window.size)
        stride = window.size // drift.RECENT.days
        self._distances, self._stability = self._usual.moved(features, stride)
        moments = self._distances.shape[1]
        last = len(features) - 1 - stride * np.arange(moments)[::-1]
        self._opens = pd.DatetimeIndex(features.index)[last]
        self._step = window.step
        # A block that begins in training is not news yet.
        begins = last - window.size + 1
        self._whole = begins >= len(window.trained)
        self._ready = window.ready
        self._regime = drift.regime(window)

    def view(self, days: int, top: int, families: Mapping[str, str]) -> dict[str, Any]:
        """The newest `days` moments; the features nearest to, or over, their limit at the newest one."""
        since = max(0, len(self._opens) - days)
        usual, opens = self._usual, self._opens[since:]
        beyond = self._distances > usual.limits[:, None]
        share = beyond.mean(axis=0)[since:]
        lead = np.argsort(usual.limits - self._distances[:, -1], kind="stable")[:top]
        ratio = None
        if self._regime is not None:
            ratio = self._regime.ratio.reindex(opens, method="ffill").to_numpy(dtype=np.float64)
        return {
            "features": len(usual.names), "ready": self._ready, "share_threshold": usual.worst_block,
            "moments": [
                {
                    "at": utc(opened + self._step), "share_moved": float(share[k]),
                    "in_training": not bool(self._whole[since + k]),
                    "regime_ratio": None if ratio is None else float(ratio[k]),
                }
                for k, opened in enumerate(opens)
            ],
            "regime": None if self._regime is None else {
                "low": self._regime.low, "high": self._regime.high,
                "before_days": self._regime.before / _DAY,
            },
            "leading": [
                {
                    "feature": usual.names[at], "family": families.get(usual.names[at]),
                    "moved": bool(beyond[at, -1]), "ks_limit": float(usual.limits[at]),
                    "ks": self._distances[at, since:].tolist(), "psi": self._stability[at, since:].tolist(),
                }
                for at in lead.tolist()
            ],
        }  # fmt: skip
