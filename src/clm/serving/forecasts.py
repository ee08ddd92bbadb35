"""What a forecast is asked through: the newest snapshot of a series, or candles somebody brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, FeatureRow, Series
from clm.core.ensemble import mixed
from clm.core.ensembles import ENSEMBLE
from clm.core.errors import BadInput, InsufficientData, InvalidCandles, VersionNotFound
from clm.core.experiments import Assigned, check_caller
from clm.core.intervals import Interval, IntervalTracker
from clm.core.newest import forecast_row
from clm.core.protocols import FeatureEngineer, ModelRegistry
from clm.core.sheet import SheetRow
from clm.core.variance import variance_after
from clm.serving.answer import answer, default_model, unchanging
from clm.serving.follower import Follower
from clm.serving.shelf import Shelf
from clm.serving.snapshot import Limits, Served, Snapshot, oddest

#: Wrong candles that are named in one answer.
_SHOWN = 20


class Assign(Protocol):
    """Which arm of a running experiment answers a caller; None: the champion does."""

    def __call__(
        self, series: Series, model_type: str, caller: str | None, *, now: datetime | None
    ) -> Assigned | None: ...


def _nobody(series: Series, model_type: str, caller: str | None, *, now: datetime | None) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Forecasts:
    """models, limits: of a series. check: raises for candles that are none. assign: see `Assign`.

    shelf, registry: where models are.
    """

    follower: Follower
    models: Callable[[Series], tuple[str, ...]]
    limits: Callable[[Series], Limits]
    engineer: FeatureEngineer
    check: Callable[[pd.DataFrame, Series], object]
    shelf: Shelf
    registry: ModelRegistry
    assign: Assign = _nobody

    def answer(
        self, series: Series, model: str | None = None, *, caller: str | None = None
    ) -> dict[str, Any]:
        """The forecast of the candle after the newest closed one.

        From memory, but for a caller's first sight in an experiment. Raises BadInput: model, caller.
        """
        if caller is not None:
            check_caller(caller)
        snapshot = self.follower.snapshot(series)
        wanted = self._wanted(snapshot, model)
        served, told, now = snapshot.by_model.get(wanted), None, self.follower.now()
        asks = caller is not None and wanted != ENSEMBLE
        arm = self.assign(series, wanted, caller, now=now) if asks else None
        if arm is not None and (wanted, arm.version) in snapshot.by_version:
            served = snapshot.by_version[wanted, arm.version]
            told = {"id": arm.experiment_id, "arm": arm.arm}
        key = (wanted, served.version if served else None)
        base = snapshot.told.get(key)
        if base is None:
            base = snapshot.told[key] = unchanging(snapshot, wanted, served)
        found = answer(base, snapshot, served, now, self.limits(series), told)
        if found["problem"] is None and "stale_data" in found["reasons"]:
            found["problem"] = self.follower.trouble
        return found

    def from_candles(
        self, series: Series, model: str | None, candles: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The champion's forecast from these candles instead of the exchange's; stored nowhere.

        Raises BadInput (too few of them, such as are none, or a model that cannot), VersionNotFound,
        ArtifactMissing and ArtifactCorrupt.
        """
        frame = _frame(candles)
        sheet = self._row_of(frame, series)
        known = self.follower.snapshot(series)
        wanted = self._wanted(known, model)
        snapshot = Snapshot(
            series=series, open_time=frame.index[-1].to_pydatetime(), close=float(frame["close"].iloc[-1]),
            variance=float(variance_after(frame).iloc[-1]), champions=known.champions, tracker=known.tracker,
            known=known.known,
        )  # fmt: skip
        members = self.models(series) if wanted == ENSEMBLE else (wanted,)
        made = {
            m: self._forecast(snapshot, known.by_model[m], sheet, frame)
            for m in members
            if m in known.champions
        }
        if not made or wanted not in known.by_model:
            raise VersionNotFound(f"{wanted} of {series} has no champion that could forecast")
        served = _mixed(snapshot, known.by_model[wanted], made) if wanted == ENSEMBLE else made[wanted]
        base = unchanging(snapshot, wanted, served)
        return answer(base, snapshot, served, self.follower.now(), self.limits(series))

    def _row_of(self, frame: pd.DataFrame, series: Series) -> SheetRow:
        """What can be seen in candles that are not the exchange's: their mistakes are the caller's."""
        allowed = f"the newest {self.engineer.warmup + 1} closed candles, without a gap"
        try:
            self.check(frame, series)
            with np.errstate(all="ignore"):
                sheet = SheetRow(self.engineer, frame)
        except InvalidCandles as exc:
            value = list(exc.rows[:_SHOWN]) or f"{len(frame)} candles"
            raise BadInput("candles", value, allowed, message=f"candles: {exc}") from exc
        except InsufficientData as exc:
            raise BadInput("candles", f"{len(frame)} candles", allowed) from exc
        _require_numbers(frame, sheet.names, sheet.row)
        return sheet

    def _forecast(self, snapshot: Snapshot, served: Served, sheet: SheetRow, frame: pd.DataFrame) -> Served:
        """What one champion says of the last candle of `snapshot`."""
        champion = snapshot.champions[served.model]
        model = self.shelf.take(self.registry.for_series(snapshot.series), champion.artifact)
        with np.errstate(all="ignore"):
            names, row = sheet.of(model)
        _require_numbers(frame, names, row)
        forecast = forecast_row(model, names, row, served.version)
        score, limit = champion.unlikeness(names, row)
        interval = _around(snapshot, champion.tracker, forecast)
        return replace(served, forecast=forecast, interval=interval, score=score, limit=limit, problem=None)

    def _wanted(self, snapshot: Snapshot, model: str | None) -> str:
        models = self.models(snapshot.series)
        if model is None:
            return default_model(snapshot, models)
        allowed = (*models, ENSEMBLE) if len(models) > 1 else models
        if model not in allowed:
            raise BadInput("model", model, ", ".join(allowed))
        return model


