"""What a replay came to: every hour's champion scored, every promotion looked back at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clm.bootstrap import Application
from clm.core import scoring
from clm.core.domain import Decision, FloatArray, Outcome, Series
from clm.core.ensemble import Weighting
from clm.core.ensembles import ENSEMBLE
from clm.core.errors import InsufficientData
from clm.core.paired import Paired
from clm.core.protocols import ModelRegistry
from clm.core.sheet import Sheet
from clm.core.variance import variance_after
from clm.replay.client import AsOfClient

if TYPE_CHECKING:
    from clm.replay.walk import Task

#: A promotion is looked back at over so many days: did the one that was replaced forecast them better?
HINDSIGHT = timedelta(days=30)
_COLUMNS = ["time", "forecast", "actual", "variance", "age"]
_ROLLBACKS = frozenset({"guard", "rollback"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One policy on one series and model type, all hours out-of-sample for whoever reigned.

    loss: mean squared error over that of forecasting zero, variance-normalised (1.0 = as good as zero). r2:
    1 − loss, a fraction; r2_clipped: the surprise winsorised at 3 σ̂. harmful: of the promotions looked
    back at, those after which the replaced champion would have forecast the next 30 days better. trained:
    attempts, failed: of these. seconds: of training. mean_age_days: None for the ensemble. by_year: hours,
    r2, r2_clipped, directional_accuracy of each year. curve: per day (date, cumulative gain over zero in
    units of mean zero loss, champion's age in days).
    """

    policy: str
    symbol: str
    interval: str
    model_type: str
    hours: int
    loss: float
    r2: float
    r2_clipped: float
    directional_accuracy: float | None
    promotions: dict[str, int]
    rollbacks: int
    looked_back: int
    harmful: int
    trained: int
    failed: int
    seconds: float
    mean_age_days: float | None
    by_year: dict[str, dict[str, float | None]]
    curve: list[tuple[str, float, float]]


def score_series(
    application: Application, series: Series, client: AsOfClient, task: Task, model_type: str
) -> Scores:
    """Scores of one model type of `series`. Raises InsufficientData where none ever reigned."""
    registry = application.registry.for_series(series)
    decisions = [d for d in registry.get_decisions(model_type, limit=100_000) if d.decided_at is not None]
    rises = sorted(
        (d for d in decisions if d.outcome is Outcome.PROMOTE), key=lambda d: d.decided_at or task.start
    )
    if not rises:
        raise InsufficientData(
            f"{series}: no {model_type} could be trained from {task.start:%Y-%m-%d} on; see `clm trials`"
        )
    frame = _reigned(registry, model_type, rises, task)
    backs = [_was_harmful(application, series, client, d) for d in rises if d.champion_version is not None]
    trials = registry.book.trials(model_type, limit=100_000)
    return Scores(
        **_judged(frame, task, series, model_type),
        promotions=dict(Counter(d.label for d in rises if d.label not in _ROLLBACKS)),
        rollbacks=sum(d.label in _ROLLBACKS for d in rises),
        looked_back=len([b for b in backs if b is not None]), harmful=sum(b is True for b in backs),
        trained=len(trials), failed=sum(trial.outcome == "failed" for trial in trials),
        seconds=round(sum(trial.seconds for trial in trials), 1),
        mean_age_days=float(frame["age"].mean()),
    )  # fmt: skip


def score_ensemble(application: Application, series: Series, task: Task) -> Scores:
    """Scores of the champions' mixture by online weights, from the hour on at which all could reign."""
    book = application.registry.for_series(series).book
    step, weighting = series.step, str(Weighting.ONLINE)
    rows = [
        (f.open_time + step, f.forecast, f.actual, f.variance, 0)
        for f in book.forecasts(ENSEMBLE, weighting, since=task.start - step)
        if f.actual is not None
    ]
    if not rows:
        raise InsufficientData(f"{series}: no hour was forecast by several champions")
    return Scores(
        **_judged(pd.DataFrame(rows, columns=_COLUMNS), task, series, ENSEMBLE),
        promotions={}, rollbacks=0, looked_back=0, harmful=0, trained=0, failed=0, seconds=0.0,
        mean_age_days=None,
    )  # fmt: skip


