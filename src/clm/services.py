"""What goes on for as long as a process lives: runs in children, the live shadow, forecasts, explanations."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from clm.core.alert import Alarm, Alert
from clm.core.domain import Series
from clm.core.errors import TransientError
from clm.features.catalogue import KNOWN
from clm.features.engineer import QuantumFeatureEngineer
from clm.jobs.messenger import Messenger
from clm.jobs.supervisor import RunSupervisor
from clm.jobs.watch import LiveWatch
from clm.market.candles import validate
from clm.market.stores import candle_store
from clm.parts import Parts, policy_of
from clm.registry.outbox import SQLOutbox
from clm.serving.desk import Desk as ServingDesk
from clm.serving.drift import DriftOverTime
from clm.serving.explain import Explainer
from clm.serving.follower import Follower
from clm.serving.forecasts import Forecasts
from clm.serving.shelf import Shelf
from clm.serving.snapshot import Limits as AnswerLimits
from clm.settings import Settings
from clm.shadow.live import LiveShadow
from clm.shadow.looking import Desk

_READ_ALL_SECONDS = 2.0
#: Candles that may be late, and how much more time, before that is an incident.
_STALE_CANDLES, _STALE_MORE = 3, timedelta(minutes=5)


class Services(Parts):
    """The parts, and what keeps working with them; a context manager, as they are."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        super().__init__(settings, **more)
        self._desks: dict[Series, tuple[Settings, ServingDesk]] = {}
        self._shelf = Shelf()
        #: Called when a champion turns out unable to serve: where a service runs, its live shadow decides.
        self.on_unfit: Callable[[], object] = lambda: None
        self._known: tuple[int, float, Mapping[tuple[str, str], Hashable]] | None = None

    @cached_property
    def supervisor(self) -> RunSupervisor:
        return RunSupervisor(self.runs, self.settings.for_children())

    @cached_property
    def messenger(self) -> Messenger:
        """What sends alerts. Raises InvalidSetting for an address that cannot be."""
        outbox = SQLOutbox(self.registry.database)
        return Messenger(outbox, self.receivers, self.settings.alerts_per_hour, watch=self.look_after_alerts)

    def look_after_alerts(self) -> None:
        """What only looking tells is raised or settled; what is long over is forgotten."""
        self.look_for_stale_data()
        self.alerts.forget()

    def look_for_stale_data(self) -> None:
        """An alert for each series with a champion that gets no new candles; over when it gets some again."""
        settings = self.settings
        if not (settings.live_shadow and settings.cache_enabled):
            # Nobody fetches candles as they close: the store is as old as the last run, which is meant.
            return
        reigning = {(symbol, interval) for symbol, interval, *_ in self.registry.reigning()}
        every = [s for s in self.series if (s.symbol, s.interval) in reigning]
        store = candle_store(settings.data_dir)
        try:
            now = self.exchange_time()
        except TransientError:
            now = datetime.now(UTC)
        for series in every:
            spans = store.coverage(series).spans
            newest = datetime.fromtimestamp(spans[-1][1] / 1000, UTC) if spans else None
            if newest is None:
                continue
            if now - newest <= _STALE_CANDLES * series.step + _STALE_MORE:
                self.alarm_over("data_stale", series)
                continue
            said = (
                f"The newest candle of {series} closed at {newest:%Y-%m-%d %H:%M} UTC; it is "
                f"{now:%Y-%m-%d %H:%M} UTC, and forecasts are made of what is there."
            )
            self.alarm(Alert("data_stale", series, "", "", said))

    @cached_property
    def live_watch(self) -> LiveWatch:
        """The child process of the live shadow; starts with its first tick."""
        return LiveWatch(self.settings.for_children())

    def live_shadow(self, alarm: Alarm | None = None, *, rehearsal: bool = False) -> LiveShadow:
        """The watch over all series; rehearsal: on a clock that is played back."""
        return LiveShadow(
            self._shadow_desks, self.feature_engineer, alarm=alarm or self.alarm, rehearsal=rehearsal,
            experiments=self.experiments.store,
        )  # fmt: skip

    def _shadow_desks(self) -> list[Desk]:
        managers = [self.manager(series) for series in self.series]
        return [
            Desk(self.data_client(m.series), m.keeper, m.policy, m.models, self.ensemble_keeper(m.series))
            for m in managers
        ]

    @cached_property
    def forecasts(self) -> Forecasts:
        """What forecasts are asked through; its follower begins with the first question."""
        first = self.series[0]
        follower = Follower(
            self._serving_desks, self.data_client(first).server_time, self._answering,
            silence=self._connections.silence,
        )  # fmt: skip
        return Forecasts(
            follower, self.models_of, self._limits_of, self.feature_engineer, validate, self._shelf,
            self.registry, self.experiments.arm_of,
        )  # fmt: skip

    def _limits_of(self, series: Series) -> AnswerLimits:
        return AnswerLimits(
            model_age=timedelta(days=self.settings_of(series).stale_model_days),
            data_age=series.step + timedelta(minutes=1),
        )

    def _serving_desks(self) -> Mapping[Series, ServingDesk]:
        """A desk per series; what one knows is lost only where something else is said of its series."""
        desks = {}
        for series in self.series:
            settings, known = self.settings_of(series), self._desks.get(series)
            if known is None or known[0] is not settings:
                desk = ServingDesk(
                    self.data_client(series), self.registry.for_series(series), self.feature_engineer,
                    settings.models,
                    ensemble=self.ensemble_keeper(series), guard_hours=policy_of(settings).guard_hours,
                    on_unfit=lambda: self.on_unfit(), others=self.experiments.open_versions,
                    shelf=self._shelf,
                )  # fmt: skip
                known = settings, desk
            desks[series] = known
        self._desks = desks
        return {series: desk for series, (_, desk) in desks.items()}

    def _answering(self) -> Mapping[Series, Hashable]:
        """What changes whenever another version is to answer: who reigns, and the arms of experiments."""
        reigning = self._reigning()
        return {
            series: (
                reigning.get((series.symbol, series.interval)),
                tuple(self.experiments.open_versions(series)),
            )
            for series in self.series
        }

    def _reigning(self) -> Mapping[tuple[str, str], Hashable]:
        """(symbol, interval) → who reigns there. Of many series the whole is read only when something is new.

        Whoever begins or ends a reign decides so, and decisions are numbered; but two that are made at once
        may show in either order, so that now and then all are read whatever the newest number is.
        """
        newest, now = self.registry.newest_decision(), time.monotonic()
        if self._known is None or self._known[0] != newest or now - self._known[1] > _READ_ALL_SECONDS:
            found: dict[tuple[str, str], tuple[Hashable, ...]] = {}
            for symbol, interval, *who in self.registry.reigning():
                found[symbol, interval] = (*found.get((symbol, interval), ()), tuple(who))
            self._known = newest, now, found
        return self._known[2]

    @cached_property
    def explainer(self) -> Explainer:
        """What forecasts are made of, also those of versions that know features no longer configured."""
        engineers = (self.feature_engineer, QuantumFeatureEngineer(max_jump=self.settings.max_jump))
        return Explainer(self.registry, self.data_client, engineers, _families())

    @cached_property
    def drift(self) -> DriftOverTime:
        """How far from their training window features were, day by day."""
        return DriftOverTime(self.registry, self.data_client, self.feature_engineer, _families())

    def close(self) -> None:
        """Ends children and connections that were opened; for children it waits as long as settings say."""
        grace = self.settings.shutdown_grace_seconds
        deadline = time.monotonic() + grace
        # Callbacks run from the last to the first, each of them whatever became of the others.
        with ExitStack() as closing:
            if "registry" in self.__dict__:
                closing.callback(self.registry.close)
            closing.callback(self._connections.close)
            for client in self._clients.values():
                closing.callback(client.close)
            if "forecasts" in self.__dict__:
                closing.callback(self.forecasts.follower.close)
            if "live_watch" in self.__dict__:
                closing.callback(lambda: self.live_watch.close(max(1.0, deadline - time.monotonic())))
            if "supervisor" in self.__dict__:
                closing.callback(self.supervisor.close, grace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _families() -> dict[str, str]:
    return {feature.name: feature.family for feature in KNOWN}
