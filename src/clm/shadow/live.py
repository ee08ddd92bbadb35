"""The live shadow: at each candle close everybody forecasts, what was forecast before is scored and bet on.

    candles → forecasts stored → outcomes scored → bets → decisions

Each step is a function of what the step before has stored, so that a crash anywhere costs nothing: the next
tick goes on where this one ended, and comes to the same decisions, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from clm.core import scoring
from clm.core.alert import Alarm, Alert
from clm.core.ambit import about
from clm.core.answers import keep_answer
from clm.core.book import Forecast, Source
from clm.core.domain import (
    Decision,
    ModelArtifact,
    Series,
    VersionStatus,
    utc,
)
from clm.core.ensembles import ENSEMBLE
from clm.core.errors import ClmError, EvidenceMoved, UnreadableHere
from clm.core.experiments import Experiment
from clm.core.protocols import FeatureEngineer, TrainedModel
from clm.core.reign import load_fit, look, reign_of
from clm.core.stores import ExperimentStore
from clm.core.verdict import carry_unloadable
from clm.core.wire import jsonable
from clm.logs import logger
from clm.shadow.contests import Contests, Entered
from clm.shadow.looking import Desk, Known, Looking
from clm.shadow.parity import MADE_LIVE, Parity, compare, told
from clm.shadow.settling import Settling, pooled_over

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did. errors: series → why nothing could be done for it.

    replayed: stored live forecasts compared with a replay of the same artifact; deviation: the largest
    relative difference found, None where none was compared. ended: experiments that came to their end.
    """

    now: datetime
    forecasts: int = 0
    late: int = 0
    scored: int = 0
    revised: int = 0
    replayed: int = 0
    deviation: float | None = None
    decisions: tuple[Decision, ...] = ()
    errors: dict[str, str] = field(default_factory=dict)
    ended: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """In figures; decisions as their number, for they are on record themselves."""
        return {**jsonable(self), "decisions": len(self.decisions)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of one series until all have forecast: no candles, however many series there are.

    until: the newest candle's close. parity: by model type and version.
    """

    now: datetime
    until: datetime
    contests: tuple[Entered, ...]
    parity: dict[str, dict[str, Parity]]


class LiveShadow:
    """Watches over several series at once: the evidence of those of one interval is pooled candle by candle.

    desks: asked at every tick. rehearsal: the clock is played back. Every missed candle counts as forecast in
    its own time; only what had closed by then was used for it.
    """

    def __init__(
        self,
        desks: Callable[[], Sequence[Desk]],
        feature_engineer: FeatureEngineer,
        *,
        alarm: Alarm,
        rehearsal: bool = False,
        experiments: ExperimentStore | None = None,
    ) -> None:
        self.desks = desks
        self._alarm = alarm
        self._rehearsal = rehearsal
        self._contests = Contests(experiments, alarm)
        self.looking = Looking(feature_engineer, self._contests)

    def tick(self) -> Tick:
        """Everything that is due now; raises only what concerns all series alike."""
        desks = self.desks()
        seen: dict[Series, _Seen] = {}
        errors: dict[str, str] = {}
        stored = late = scored = revised = 0
        for desk, found in self.looking.looks(self.looking.due(desks)):
            try:
                if isinstance(found, ClmError):
                    raise found
                with about(series=str(desk.series)):
                    made = [self._forecast(desk, model_type, found) for model_type in desk.models]
                    outcomes = [self._score(desk, model_type, found) for model_type in desk.models]
                if desk.ensemble is not None:
                    desk.ensemble.advance()
                    self._score(desk, ENSEMBLE, found)
                seen[desk.series] = self._seen(desk, found)
            except ClmError as error:
                errors[str(desk.series)] = str(error)
                log.warning("shadow_failed", series=str(desk.series), error=str(error))
                continue
            self.looking.done(desk.series, found.now)
            stored, late = stored + sum(m[0] for m in made), late + sum(m[1] for m in made)
            scored, revised = scored + sum(s[0] for s in outcomes), revised + sum(s[1] for s in outcomes)
        decisions: list[Decision] = []
        for model_type in dict.fromkeys(m for desk in desks for m in desk.models):
            watching = [desk for desk in desks if desk.series in seen and model_type in desk.models]
            with about(model=model_type):
                decisions += self._settle(model_type, watching, seen)
        compared = [parity for s in seen.values() for one in s.parity.values() for parity in one.values()]
        ended = [
            e.experiment_id for desk in desks if desk.series in seen
            for e in self._conclude(desk, seen[desk.series])
        ]  # fmt: skip
        now = max((s.now for s in seen.values()), default=None)
        return Tick(
            now or utc(desks[0].data.server_time()), stored, late, scored, revised,
            sum(p.checked for p in compared),
            max((p.deviation for p in compared if p.deviation is not None), default=None),
            tuple(decisions), errors, tuple(ended),
        )  # fmt: skip

    def _seen(self, desk: Desk, known: Known) -> _Seen:
        until = utc(pd.DatetimeIndex(known.candles.index)[-1]) + desk.keeper.registry.series.step
        parity = {model_type: self._parity(desk, model_type, known) for model_type in desk.models}
        return _Seen(known.now, until, known.contests, parity)

    def _forecast(self, desk: Desk, model_type: str, known: Known) -> tuple[int, int]:
        """(stored now, of these late): every participant's forecasts of candles it has none for yet."""
        stored = late = 0
        for artifact, model, since, until in self._participants(desk, model_type, known):
            known.models[model_type, artifact.version] = model
            rows = known.sheet.of(model).loc[self._due(desk, artifact, known, since, until)]
            if rows.empty:
                continue
            forecasts = list(self._made(desk, artifact, model, rows, known))
            new = desk.keeper.registry.book.record_forecasts(forecasts)
            stored, late = stored + new, late + sum(f.source is Source.LATE for f in forecasts)
        return stored, late

    def _participants(
        self, desk: Desk, model_type: str, known: Known
    ) -> Iterator[tuple[ModelArtifact, TrainedModel, datetime | None, datetime | None]]:
        """Champion, challengers, guarded previous champion, arms, if they can serve; from and until when."""
        registry, sight = desk.keeper.registry, self.looking.sight
        try:
            found = reign_of(registry, model_type, sight, known.now, self._alarm, desk.policy.guard_hours)
        except UnreadableHere as error:
            # Whoever can read it goes on watching; here nothing is known of it.
            log.warning("champion_unreadable_here", model=model_type, reason=str(error))
            found = None
        always: set[str] = set()
        if found is not None:
            reign, champion = found
            always.add(reign.champion.version)
            keep_answer(registry, reign.champion, champion, known.sheet.of(champion))
            yield reign.champion, champion, None, None
            beside = [(a, None) for a in registry.challengers(model_type)] if desk.policy.continuous else []
            guarded = [(reign.guarded, reign.guard_until)] if reign.guarded else []
            for artifact, until in (*beside, *guarded):
                model, unfit = load_fit(registry, artifact, sight)
                if model is not None:
                    keep_answer(registry, artifact, model, known.sheet.of(model))
                    always |= {artifact.version} if until is None else set()
                    yield artifact, model, None, until
                elif unfit is not None and unfit.here:
                    log.warning("version_unreadable_here", version=artifact.version, reason=unfit.reason)
                elif unfit is not None and artifact.status is VersionStatus.SHADOW:
                    carry_unloadable(registry, artifact, unfit, known.now)
        for arm in known.entrants(model_type):
            if arm.artifact.version not in always:
                yield arm.artifact, arm.model, arm.since, arm.until

    def _due(
        self,
        desk: Desk,
        artifact: ModelArtifact,
        known: Known,
        since: datetime | None,
        until: datetime | None,
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which rows it has not forecast yet: of those closed since its training, or since the first."""
        registry, name = desk.keeper.registry, (artifact.model_type, artifact.version)
        trained = artifact.trained_at - registry.series.step
        after = desk.keeper.reached(*name, trained if since is None else max(trained, since))
        due = known.features.index > pd.Timestamp(after if since is None else max(after, since))
        stored = registry.book.forecast_times(*name, after)
        due &= ~known.features.index.isin(pd.DatetimeIndex(stored))
        if until is not None:
            due &= known.features.index < pd.Timestamp(until - registry.series.step)
        return np.asarray(due)

    def _made(
        self, desk: Desk, artifact: ModelArtifact, model: TrainedModel, rows: pd.DataFrame, known: Known
    ) -> Iterator[Forecast]:
        values = scoring.forecasts(model, rows, artifact.version)
        step, horizon = desk.keeper.registry.series.step, desk.keeper.rule.horizon
        # Asked after the forecast was computed: what counts is that it was there before the outcome.
        now = known.now if self._rehearsal else utc(desk.data.server_time())
        positions = pd.DatetimeIndex(known.candles.index).get_indexer(pd.DatetimeIndex(rows.index))
        for time, value, at in zip(pd.DatetimeIndex(rows.index), values, positions, strict=True):
            opened = utc(time)
            in_time = self._rehearsal or now < opened + (1 + horizon) * step
            yield Forecast(
                model_type=artifact.model_type, version=artifact.version, open_time=opened,
                source=Source.LIVE if in_time else Source.LATE, forecast=float(value),
                variance=float(known.variance.iloc[at]),
                made_at=opened + step if self._rehearsal else now,
                candles_sha256=known.inputs_at(int(at)),
            )  # fmt: skip

    def _score(self, desk: Desk, model_type: str, known: Known) -> tuple[int, int]:
        """(scored, revised): outcomes of candles that have closed since."""
        outcomes = scoring.known_outcomes(known.features)
        return desk.keeper.registry.book.score(model_type, outcomes, known.now)

    def _settle(self, model_type: str, desks: Sequence[Desk], seen: Mapping[Series, _Seen]) -> list[Decision]:
        """Bets and decisions of one model type on every series; the series' own bets are gathered first."""
        settlings = {
            desk.series: Settling(
                desk.keeper, desk.policy, model_type, seen[desk.series].now,
                seen[desk.series].parity[model_type], self._alarm,
            )
            for desk in desks
            if desk.policy.continuous
        }  # fmt: skip
        gathered = {series: settling.gather() for series, settling in settlings.items()}
        # What is pooled is pooled candle by candle: candles of other lengths are others' business.
        pools = {
            interval: pooled_over({s.symbol: own for s, own in gathered.items() if s.interval == interval})
            for interval in {series.interval for series in gathered}
        }
        decisions: list[Decision] = []
        for series, settling in settlings.items():
            try:
                decisions += settling.settle(pools[series.interval])
            except EvidenceMoved as error:
                # Another process is at it: what it has stored counts, and the next tick goes on there.
                log.info("evidence_moved", reason=str(error))
            except UnreadableHere as error:
                # It stays due: whoever can read the version carries it out.
                log.warning("decision_left_to_others", reason=str(error))
        return decisions

    def _conclude(self, desk: Desk, seen: _Seen) -> Iterator[Experiment]:
        """Bets of the experiments of one series; those that ended."""
        for experiment, ended in self._contests.settle(desk.keeper, seen.contests, seen.now, seen.until):
            log.info("experiment_ended", experiment=experiment.experiment_id, reason=ended.reason)
            yield experiment

    def _parity(self, desk: Desk, model_type: str, known: Known) -> dict[str, Parity]:
        """Of champion, challengers and arms: stored live forecasts against a replay on the candles of now.

        A challenger that misses is for the policy to reject; of a champion or arm that does, a human hears.
        """
        registry = desk.keeper.registry
        reign = look(registry, model_type, desk.policy.guard_hours)
        first = utc(pd.DatetimeIndex(known.features.index)[0])
        beside = registry.challengers(model_type) if reign is not None and desk.policy.continuous else []
        watched = [reign.champion, *beside] if reign is not None else []
        # Loaded a moment ago, to forecast; who could not be has nothing to be compared.
        models = {a.version: known.models.get((model_type, a.version)) for a in watched}
        heard = {reign.champion.version} if reign is not None else set()
        for arm in known.entrants(model_type):
            heard.add(arm.artifact.version)
            models.setdefault(arm.artifact.version, arm.model)
        result = {}
        for version, model in models.items():
            if model is not None:
                stored = registry.book.forecasts(model_type, version, since=first, sources=MADE_LIVE)
                rows = known.sheet.of(model)
                result[version] = compare(stored, model, rows, known.candles, known.inputs_at)
        for version in heard & result.keys():
            if result[version].missed:
                said = told(version, result[version])
                self._alarm(Alert("parity", registry.series, model_type, version, said))
        return result