def _judged(frame: pd.DataFrame, task: Task, series: Series, model_type: str) -> dict[str, Any]:
    """What only the forecasts and the outcomes say."""
    skill = _skill(frame)
    actual, forecast, variance = (frame[c].to_numpy() for c in ("actual", "forecast", "variance"))
    zero, loss = actual**2 / variance, (actual - forecast) ** 2 / variance
    return {
        "policy": task.policy, "symbol": series.symbol, "interval": series.interval,
        "model_type": model_type, "hours": len(frame), "loss": 1 - (skill["r2"] or 0.0),
        "r2": skill["r2"] or 0.0, "r2_clipped": skill["r2_clipped"] or 0.0,
        "directional_accuracy": skill["directional_accuracy"], "by_year": _by_year(frame),
        "curve": _curve(frame, zero - loss, float(zero.mean())),
    }  # fmt: skip


def _skill(frame: pd.DataFrame) -> dict[str, float | None]:
    """Against forecasting zero, normalised by the volatility known beforehand."""
    actual, forecast, variance = (frame[c].to_numpy() for c in ("actual", "forecast", "variance"))
    zero, loss = actual**2 / variance, (actual - forecast) ** 2 / variance
    surprise = np.clip(actual - forecast / 2, -3 * np.sqrt(variance), 3 * np.sqrt(variance))
    return {
        "hours": len(frame),
        "r2": float(1 - loss.sum() / zero.sum()),
        "r2_clipped": float((2 * forecast * surprise / variance).sum() / np.minimum(zero, 9.0).sum()),
        "directional_accuracy": scoring.directional_accuracy(forecast, actual),
    }


def _by_year(frame: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    years = pd.DatetimeIndex(frame["time"]).year
    return {str(year): _skill(frame.loc[years == year]) for year in sorted(set(years))}


def _reigned(registry: ModelRegistry, model_type: str, rises: list[Decision], task: Task) -> pd.DataFrame:
    """One row an hour: what the champion forecast then, what came, how old the model was.

    time: of the forecast, when its candle closed.
    """
    rows: list[tuple[Any, ...]] = []
    step = registry.series.step
    for rise, following in zip(rises, [*rises[1:], None], strict=True):
        since = (rise.decided_at or task.start) - registry.series.step
        until = following.decided_at - registry.series.step if following and following.decided_at else None
        artifact = registry.get_version(model_type, rise.candidate_version)
        rows += [
            (f.open_time + step, f.forecast, f.actual, f.variance, (f.open_time - artifact.trained_at).days)
            for f in registry.book.forecasts(model_type, rise.candidate_version, since=since)
            if f.actual is not None and (until is None or f.open_time < until)
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _was_harmful(application: Application, series: Series, client: AsOfClient, rise: Decision) -> bool | None:
    """Whether the replaced champion would have forecast the next 30 days better; None: too few hours left."""
    registry, when = application.registry.for_series(series), rise.decided_at
    if when is None or rise.champion_version is None:
        return None
    both = [registry.get_version(rise.model_type, v) for v in (rise.champion_version, rise.candidate_version)]
    history = (application.feature_engineer.warmup + 400) * series.step
    candles = client.load_training_data(when - history, when + HINDSIGHT)
    models = [registry.load_model(artifact) for artifact in both]
    features = scoring.with_known_outcome(Sheet(application.feature_engineer, candles).of(*models))
    rows = features.loc[features.index >= pd.Timestamp(when - series.step)]
    if len(rows) * series.step < HINDSIGHT / 2:
        return None
    before, after = (
        scoring.forecasts(model, rows, artifact.version) for model, artifact in zip(models, both, strict=True)
    )
    variance = variance_after(candles).loc[rows.index].to_numpy()
    times = tuple(stamp.to_pydatetime() for stamp in pd.DatetimeIndex(rows.index))
    shadow = np.ones(len(rows), dtype=np.bool_)
    return Paired(times, scoring.outcomes(rows), before, after, variance, shadow).total_gain < 0


def _curve(frame: pd.DataFrame, gain: FloatArray, unit: float) -> list[tuple[str, float, float]]:
    daily: Any = frame.assign(gain=gain / unit).set_index("time").resample("1D")
    summed = pd.DataFrame({"gain": daily["gain"].sum().cumsum(), "age": daily["age"].last().ffill()})
    return [
        (f"{day:%Y-%m-%d}", round(gained, 4), age)
        for day, gained, age in zip(
            pd.DatetimeIndex(summed.index), summed["gain"].tolist(), summed["age"].tolist(), strict=True
        )
    ]
