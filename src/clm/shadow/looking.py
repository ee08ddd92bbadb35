"""What a tick begins with: the newest candles of the series that are due, and what can be seen in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

import pandas as pd

from clm.core.bookkeeper import MAX_CATCH_UP, Bookkeeper
from clm.core.closes import newest_close
from clm.core.domain import Series, candles_fingerprints, utc
from clm.core.ensembles import EnsembleKeeper
from clm.core.errors import ClmError, InsufficientData
from clm.core.experiments import Experiment
from clm.core.policy import PromotionPolicy
from clm.core.protocols import DataClient, FeatureEngineer, TrainedModel
from clm.core.sheet import Sheet
from clm.core.side_by_side import SideBySide
from clm.core.sight import Sight
from clm.core.variance import VARIANCE_MEMORY, variance_after
from clm.shadow.contests import Contests, Entered, Entrant

#: Series whose newest candles are waited for at once.
_LANES = 8


@dataclass(frozen=True, slots=True)
class Desk:
    """One series and what watching it takes."""

    data: DataClient
    keeper: Bookkeeper
    policy: PromotionPolicy
    models: Sequence[str]
    ensemble: EnsembleKeeper | None = None

    @property
    def series(self) -> Series:
        return self.keeper.registry.series


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one series at a tick.

    inputs_at: fingerprint of the candles that a forecast at a position of `candles` is made from. contests:
    the experiments that have begun. models: by model type and version, those that have been loaded.
    """

    now: datetime
    candles: pd.DataFrame
    sheet: Sheet
    variance: pd.Series
    inputs_at: Callable[[int], str]
    contests: tuple[Entered, ...]
    models: dict[tuple[str, str], TrainedModel] = field(default_factory=dict)

    @property
    def features(self) -> pd.DataFrame:
        """What is known at each candle, whoever forecasts."""
        return self.sheet.frame

    def entrants(self, model_type: str) -> list[Entrant]:
        """Arms of experiments of that model type."""
        return [arm for c in self.contests if c.experiment.model_type == model_type for arm in c.arms]


class Looking:
    """Looks at several series at once, and at each once a candle."""

    def __init__(self, features: FeatureEngineer, contests: Contests) -> None:
        self._features, self._contests = features, contests
        self._closed: dict[Series, datetime] = {}
        self._lanes = SideBySide(_LANES, "clm-shadow")

    @property
    def sight(self) -> Sight:
        """What features are computed."""
        return Sight.of(self._features)

    def done(self, series: Series, now: datetime) -> None:
        """Everything of its newest candle is done."""
        self._closed[series] = newest_close(now, series.step)

    def due(self, desks: Sequence[Desk]) -> list[Desk]:
        """Those whose candle has closed since they were last looked at.

        Where all have the same interval, whoever asks for a tick knows that it is time for them.
        """
        steps = {desk.series.step for desk in desks}
        if len(steps) < 2:
            return list(desks)
        now = utc(desks[0].data.server_time())
        return [
            desk for desk in desks
            if desk.series.step == min(steps)
            or self._closed.get(desk.series) != newest_close(now, desk.series.step)
        ]  # fmt: skip

    def looks(self, due: Sequence[Desk]) -> Iterator[tuple[Desk, Known | ClmError]]:
        """A few at a time: candles and features of all at once are more than a process should hold."""
        for first in range(0, len(due), 2 * _LANES):
            part = due[first : first + 2 * _LANES]
            yield from zip(part, self._lanes.each(self._looked, part, lambda d: d.series), strict=True)

    def _looked(self, desk: Desk) -> Known | ClmError:
        try:
            return self.look(desk)
        except ClmError as error:
            return error

    def look(self, desk: Desk) -> Known:
        now, registry = utc(desk.data.server_time()), desk.keeper.registry
        step, begun = registry.series.step, self._contests.begun(registry.series, desk.models, now)
        # Below zero where the clock was set back: then nothing was missed.
        missed = min(max(now - self._newest(desk, now, begun), timedelta(0)), MAX_CATCH_UP)
        start = now - missed - (self._features.warmup + VARIANCE_MEMORY + 1) * step
        candles = desk.data.load_training_data(start, now)
        if len(candles) < 2:
            raise InsufficientData(f"{registry.series}: no candles since {start:%Y-%m-%d %H:%M} UTC")
        # The same for every model and version: computed once per candle.
        digest, warmup = candles_fingerprints(candles), self._features.warmup
        inputs_at = cache(lambda at: digest(max(0, at - warmup), at + 1))
        sheet = Sheet(self._features, candles)
        contests = self._contests.entered(registry, begun, sheet, self.sight)
        return Known(now, candles, sheet, variance_after(candles), inputs_at, contests)

    def _newest(self, desk: Desk, now: datetime, begun: Sequence[Experiment]) -> datetime:
        """The candle up to which every champion, and every arm since its experiment's start, has forecast."""
        registry, reached = desk.keeper.registry, desk.keeper.reached
        champions = [a for m in desk.models if (a := registry.get_active(m)) is not None]
        newest = [reached(a.model_type, a.version, a.trained_at - desk.series.step) for a in champions]
        for e in begun:
            arms = (reached(e.model_type, arm, e.starts_at) for arm in (e.version_a, e.version_b))
            newest += [max(arm, e.starts_at) for arm in arms]
        return min(newest, default=now)
