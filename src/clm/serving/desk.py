"""Follows one series: loads who reigns, forecasts the newest candle, and puts a new snapshot in place.

What is forecast here is what the live shadow forecasts, to the last bit, and stored with it: whoever comes
first. A snapshot takes the place of the one before in one step; requests read whichever is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.book import Forecast, Source
from clm.core.domain import (
    ModelArtifact,
    Series,
    candles_fingerprint,
    feature_columns,
    fingerprint,
    utc,
)
from clm.core.ensemble import Weighting
from clm.core.ensembles import ENSEMBLE, EnsembleKeeper, Mixture
from clm.core.errors import ClmError, InsufficientData
from clm.core.intervals import IntervalTracker
from clm.core.protocols import DataClient, FeatureEngineer, ModelRegistry, TrainedModel
from clm.core.reign import Reign, Unfit, load_fit, look
from clm.core.sheet import Sheet, former_of
from clm.core.sight import Sight
from clm.core.skill import LEAST, Skill
from clm.core.variance import VARIANCE_MEMORY, variance_after
from clm.logs import logger
from clm.serving.loaded import MEMORY, Loaded
from clm.serving.shelf import Shelf
from clm.serving.snapshot import CHAMPION_UNFIT, UNREADABLE_HERE, Served, Snapshot, oddest

log = logger(__name__)
#: Rows whose outcomes are scored with each candle: those of a day, so that a short silence leaves no hole.
_SCORED_ROWS = 26
#: (model type, version) that are to answer besides the champions.
Others = Callable[[Series], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class _Candle:
    """The newest candle and its feature row; `problem` where there is no row."""

    open_time: datetime
    close: float
    variance: float
    row: pd.DataFrame | None
    inputs: str
    outcomes: dict[datetime, float] = field(default_factory=dict)
    problem: str | None = None


class Desk:
    """Of one series. others: versions that are to answer besides the champions.

    on_unfit: called when a champion cannot serve; it is for others to decide what becomes of it.
    """

    def __init__(
        self,
        data: DataClient,
        registry: ModelRegistry,
        engineer: FeatureEngineer,
        models: Sequence[str],
        *,
        ensemble: EnsembleKeeper | None = None,
        guard_hours: float = 0,
        on_unfit: Callable[[], object] = lambda: None,
        others: Others = lambda series: (),
        shelf: Shelf,
    ) -> None:
        self.series = registry.series
        self._data, self._registry, self._engineer = data, registry, engineer
        self._models, self._ensemble = tuple(models), ensemble
        self._guard_hours, self._on_unfit, self._others = guard_hours, on_unfit, others
        self._shelf = shelf
        self._loaded: dict[tuple[str, str], Loaded] = {}
        self._mixed, self._mixed_skill = IntervalTracker(), Skill(0)
        self._lock = threading.Lock()
        self._candle: _Candle | None = None
        #: Former features that versions here read; computed with the row of every candle.
        self._former: frozenset[str] = frozenset()
        self.snapshot = Snapshot(series=self.series, open_time=None, close=None, variance=None)

    def look(self, now: datetime, *, fresh_candles: bool = True) -> Snapshot:
        """A snapshot of now; fresh_candles False: only who reigns is looked at anew.

        One at a time, but for candles: whoever waits for them keeps nobody from looking who reigns. Raises
        what candles and registry raise; the snapshot before stays in place then.
        """
        while not self._looked(now, fresh_candles):
            fresh_candles = True
        return self.snapshot

    def _looked(self, now: datetime, fresh_candles: bool) -> bool:
        """Whether that was all: not where somebody reads a former feature that nobody did when the candle was
        read, and is silent until it is read once more.
        """
        candle = self._candle
        if not fresh_candles and candle is not None:
            fresh = None
        else:
            candle = fresh = self._read(now)
        with self._lock:
            if fresh is not None:
                self._candle = fresh
                self._score(fresh, now)
            candle = self._candle or candle
            reigns, unfit = self._reigns()
            others = list(self._besides())
            readers = [model for _, _, model in reigns.values()] + [model for _, model in others]
            names = (name for model in readers for name in model.feature_names)
            self._former = frozenset(former_of(self._engineer, names))
            whole = candle.row is None or self._former <= set(candle.row.columns)
            served = {
                name: self._serve(loaded, model, candle, now, _state(loaded, reign, now))
                for name, (reign, loaded, model) in reigns.items()
            }
            champions = [loaded.artifact for _, loaded, _ in reigns.values()]
            states = {artifact.version: served[artifact.model_type].state for artifact in champions}
            besides = {
                (kept.artifact.model_type, kept.artifact.version): self._serve(
                    kept, model, candle, now, states.get(kept.artifact.version, "experiment")
                )
                for kept, model in others
            }  # fmt: skip
            mixed = self._mix(candle, champions, list(served.values())) if whole else None
            if mixed is not None:
                served[ENSEMBLE] = mixed
            wanted = {(s.model, s.version) for s in (*served.values(), *besides.values())}
            self._loaded = {key: kept for key, kept in self._loaded.items() if key in wanted}
            served |= unfit
            self.snapshot = Snapshot(
                series=self.series, open_time=candle.open_time, close=candle.close, variance=candle.variance,
                by_model=served, by_version=besides, known=True,
                champions={name: loaded for name, (_, loaded, _) in reigns.items()}, tracker=self._mixed,
            )  # fmt: skip
            return whole

    @property
    def seen(self) -> bool:
        """Whether a candle was ever read."""
        return self._candle is not None

    def introduce(self) -> None:
        """Who reigns, where no candle was ever read: "not known" must not look like "none"."""
        with self._lock:
            if self._candle is not None:
                return
            reigns, unfit = self._reigns()
            silent = {
                name: _silent(loaded.artifact, _state(loaded, reign, None))
                for name, (reign, loaded, _) in reigns.items()
            }
            self.snapshot = replace(
                self.snapshot, by_model={**silent, **unfit}, known=True,
                champions={name: loaded for name, (_, loaded, _) in reigns.items()},
            )  # fmt: skip

    def _read(self, now: datetime) -> _Candle:
        size = self._engineer.warmup + 1
        start = now - (size + _SCORED_ROWS + VARIANCE_MEMORY + 1) * self.series.step
        candles = self._data.load_training_data(start, now)
        if len(candles) < 2:
            raise InsufficientData(f"{self.series}: no candles since {start:%Y-%m-%d %H:%M} UTC")
        candle = _Candle(
            open_time=utc(pd.DatetimeIndex(candles.index)[-1]), close=float(candles["close"].iloc[-1]),
            variance=float(variance_after(candles).iloc[-1]), row=None,
            inputs=candles_fingerprint(candles.iloc[-size:]), problem="gap_in_window",
        )  # fmt: skip
        try:
            sheet = Sheet(self._engineer, candles.iloc[-size - _SCORED_ROWS :])
            features = sheet.telling(self._former)
        except InsufficientData:
            return candle
        candle = replace(candle, outcomes=scoring.known_outcomes(features))
        # A row of its own: a view would keep the whole matrix.
        last = features.iloc[-1:].copy()
        if utc(pd.DatetimeIndex(last.index)[0]) != candle.open_time:
            return candle
        return replace(candle, row=last, problem=None)

    def _score(self, candle: _Candle, now: datetime) -> None:
        for model in (*self._models, ENSEMBLE):
            self._registry.book.score(model, candle.outcomes, now)

    def _reigns(self) -> tuple[dict[str, tuple[Reign, Loaded, TrainedModel]], dict[str, Served]]:
        """Champions that can serve, and what the others answer instead: why they do not."""
        sight, found, silent = Sight.of(self._engineer), {}, {}
        for model in self._models:
            reign = look(self._registry, model, self._guard_hours)
            if reign is None:
                continue
            trained, unfit = load_fit(self._registry, reign.champion, sight)
            if trained is not None:
                found[model] = (reign, self._keep(reign.champion, trained), trained)
            elif unfit is not None:
                silent[model] = _unable(reign.champion, unfit)
        if any(served.problem == CHAMPION_UNFIT for served in silent.values()):
            self._on_unfit()
        return found, silent

    def _keep(self, artifact: ModelArtifact, model: TrainedModel) -> Loaded:
        key = (artifact.model_type, artifact.version)
        known = self._loaded.get(key)
        if known is not None and known.artifact.artifact_sha256 == artifact.artifact_sha256:
            loaded = known.learnt(self._registry)
        else:
            loaded = Loaded.of(self._registry, artifact)
        self._loaded[key] = loaded
        self._shelf.put(artifact, model)
        return loaded

    def _besides(self) -> Iterable[tuple[Loaded, TrainedModel]]:
        sight = Sight.of(self._engineer)
        for model_type, version in self._others(self.series):
            artifact = self._registry.get_version(model_type, version)
            model, _ = load_fit(self._registry, artifact, sight)
            if model is not None:
                yield self._keep(artifact, model), model

    def _serve(
        self, loaded: Loaded, model: TrainedModel, candle: _Candle, now: datetime, state: str
    ) -> Served:
        artifact, tracker = loaded.artifact, loaded.tracker
        silent = replace(
            _silent(artifact, state),
            coverage=tracker.coverage, coverage_candles=tracker.candles, problem=candle.problem,
        )  # fmt: skip
        if candle.row is None:
            return silent
        if self._former.difference(candle.row.columns).intersection(model.feature_names):
            return replace(silent, problem="stale_data")
        forecast = float(scoring.forecasts(model, candle.row, artifact.version)[0])
        self._store(artifact, forecast, candle, now)
        made_at, sigma = candle.open_time + self.series.step, candle.variance**0.5
        spoken = replace(silent, forecast=forecast, interval=tracker.around(forecast, sigma, made_at))
        names = feature_columns(candle.row.columns)
        score, limit = loaded.unlikeness(names, candle.row[names].to_numpy(dtype=np.float32)[0])
        return replace(spoken, score=score, limit=limit)

    def _store(self, artifact: ModelArtifact, forecast: float, candle: _Candle, now: datetime) -> None:
        """What is answered is on record, before the outcome; the first forecast of a candle stands."""
        in_time = now < candle.open_time + 2 * self.series.step
        self._registry.book.record_forecasts(
            [
                Forecast(
                    model_type=artifact.model_type, version=artifact.version, open_time=candle.open_time,
                    source=Source.LIVE if in_time else Source.LATE, forecast=forecast,
                    variance=candle.variance, made_at=now, candles_sha256=candle.inputs,
                )
            ]
        )  # fmt: skip

    def _mix(
        self, candle: _Candle, members: Sequence[ModelArtifact], answers: Sequence[Served]
    ) -> Served | None:
        """The ensemble's answer, mixed from what its members have on record for this candle."""
        keeper = self._ensemble
        if keeper is None or len(members) < 2:
            return None
        keeper.advance()
        mixture = keeper.store.newest()
        odd = oddest(answers)
        silent = Served(
            model=ENSEMBLE, version=str(Weighting.ONLINE),
            sha256=fingerprint(*(member.artifact_sha256 or "" for member in members)),
            trained_at=min(member.trained_at for member in members),
            champion_since=max((m.promoted_at for m in members if m.promoted_at), default=None),
            state=_state_of_mixture(self._mixed_skill, answers), forecast=None, problem=candle.problem,
            score=odd.score, limit=odd.limit,
        )  # fmt: skip
        if candle.row is None:
            return silent
        if mixture is None or mixture.open_time != candle.open_time:
            return None
        self._learn_of_mixture(candle)
        return self._mixed_answer(silent, mixture, candle, _state_of_mixture(self._mixed_skill, answers))

    def _learn_of_mixture(self, candle: _Candle) -> None:
        """What was scored of it since the last look."""
        step, book, name = self.series.step, self._registry.book, (ENSEMBLE, str(Weighting.ONLINE))
        since = self._mixed.last - step if self._mixed.last is not None else None
        before, self._mixed = self._mixed, self._mixed.through(book.forecasts(*name, since=since), step)
        if self._mixed is not before:
            self._mixed_skill = Skill.of(book.forecasts(*name, since=candle.open_time - MEMORY))

    def _mixed_answer(self, silent: Served, mixture: Mixture, candle: _Candle, state: str) -> Served:
        step, forecast = self.series.step, mixture.forecast()
        return replace(
            silent, state=state, forecast=forecast, weights=mixture.weights(), coverage=self._mixed.coverage,
            coverage_candles=self._mixed.candles,
            interval=self._mixed.around(forecast, candle.variance**0.5, candle.open_time + step),
        )  # fmt: skip


