"""One model over the rows of several series: a recipe that competes with each series' own.

It is trained once, on the same windows as a series' own models, and judged, certified and decided about on
each series by itself: a candidate like any other, with a ledger of its own. What it is scored on is scaled by
each series' own volatility, so that series may be put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd

from clm.core.attempt import Material, shuffled
from clm.core.domain import (
    TARGET,
    ModelArtifact,
    Progress,
    RetrainReport,
    Series,
    candles_fingerprint,
    utc,
)
from clm.core.errors import ClmError, DatabaseUnavailable, LeaseLost, TrainingFailed
from clm.core.gathering import Tell
from clm.core.journal import Journal
from clm.core.manager import ContinuousLearningManager
from clm.core.origin import Pooled, pooled_rows, used_candles
from clm.core.protocols import EagerTrainer, ProgressListener, TrainedModel, Training
from clm.core.reports import Spent, report_of
from clm.core.triggers import FORCED

#: Rows a pooled model is trained on at most; of more, every second, third, … of each series is taken.
MOST_ROWS = 1_000_000
#: Versions among which the last pooled one is looked for.
_HISTORY = 20


class PooledTrainer:
    """Trains once over all series what is asked for series by series, and gives each the same model."""

    def __init__(self, trainer: Training, materials: Sequence[Material]) -> None:
        self._trainer = trainer
        self._materials = sorted(materials, key=lambda material: material.series)
        self._made: dict[str, TrainedModel | TrainingFailed] = {}
        refits = [m.timeline.refit.rows(m.features, m.series.step) for m in self._materials]
        total = sum(map(len, refits))
        self._every = -(-total // MOST_ROWS)
        self.pooled = Pooled(
            {
                m.series: candles_fingerprint(used_candles(m.candles, m.timeline.refit.end, m.series.step))
                for m in self._materials
            },
            self._every,
            sum(len(rows.iloc[:: self._every]) for rows in refits),
        )

    def of(self, material: Material) -> Training:
        """What trains for one of the series."""
        return _OfSeries(self, material)

    def model(self, model_type: str, which: str) -> TrainedModel:
        """The model of one of three trainings: fit, shuffled or refit. Raises what training raises."""
        if which not in self._made:
            frames = [_window(material, which) for material in self._materials]
            try:
                self._made[which] = self._trainer.train(model_type, pooled_rows(frames, self._every))
            except TrainingFailed as error:
                # It would for every series.
                self._made[which] = error
        made = self._made[which]
        if isinstance(made, TrainingFailed):
            raise made
        return made


@dataclass(frozen=True, slots=True)
class _OfSeries:
    pooled: PooledTrainer
    material: Material

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        return self.pooled.model(model_type, _which(self.material, df))


def _window(material: Material, which: str) -> pd.DataFrame:
    window = material.timeline.refit if which == "refit" else material.timeline.fit
    rows = window.rows(material.features, material.series.step)
    return shuffled(rows) if which == "shuffled" else rows


def _which(material: Material, rows: pd.DataFrame) -> str:
    """Which of the three trainings a series' rows are for."""
    fit = _window(material, "fit")
    if not fit.index.equals(rows.index):
        return "refit"
    return "fit" if fit[TARGET].equals(rows[TARGET]) else "shuffled"


@dataclass(frozen=True, slots=True)
class PooledCycle:
    """The cycle of one model type over several series of one interval and the same windows."""

    managers: Sequence[ContinuousLearningManager]
    model_type: str

    def due(self, now: datetime) -> str | None:
        """Why it should be trained now; None: no need."""
        newest = [found for manager in self.managers if (found := self._newest(manager)) is not None]
        last = max(newest, key=lambda artifact: artifact.trained_at, default=None)
        # Whether it reigns anywhere is for the evidence to say: its age is what counts.
        return self.managers[0].trigger_rule.reason(last, last, now)

    def run(
        self, force: bool, journal: Journal, progress: ProgressListener | None = None
    ) -> list[RetrainReport]:
        """One report per series that has a candle and features enough; none where nothing is due.

        A series that fails does not keep the others from their model. Raises DatabaseUnavailable, LeaseLost,
        ExchangeUnavailable.
        """
        now = utc(self.managers[0].gatherer.data.server_time())
        reason = self.due(now) or (FORCED if force else None)
        waiting = [m for m in self.managers if not journal.finished(m.series, self._entry)]
        if reason is None or not waiting:
            return []
        self.managers[0].prepare()
        materials: dict[Series, Material] = {}
        failed: dict[Series, str] = {}
        for manager in self.managers:
            tell = self._teller(progress, manager.series, len(materials) + len(failed))
            try:
                materials[manager.series] = manager.gatherer.material(now, tell)
            except (DatabaseUnavailable, LeaseLost):
                raise
            except ClmError as error:
                failed[manager.series] = f"{self._entry}: {error}"
        spent = Spent(now, datetime.now(UTC))
        reports = [report_of(s, reason, spent, self.model_type, cause) for s, cause in failed.items()]
        if len(materials) < 2:
            return reports
        each = self.managers[0].attempt.trainer
        trainer = PooledTrainer(each, list(materials.values()))
        for position, manager in enumerate(m for m in waiting if m.series in materials):
            material = materials[manager.series]
            attempt = replace(manager.attempt, trainer=trainer.of(material), pooled=trainer.pooled)
            tell = self._teller(progress, manager.series, len(self.managers) + position)
            reports.append(
                manager.try_one(
                    self.model_type, material, reason, partial(_say, tell), journal, attempt, self._entry
                )
            )
        if isinstance(each, EagerTrainer):
            each.forget()
        self._teller(progress, self.managers[-1].series, 2 * len(self.managers))(0, "done", "complete")
        return reports

    @property
    def _entry(self) -> str:
        """Its name in a run's journal."""
        return f"{self.model_type} over all series"

    def _newest(self, manager: ContinuousLearningManager) -> ModelArtifact | None:
        history = manager.keeper.registry.get_model_history(self.model_type, limit=_HISTORY)
        return next((version for version in history if version.pooled), None)

    def _teller(self, progress: ProgressListener | None, series: Series, done: int) -> Tell:
        """Tells a listener of a series' step; a series is read once, and judged once."""

        def tell(_: int, step: str, message: str) -> None:
            if progress is not None:
                told = Progress(
                    step=step, message=f"{self._entry}: {message}", done=done, total=2 * len(self.managers),
                    model_type=self.model_type, series=series,
                )  # fmt: skip
                progress(told)

        return tell


def _say(tell: Tell, step: str, message: str) -> None:
    tell(0, step, message)
