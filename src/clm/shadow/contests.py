"""The experiments' side of a tick: which arms forecast, and what comes of it; others' ledgers stay alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from clm.core import scoring
from clm.core.alert import Alarm, Alert
from clm.core.bookkeeper import Bookkeeper
from clm.core.contest import Contest
from clm.core.domain import ModelArtifact, Series
from clm.core.errors import EvidenceMoved, SchemaMismatch, StorageFailed, TrainingFailed
from clm.core.experiments import Arm, Experiment
from clm.core.protocols import ModelRegistry, TrainedModel
from clm.core.reign import load_fit
from clm.core.sheet import Sheet
from clm.core.sight import Sight
from clm.core.stores import ExperimentStore
from clm.core.verdicts import Ended, Lost
from clm.logs import logger

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Entrant:
    """An arm that can forecast, from which candle on, and for how long; times as of a guarded champion."""

    artifact: ModelArtifact
    model: TrainedModel
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Entered:
    """An experiment that has started, with its arms as they are now. lost: one that cannot forecast."""

    experiment: Experiment
    arms: tuple[Entrant, ...]
    lost: Lost | None
    damaged: bool = False


class Contests:
    """store None: there are no experiments."""

    def __init__(self, store: ExperimentStore | None, alarm: Alarm) -> None:
        self._store, self._alarm = store, alarm

    def begun(self, series: Series, models: Sequence[str], now: datetime) -> list[Experiment]:
        """Experiments of these model types that have started and not ended."""
        found = self._store.open(series) if self._store is not None else []
        return [e for e in found if e.starts_at <= now and e.model_type in models]

    def entered(
        self, registry: ModelRegistry, experiments: Sequence[Experiment], sheet: Sheet, sight: Sight
    ) -> tuple[Entered, ...]:
        """Both arms of each, loaded and tried on the newest row of `sheet`."""
        return tuple(_entered(registry, experiment, sheet, sight) for experiment in experiments)

    def settle(
        self, keeper: Bookkeeper, entered: Sequence[Entered], now: datetime, known_until: datetime
    ) -> Iterator[tuple[Experiment, Ended]]:
        """Bets of every experiment, and the ends that follow, carried out by this call."""
        if self._store is None:
            return
        for each in entered:
            experiment = each.experiment
            try:
                ended = Contest(experiment, keeper, self._store).settle(
                    now, known_until=known_until, lost=each.lost
                )
            except EvidenceMoved as error:
                # Another process is at it: the next tick goes on from what it has stored.
                log.info("evidence_moved", reason=str(error))
                continue
            if each.lost is not None and each.damaged:
                # As any damaged file: from now on it loads for nobody.
                version = experiment.version_of(each.lost.arm)
                keeper.registry.quarantine(experiment.model_type, version, each.lost.cause)
            if ended is not None:
                subject = experiment.experiment_id
                self._alarm(
                    Alert("experiment", experiment.series, experiment.model_type, subject, ended.reason)
                )
                yield experiment, ended


def _entered(registry: ModelRegistry, experiment: Experiment, sheet: Sheet, sight: Sight) -> Entered:
    since, arms = experiment.first_candle - experiment.series.step, []
    for arm in Arm:
        artifact = registry.get_version(experiment.model_type, experiment.version_of(arm))
        try:
            model, unfit = load_fit(registry, artifact, sight)
            if unfit is not None and unfit.here:
                # Another process may be able to; an arm that is not watched here is not lost.
                log.warning("arm_unreadable_here", experiment=experiment.experiment_id, reason=unfit.reason)
                return Entered(experiment, (), None)
            if model is None:
                cause = unfit.reason if unfit is not None else "it does not load"
                return Entered(experiment, (), Lost(arm, cause), damaged=unfit is not None and unfit.damaged)
            scoring.forecasts(model, sheet.of(model).iloc[-1:], artifact.version)
        except (TrainingFailed, SchemaMismatch) as error:
            return Entered(experiment, (), Lost(arm, str(error)))
        except StorageFailed as error:
            # A disk that is away is nobody's fault, and must not keep champions from forecasting.
            log.warning("arm_not_read", experiment=experiment.experiment_id, reason=str(error))
            return Entered(experiment, (), None)
        arms.append(Entrant(artifact, model, since, experiment.ends_at))
    return Entered(experiment, tuple(arms), None)
