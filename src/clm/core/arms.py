"""Which arm answers a caller, asked with every request: from memory but for each caller's first time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from clm.core.domain import Series
from clm.core.errors import TransientError
from clm.core.experiments import Assigned, Experiment, arm_drawn, check_caller
from clm.core.protocols import Clock
from clm.core.stores import ExperimentStore

#: Seconds: how old what is known of experiments may be, and after how many the exchange is asked for its time
#: again; in between its clock is taken to run as the machine's.
_VIEW_SECONDS, _TIME_SECONDS = 1.0, 10.0
#: Callers remembered; one that was forgotten is looked up again.
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class _View:
    """Open experiments as they were at `seen`, by the clock for durations."""

    seen: float
    experiments: Mapping[tuple[Series, str], Experiment]


class Arms:
    """Thread-safe. now: the exchange's time; may raise. clock: for durations.

    A database or exchange that is away changes nobody's arm: what was known goes on, and who was never seen
    before gets the arm that every replica would give them.
    """

    def __init__(self, store: ExperimentStore, now: Callable[[Series], datetime], clock: Clock) -> None:
        self._store, self._now, self._clock = store, now, clock
        self._view: _View | None = None
        self._time: tuple[float, datetime] | None = None
        self._refreshing, self._asking, self._lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._remembered: OrderedDict[tuple[str, str], Assigned] = OrderedDict()

    def of(
        self, series: Series, model_type: str, caller: str | None, now: datetime | None = None
    ) -> Assigned | None:
        """The arm of a caller; None: no experiment runs, or nobody says who asks.

        now: the exchange's time where it is known already. Raises BadInput, and DatabaseUnavailable as long
        as nothing was ever known.
        """
        if caller is None:
            return None
        check_caller(caller)
        experiment = self._known().get((series, str(model_type)))
        if experiment is None:
            return None
        moment = now or self._exchange_time(series)
        if not experiment.runs_at(moment):
            return None
        key = (experiment.experiment_id, caller)
        with self._lock:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
        return self._first_sight(experiment, caller, moment)

    def open(self, series: Series | None = None) -> list[Experiment]:
        """Experiments that have not ended, at most a second ago."""
        return [e for (of, _), e in self._known().items() if series in (None, of)]

    def forget(self) -> None:
        """Look anew: this process has just changed something."""
        if self._view is not None:
            self._view = _View(-inf, self._view.experiments)

    def _first_sight(self, experiment: Experiment, caller: str, now: datetime) -> Assigned | None:
        drawn = experiment.version_of(arm_drawn(experiment, caller))
        try:
            version = self._store.assign(experiment, caller, drawn, now)
        except TransientError:
            # Not remembered: it is stored, or found stored, at the next sight.
            return Assigned(experiment.experiment_id, drawn, experiment.arm_with(drawn))
        if version is None:
            self.forget()
            return None
        assigned = Assigned(experiment.experiment_id, version, experiment.arm_with(version))
        with self._lock:
            self._remembered[experiment.experiment_id, caller] = assigned
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return assigned

    def _known(self) -> Mapping[tuple[Series, str], Experiment]:
        view = self._view
        if view is not None and self._clock() - view.seen < _VIEW_SECONDS:
            return view.experiments
        # One looks; the others go by what was known, unless nothing was.
        if not self._refreshing.acquire(blocking=view is None):
            return view.experiments if view is not None else {}
        try:
            return self._looked().experiments
        finally:
            self._refreshing.release()

    def _looked(self) -> _View:
        before, seen = self._view, self._clock()
        if before is not None and seen - before.seen < _VIEW_SECONDS:
            return before
        try:
            found = {(e.series, e.model_type): e for e in self._store.open()}
        except TransientError:
            if before is None:
                raise
            found = dict(before.experiments)
        view = self._view = _View(seen, found)
        return view

    def _exchange_time(self, series: Series) -> datetime:
        known = self._time
        if known is not None and self._clock() - known[0] < _TIME_SECONDS:
            return self._carried_on(known)
        if not self._asking.acquire(blocking=known is None):
            return self._carried_on(known) if known is not None else datetime.now(UTC)
        try:
            if self._time is known:
                self._time = self._asked(series, known)
            return self._carried_on(self._time or (self._clock(), datetime.now(UTC)))
        finally:
            self._asking.release()

    def _asked(self, series: Series, known: tuple[float, datetime] | None) -> tuple[float, datetime]:
        try:
            return self._clock(), self._now(series)
        except TransientError:
            # As long as the exchange never told, the machine's time is all there is.
            return self._clock(), self._carried_on(known) if known is not None else datetime.now(UTC)

    def _carried_on(self, known: tuple[float, datetime]) -> datetime:
        return known[1] + timedelta(seconds=self._clock() - known[0])
