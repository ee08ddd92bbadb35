"""Keeps the snapshots of all series fresh: at every candle's close, and within a blink of every promotion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime

from clm.core.closes import ClockReading, newest_close, next_look
from clm.core.domain import Series
from clm.core.errors import ClmError
from clm.core.side_by_side import SideBySide
from clm.logs import logger
from clm.serving.desk import Desk, introduced, looked
from clm.serving.snapshot import Snapshot

log = logger(__name__)
#: How often the registry is asked who reigns: a promotion elsewhere answers here so much later at most.
_POLL_SECONDS = 0.25
#: The exchange's clock is read at least so often; after a failure, so soon again.
_READ_SECONDS, _RETRY_SECONDS = 60.0, 5.0
#: Series whose newest candles are waited for at once.
_LANES = 8


class Follower:
    """A thread that looks, while entered. Requests read `snapshot` and `now`, and never wait for it.

    desks: those of the series watched. exchange_time: read seldom. answering: of each series, what changes
    whenever another version is to answer there; asked often, as desks are.
    """

    def __init__(
        self,
        desks: Callable[[], Mapping[Series, Desk]],
        exchange_time: Callable[[], datetime],
        answering: Callable[[], Mapping[Series, Hashable]],
        *,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._watched = desks
        self._desks: Mapping[Series, Desk] = {}
        self._exchange_time, self._answering = exchange_time, answering
        self._poll_seconds = poll_seconds
        self._clock = ClockReading()
        self._clock_lock = threading.Lock()
        self._wake, self._over = threading.Event(), threading.Event()
        self._first = threading.Event()
        self._known: dict[Series, tuple[Desk, Hashable, bool]] = {}
        self._closed: dict[Series, datetime] = {}
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._lanes = SideBySide(_LANES, "clm-follower")

    @property
    def alive(self) -> bool:
        """Whether it looks."""
        return self._thread is not None and self._thread.is_alive()

    def snapshot(self, series: Series) -> Snapshot:
        """The newest one; waits for the very first look only, and not for long."""
        if not self.ready:
            self.wait()
        desk = self._desks.get(series)
        # One that was added a moment ago has not been looked at yet.
        return desk.snapshot if desk else Snapshot(series=series, open_time=None, close=None, variance=None)

    @property
    def series(self) -> tuple[Series, ...]:
        """Those it follows, the first being the default; waits for the very first look only."""
        if not self.ready:
            self.wait()
        return tuple(self._desks)

    @property
    def ready(self) -> bool:
        """Whether the first look is over, whatever it saw."""
        return self._first.is_set()

    def wait(self) -> None:
        """For the first look."""
        self.begin()
        self._first.wait(_READ_SECONDS / 4)

    def now(self) -> datetime | None:
        """What the exchange's clock must be showing; None before it was heard."""
        with self._clock_lock:
            return self._clock.estimate()

    def begin(self) -> None:
        """Starts looking, once; a host application that never enters it gets it at the first question."""
        with self._start:
            if not self.alive and not self._over.is_set():
                self._thread = threading.Thread(target=self._follow, daemon=True, name="clm-follower")
                self._thread.start()

    def wake(self) -> None:
        """Look now: something has changed that was done here."""
        self._wake.set()

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)
        self._lanes.close()

    def _follow(self) -> None:
        while not self._over.is_set():
            desks = self._look_at_watchlist()
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + self._look_at_candles(desks)
            # Whoever's settings have changed goes on answering by the old ones until the new have looked.
            self._desks = desks
            self._look_at_registry()
            self._first.set()
            self._wake.wait(min(self._poll_seconds, max(0.01, self._due - time.monotonic())))
            self._wake.clear()

    def _look_at_watchlist(self) -> Mapping[Series, Desk]:
        """The desks to follow; whoever is new among them is looked at now."""
        try:
            desks = self._watched()
        except ClmError as error:
            log.warning("serving_watchlist_unknown", reason=str(error))
            return self._desks
        if any(self._desks.get(series) is not desk for series, desk in desks.items()):
            self._due = 0.0
            self._closed = {s: at for s, at in self._closed.items() if self._desks.get(s) is desks.get(s)}
        return desks

    def _look_at_candles(self, desks: Mapping[Series, Desk]) -> float:
        """Looks at the series whose candle has closed; seconds until the clock is to be read again."""
        asked = self._clock.asking()
        try:
            now = self._exchange_time()
        except ClmError as error:
            log.warning("serving_clock_unknown", reason=str(error))
            return _RETRY_SECONDS
        with self._clock_lock:
            self._clock.read(now, asked)
            again = self._clock.again_in()
        closes = {series: newest_close(now, series.step) for series in desks}
        due = [desk for series, desk in desks.items() if self._closed.get(series) != closes[series]]
        sound = True
        for desk, well in zip(due, self._lanes.each(lambda d: looked(d, now), due, _series_of), strict=True):
            if well and desk.snapshot.made_at == closes[desk.series]:
                self._closed[desk.series] = closes[desk.series]
            else:
                sound = False
        if again is not None:
            return again
        with self._clock_lock:
            steps = {series.step for series in desks}
            away = [self._clock.seconds_until(next_look(now, step)) for step in steps]
        soonest = min((seconds for seconds in away if seconds is not None), default=_READ_SECONDS)
        return min(max(soonest, 0.05), _READ_SECONDS if sound else _RETRY_SECONDS)

    def _look_at_registry(self) -> None:
        try:
            answering = self._answering()
        except ClmError as error:
            log.warning("serving_registry_unknown", reason=str(error))
            return
        now = self.now()
        # What changes while this looks is seen by the next look; one that fails looks again then.
        for series, desk in self._desks.items():
            known = (desk, answering.get(series), now is not None)
            if self._known.get(series) == known:
                continue
            if introduced(desk) if now is None else looked(desk, now, fresh_candles=False):
                self._known[series] = known


def _series_of(desk: Desk) -> Series:
    return desk.series
