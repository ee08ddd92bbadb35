"""What forecasts are made of: the newest one, those of a month, and one version's against another's.

Everything comes from `ExplainedModel.contributions`; whatever family offers that is explained alike. What a
model listens to says nothing of whether it is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.closes import newest_close
from clm.core.domain import FloatArray, FloatMatrix, ModelArtifact, Series, utc
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ClmError,
    InsufficientData,
    NotExplainable,
    VersionNotFound,
)
from clm.core.protocols import (
    Clock,
    DataClient,
    ExplainedModel,
    FeatureEngineer,
    ModelRegistry,
    TrainedModel,
    TreeModel,
)
from clm.core.sheet import Sheet, former_of
from clm.core.sight import Sight
from clm.serving.anatomy import Anatomy, drift_view, forecast_view, importance_view
from clm.serving.once import Once

#: Importance is taken over the candles of so many days, evenly thinned to so many at most.
SAMPLE_DAYS, SAMPLE_ROWS = 30, 500
_REMEMBERED = 64
_FRAMES = 8


@dataclass(frozen=True, slots=True)
class _Frame:
    """A sample of the last month's features, and the candle it ends with."""

    rows: pd.DataFrame
    newest: datetime


class Explainer:
    """Explains versions of any series; remembers what it has worked out until the next candle closes.

    data: the client of a series. engineers: the first that computes a model's features is taken. families:
    of features, by name. Safe to be asked by many threads.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        data: Callable[[Series], DataClient],
        engineers: Sequence[FeatureEngineer],
        families: Mapping[str, str],
        *,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._registry = registry
        self._data = data
        self._engineers = tuple(engineers)
        self._families = families
        self._clock = clock
        self._anatomies: Once[tuple[object, ...], Anatomy] = Once(_REMEMBERED)
        self._frames: Once[tuple[object, ...], _Frame] = Once(_FRAMES)

    def explain(
        self,
        series: Series,
        model_type: str,
        *,
        version: str | None = None,
        against: str | None = None,
        top: int | None = None,
    ) -> dict[str, Any]:
        """The champion, or `version`: its newest forecast, its importances, and what changed since `against`.

        against: by default the version it replaced; for one that never reigned, the champion. top: features
        listed of each, None: all. JSON-ready but for times. Raises VersionNotFound, NotExplainable,
        InsufficientData, and what candles raise.
        """
        began = self._clock()
        registry = self._registry.for_series(series)
        champion = registry.get_active(model_type)
        chosen = champion if version is None else registry.get_version(model_type, version)
        if chosen is None:
            raise VersionNotFound(f"{model_type} of {series} has no champion to explain; name a version")
        step = series.step
        opened = newest_close(utc(self._data(series).server_time()), step) - step
        anatomy = self._anatomy(registry, chosen, opened)
        before, note = self._before(registry, chosen, champion, against, opened)
        return {
            "symbol": series.symbol, "interval": series.interval, "model_type": model_type,
            "version": chosen.version, "status": chosen.status, "trained_at": chosen.trained_at,
            "forecast": forecast_view(anatomy, self._families, step, top),
            "importance": importance_view(anatomy, self._families, top),
            "drift": None if before is None else drift_view(anatomy, before, self._families, top),
            "drift_note": note, "seconds": round(self._clock() - began, 4),
        }  # fmt: skip

    def _before(
        self,
        registry: ModelRegistry,
        chosen: ModelArtifact,
        champion: ModelArtifact | None,
        against: str | None,
        opened: datetime,
    ) -> tuple[Anatomy | None, str | None]:
        """(what to compare with, None) or (None, why there is nothing); an error where it was asked for."""
        if against is not None:
            return self._anatomy(registry, registry.get_version(chosen.model_type, against), opened), None
        reigned = chosen.promoted_at is not None
        name = chosen.replaced_version if reigned else (champion.version if champion else None)
        if name is None:
            return None, "it replaced no version" if reigned else "there is no champion to compare with"
        try:
            return self._anatomy(registry, registry.get_version(chosen.model_type, name), opened), None
        except (NotExplainable, VersionNotFound) as error:
            return None, str(error)

    def _anatomy(self, registry: ModelRegistry, artifact: ModelArtifact, opened: datetime) -> Anatomy:
        """A version taken apart at the candle that opened then, or at the newest there is."""
        # A file that is set aside or put away meanwhile is no longer explained.
        key = (
            registry.series, artifact.model_type, artifact.version, artifact.artifact_sha256,
            artifact.quarantined_at, artifact.pruned_at, opened,
        )  # fmt: skip
        found = self._anatomies.get(key, lambda: self._take_apart(registry, artifact, opened))
        if found.open_time != opened:
            # The exchange is a moment late with its newest candle.
            self._anatomies.forget(key)
        return found

    def _take_apart(self, registry: ModelRegistry, artifact: ModelArtifact, opened: datetime) -> Anatomy:
        said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
        try:
            model = registry.load_model(artifact)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            back = f"`clm reproduce {artifact.version} --model {artifact.model_type} --restore`"
            raise NotExplainable(f"{error}; {back} may bring it back") from error
        names = model.feature_names
        frame = self._frame(registry.series, names, opened, said)
        rows = frame.rows[[*names]]
        base, parts = _contributions(model, rows, said)
        return Anatomy(
            artifact=artifact,
            open_time=frame.newest,
            forecast=float(scoring.forecasts(model, rows.iloc[[-1]], artifact.version)[0]),
            base=float(base[-1]),
            names=names,
            values=rows.iloc[-1].to_numpy(dtype=np.float64),
            contributions=parts[-1],
            importance=np.abs(parts).mean(axis=0),
            gains=model.gains() if isinstance(model, TreeModel) else None,
            rows=len(rows),
            since=utc(pd.DatetimeIndex(rows.index)[0]),
        )

    def _frame(self, series: Series, names: Sequence[str], opened: datetime, said: str) -> _Frame:
        """The last month's rows, by the first engineer that computes all of `names`."""
        able = [e for e in self._engineers if set(names) <= set(Sight.of(e).names)]
        if not able:
            known = {name for engineer in self._engineers for name in Sight.of(engineer).names}
            lacking = [name for name in names if name not in known]
            raise NotExplainable(
                f"{said} needs {len(lacking)} features that are not computed any more, such as {lacking[0]}"
            )
        former = tuple(former_of(able[0], names))
        key = (series, id(able[0]), former, opened)
        frame = self._frames.get(key, lambda: self._features(series, able[0], former, opened))
        if frame.newest != opened:
            self._frames.forget(key)
        return frame

    def _features(
        self, series: Series, engineer: FeatureEngineer, former: Sequence[str], opened: datetime
    ) -> _Frame:
        step = series.step
        start = opened - timedelta(days=SAMPLE_DAYS) - (engineer.warmup + 1) * step
        candles = self._data(series).load_training_data(start, opened + step)
        features = Sheet(engineer, candles).telling(former)
        newest, last = (pd.DatetimeIndex(frame.index)[-1] for frame in (candles, features))
        if last != newest:
            raise InsufficientData(
                f"{series}: the candle of {newest:%Y-%m-%d %H:%M} UTC has no full history behind it, so that "
                "nothing can be forecast from it; a gap is too near"
            )
        return _Frame(sample(features), utc(newest))


