"""Experiments as users work with them: start, look, stop, check; and the arm that answers a caller."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from clm.core.arms import Arms
from clm.core.bookkeeper import Bookkeeper
from clm.core.contest import Contest
from clm.core.domain import ModelArtifact, Series, VersionStatus
from clm.core.errors import BadInput, ExperimentOver, NotCertified, VersionUnfit
from clm.core.experiments import Arm, Assigned, Experiment, State, planned
from clm.core.protocols import Clock
from clm.core.recheck import Rechecked, recheck
from clm.core.reign import load_fit
from clm.core.sight import Sight
from clm.core.stores import ExperimentStore
from clm.core.verdicts import candles_to_go, figures, outlook
from clm.core.wire import jsonable


class Experiments:
    """Of all series. keeper: the evidence of one series. models: those the live shadow watches.

    sight: what features are computed now. now: the exchange's time; may raise. clock: for durations.
    """

    def __init__(
        self,
        store: ExperimentStore,
        keeper: Callable[[Series], Bookkeeper],
        models: Callable[[Series], Sequence[str]],
        sight: Callable[[], Sight],
        now: Callable[[Series], datetime],
        clock: Clock,
    ) -> None:
        self.store = store
        self._keeper, self._models, self._sight, self._now = keeper, models, sight, now
        self._arms = Arms(store, now, clock)

    def arm_of(
        self, series: Series, model_type: str, caller: str | None, *, now: datetime | None = None
    ) -> Assigned | None:
        """What answers a caller while an experiment runs by the exchange's time; None: the champion does.

        now: the exchange's time where it is known already, which saves asking. Quick and thread-safe; see
        `clm.core.arms.Arms.of`.
        """
        return self._arms.of(series, model_type, caller, now)

    def open_versions(self, series: Series) -> list[tuple[str, str]]:
        """(model type, version) of every arm of the experiments that are open: who forecasts with them."""
        found = [(e.model_type, v) for e in self._arms.open(series) for v in (e.version_a, e.version_b)]
        return sorted(set(found))

    def start(
        self,
        series: Series,
        model_type: str,
        versions: tuple[str, str],
        *,
        split: float = 0.5,
        alpha: float = 0.05,
        start: datetime | None = None,
        end: datetime | None = None,
        days: float | None = None,
        by: str,
    ) -> Experiment:
        """An experiment between two registered versions that can forecast.

        Raises BadInput, VersionNotFound, VersionUnfit, NotCertified, ExperimentOpen, ExchangeUnavailable.
        """
        if model_type not in self._models(series):
            allowed = f"{', '.join(self._models(series))}: those of {series}"
            raise BadInput("model_type", model_type, allowed)
        now = self._now(series)
        experiment = planned(
            experiment_id=f"x{now:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}", series=series,
            model_type=model_type, versions=versions, split=split, alpha=alpha, start=start, end=end,
            days=days, by=by, now=now,
        )  # fmt: skip
        for arm in Arm:
            self._check(experiment, arm)
        for before in self.store.open(series):
            if before.model_type == model_type:
                # Where nobody watches candle by candle its time may be up without anybody having said so.
                self._contest(before).settle(now)
        made = self.store.create(experiment)
        self._arms.forget()
        return made

    def stop(self, experiment_id: str, by: str, now: datetime) -> Experiment:
        """Ends it by hand; if what is stored shows a difference already, it ends with that.

        Raises ExperimentNotFound, ExperimentOver.
        """
        experiment = self.store.get(experiment_id)
        if experiment.state is State.OPEN:
            ended = self._contest(experiment).settle(now, stopped_by=by)
            self._arms.forget()
            if ended is not None:
                return self.store.get(experiment_id)
            experiment = self.store.get(experiment_id)
        why = (experiment.result or {}).get("reason", "")
        raise ExperimentOver(f"{experiment_id} ended at {experiment.ended_at:%Y-%m-%d %H:%M} UTC: {why}")

    def show(self, experiment: Experiment, now: datetime) -> dict[str, Any]:
        """JSON-ready: what was planned, how it stands or ended, and who was assigned."""
        view: dict[str, Any] = {
            "experiment_id": experiment.experiment_id, **jsonable(experiment.series),
            "model_type": experiment.model_type, "versions": [experiment.version_a, experiment.version_b],
            "split": experiment.split, "alpha": experiment.alpha, "start": jsonable(experiment.starts_at),
            "end": jsonable(experiment.ends_at), "state": str(experiment.state),
            "running": experiment.runs_at(now), "created_by": experiment.created_by,
            "created_at": jsonable(experiment.created_at), "ended_at": jsonable(experiment.ended_at),
        }  # fmt: skip
        if experiment.result is not None:
            told = {**experiment.result, "candles_to_go": None}
            result = {name: value for name, value in experiment.result.items() if name not in _FIGURES}
            return view | {"now": told["reason"], "result": result} | _told(told)
        contest = self._contest(experiment)
        score = contest.score()
        standing = figures(experiment, score, contest.bets(score))
        standing |= {
            "callers": self.store.callers(experiment), "candles_to_go": candles_to_go(experiment, score),
        }  # fmt: skip
        return view | {"now": outlook(experiment, score, now), "result": None} | _told(standing)

    def recheck(self, experiment: Experiment) -> Rechecked:
        """Everything computed once more from the stored rows."""
        return recheck(self._contest(experiment))

    def _contest(self, experiment: Experiment) -> Contest:
        return Contest(experiment, self._keeper(experiment.series), self.store)

    def _check(self, experiment: Experiment, arm: Arm) -> None:
        """Whoever answers callers must be able to, and be certified, unless it answers them anyway."""
        registry = self._keeper(experiment.series).registry
        artifact = registry.get_version(experiment.model_type, experiment.version_of(arm))
        model, unfit = load_fit(registry, artifact, self._sight())
        said = f"{arm}, {artifact.model_type} {artifact.version} of {artifact.series},"
        if model is None:
            raise VersionUnfit(f"{said} cannot forecast: {unfit.reason if unfit else ''}")
        if problems := _uncertified(artifact):
            raise NotCertified(f"{said} has no leakage certificate: {problems}; no caller is given it")


def _uncertified(artifact: ModelArtifact) -> str:
    if artifact.status is VersionStatus.ACTIVE:
        return ""
    return "; ".join(artifact.certificate["problems"]) if artifact.certificate else "it has none"


#: Figures of an experiment, open or ended, in the order they are told.
_FIGURES = (
    "callers", "candles", "e_a_better", "e_b_better", "e_needed", "candles_to_go", "mean_gain", "mse_gain",
    "first_candle", "last_candle",
)  # fmt: skip


def _told(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _FIGURES}