def _require_numbers(frame: pd.DataFrame, names: Sequence[str], row: FeatureRow) -> None:
    """Raises BadInput where a feature of these candles is none."""
    if not np.isfinite(row).all():
        name = names[int(np.argmin(np.isfinite(row)))]
        said = f"candles: {name} of the newest is no number: too large or too small prices or amounts"
        allowed = "prices and amounts as they are traded"
        raise BadInput("candles", f"{len(frame)} candles", allowed, message=said)


def _mixed(snapshot: Snapshot, ensemble: Served, made: Mapping[str, Served]) -> Served:
    """The ensemble's weights on forecasts of these candles."""
    said = {model: s.forecast for model, s in made.items() if s.forecast is not None}
    known = {model: weight for model, weight in (ensemble.weights or {}).items() if model in said}
    whole, odd = sum(known.values()), oddest(made.values())
    if not whole or snapshot.variance is None:
        raise VersionNotFound(f"no weights are known yet for the ensemble of {snapshot.series}")
    weights = {model: weight / whole for model, weight in known.items()}
    forecast = mixed(weights, said, snapshot.variance**0.5)
    return replace(
        ensemble, forecast=forecast, interval=_around(snapshot, snapshot.tracker, forecast),
        score=odd.score, limit=odd.limit, weights=weights, problem=None,
    )  # fmt: skip


def _around(snapshot: Snapshot, tracker: IntervalTracker, forecast: float) -> Interval | None:
    if snapshot.made_at is None or snapshot.variance is None:
        return None
    return tracker.around(forecast, snapshot.variance**0.5, snapshot.made_at)


def _frame(candles: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    if len(candles) < 2:
        raise BadInput("candles", f"{len(candles)} candles", "at least two")
    # Whatever each one's offset from UTC: across a change of the clocks they differ.
    opens = pd.DatetimeIndex(pd.to_datetime([candle["open_time"] for candle in candles], utc=True))
    columns = {name: np.array([c[name] for c in candles], dtype=np.float64) for name in CANDLE_COLUMNS}
    frame = pd.DataFrame(columns, index=opens.rename("open_time"))
    return frame.assign(trades=frame["trades"].astype(np.int64))