def sample(features: pd.DataFrame) -> pd.DataFrame:
    """At most `SAMPLE_ROWS` rows of the last `SAMPLE_DAYS` days, evenly spaced, the newest among them."""
    opens = pd.DatetimeIndex(features.index)
    recent = features.loc[opens > opens[-1] - pd.Timedelta(days=SAMPLE_DAYS)]
    places = np.linspace(0, len(recent) - 1, min(SAMPLE_ROWS, len(recent))).round().astype(np.intp)
    return recent.iloc[places]


def _contributions(model: TrainedModel, rows: pd.DataFrame, said: str) -> tuple[FloatArray, FloatMatrix]:
    """As `ExplainedModel.contributions`, and as it promises. Raises NotExplainable."""
    if not isinstance(model, ExplainedModel):
        raise NotExplainable(
            f"{said} cannot say what its forecasts are made of: {scoring.called(model)} models have no "
            "`contributions` (see clm.core.protocols.ExplainedModel); those of xgboost and lightgbm have"
        )
    try:
        base, parts = model.contributions(rows)
    except ClmError:
        raise
    except Exception as exc:
        # Models come from anywhere, and raise anything.
        raise NotExplainable(f"{said} broke down explaining itself: {type(exc).__name__}: {exc}") from exc
    forecast = scoring.forecasts(model, rows, said)
    shapes = (np.shape(base), np.shape(parts))
    if shapes != ((len(rows),), (len(rows), len(model.feature_names))):
        raise NotExplainable(f"{said} answers contributions of shapes {shapes[0]} and {shapes[1]}")
    if not np.allclose(base + parts.sum(axis=1), forecast, rtol=1e-6, atol=1e-12):
        raise NotExplainable(f"{said}: its contributions do not add up to its forecasts")
    return base, parts