def _silent(artifact: ModelArtifact, state: str) -> Served:
    """A version without a forecast."""
    return Served(
        model=artifact.model_type, version=artifact.version, sha256=artifact.artifact_sha256 or "",
        trained_at=artifact.trained_at, champion_since=artifact.promoted_at, state=state, forecast=None,
    )  # fmt: skip


def _unable(champion: ModelArtifact, unfit: Unfit) -> Served:
    """A champion that gives no forecast, and why."""
    log.warning("champion_does_not_serve", version=champion.version, reason=unfit.reason)
    problem = UNREADABLE_HERE if unfit.here else CHAMPION_UNFIT
    return replace(_silent(champion, "unreadable"), problem=problem, told=unfit.reason)


def _lost(r2: float | None) -> bool:
    return r2 is not None and r2 < 0


def _state(loaded: Loaded, reign: Reign, now: datetime | None) -> str:
    if loaded.skill.worse_than_zero:
        return "worse_than_zero"
    # Its own holdout, or what it has forecast since, tells that it earns nothing yet: that is no good health.
    if _lost(loaded.holdout_r2) or _lost(loaded.skill.r2):
        return "unproven"
    watched = reign.guarded is not None and (now is None or now < reign.guard_until)
    return "guarded" if watched else "healthy"


def _state_of_mixture(own: Skill, members: Sequence[Served]) -> str:
    """By its own record; before it has one, it is no better than what it is mixed from."""
    states = {member.state for member in members}
    if own.worse_than_zero or states == {"worse_than_zero"}:
        return "worse_than_zero"
    doubted = bool(states & {"worse_than_zero", "unproven"})
    if _lost(own.r2) or (doubted and (own.r2 is None or own.candles < LEAST)):
        return "unproven"
    return "healthy"


def looked(desk: Desk, now: datetime, *, fresh_candles: bool = True) -> bool:
    """Whether a look succeeded; a failure is told, and the snapshot before goes on answering."""
    try:
        desk.look(now, fresh_candles=fresh_candles)
    except ClmError as error:
        log.warning("serving_look_failed", series=str(desk.series), error=str(error))
        introduced(desk)
        return False
    return True


def introduced(desk: Desk) -> bool:
    """Whether it is known who reigns, candles or none."""
    try:
        desk.introduce()
    except ClmError as error:
        log.warning("serving_registry_unknown", series=str(desk.series), error=str(error))
        return False
    return True
