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
#: The first look may take so long where the exchange answers; how often it is asked whether it does.
_FIRST_SECONDS, _GLANCE_SECONDS = 15.0, 0.02
#: A look that is under way when all ends may take so long.
_CLOSE_SECONDS = 5.0


class Follower:
    """Two threads that look, while entered: one at the registry, one at the exchange, which may hang and
    keeps nobody waiting. Requests read `snapshot` and `now`, and never wait for either.

    desks: those of the series watched. exchange_time: read seldom. answering: of each series, what changes
    whenever another version is to answer there; asked often, as desks are. silence: says that the exchange
    was asked a while ago and has not answered; None: nobody waits for it in vain.
    """

    def __init__(
        self,
        desks: Callable[[], Mapping[Series, Desk]],
        exchange_time: Callable[[], datetime],
        answering: Callable[[], Mapping[Series, Hashable]],
        *,
        silence: Callable[[], str | None] = lambda: None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._watched = desks
        #: Those that answer, and those that are to.
        self._desks: Mapping[Series, Desk] = {}
        self._wanted: Mapping[Series, Desk] = {}
        self._exchange_time, self._answering, self._silence = exchange_time, answering, silence
        self._poll_seconds = poll_seconds
        self._clock = ClockReading()
        self._clock_lock = threading.Lock()
        self._wake, self._stir, self._over = threading.Event(), threading.Event(), threading.Event()
        #: The first look at the registry is over; the first one at candles.
        self._introduced, self._first = threading.Event(), threading.Event()
        self._known: dict[Series, tuple[Desk, Hashable, bool]] = {}
        self._closed: dict[Series, datetime] = {}
        self._trouble: str | None = None
        self._threads: list[threading.Thread] = []
        self._start = threading.Lock()
        self._lanes = SideBySide(_LANES, "clm-follower")

    @property
    def alive(self) -> bool:
        """Whether it looks."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def trouble(self) -> str | None:
        """Why the exchange's clock is not heard, in words; None where it is."""
        return self._silence() or self._trouble

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
        """For the first look; at candles no longer than the exchange answers."""
        self.begin()
        deadline = time.monotonic() + _FIRST_SECONDS
        self._introduced.wait(_FIRST_SECONDS)
        while time.monotonic() < deadline and self._silence() is None:
            if self._first.wait(_GLANCE_SECONDS):
                return

    def now(self) -> datetime | None:
        """What the exchange's clock must be showing; None before it was heard."""
        with self._clock_lock:
            return self._clock.estimate()

    def begin(self) -> None:
        """Starts looking, once; a host application that never enters it gets it at the first question."""
        with self._start:
            if not self.alive and not self._over.is_set():
                self._threads = [
                    threading.Thread(target=self._follow_registry, daemon=True, name="clm-follower"),
                    threading.Thread(target=self._follow_candles, daemon=True, name="clm-follower-candles"),
                ]
                for thread in self._threads:
                    thread.start()

    def wake(self) -> None:
        """Look now: something has changed that was done here."""
        self._wake.set()

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        self._wake.set()
        self._stir.set()
        # Whoever waits for an exchange that does not answer ends with the process.
        for_candles = _CLOSE_SECONDS if self._silence() is None else _GLANCE_SECONDS
        for thread, seconds in zip(self._threads, (_CLOSE_SECONDS, for_candles), strict=False):
            thread.join(seconds)
        self._lanes.close()

    def _follow_registry(self) -> None:
        while not self._over.is_set():
            self._look_at_watchlist()
            self._look_at_registry()
            self._introduced.set()
            self._wake.wait(self._poll_seconds)
            self._wake.clear()

    def _follow_candles(self) -> None:
        looked_at: Mapping[Series, Desk] = {}
        due = 0.0
        # Who is followed comes first; that takes no exchange.
        while not self._introduced.is_set() and not self._wanted and not self._over.is_set():
            self._stir.wait(_GLANCE_SECONDS)
        while not self._over.is_set():
            self._stir.clear()
            desks = self._wanted
            if _newcomers(desks, looked_at):
                due = 0.0
                self._closed = {s: at for s, at in self._closed.items() if looked_at.get(s) is desks.get(s)}
            if time.monotonic() >= due:
                due = time.monotonic() + self._look_at_candles(desks)
                looked_at = self._desks = desks
                self._wake.set()
                self._first.set()
            self._stir.wait(max(0.01, due - time.monotonic()))

    def _look_at_watchlist(self) -> None:
        """The desks to follow; whoever is new among them is looked at now."""
        try:
            desks = self._watched()
        except ClmError as error:
            log.warning("serving_watchlist_unknown", reason=str(error))
            return
        self._wanted = desks
        # Whoever's settings have changed goes on answering by the old ones until the new have looked.
        if not self._desks or not _newcomers(desks, self._desks):
            self._desks = desks
        if not self._introduced.is_set() or _newcomers(desks, self._desks):
            self._stir.set()

    def _look_at_candles(self, desks: Mapping[Series, Desk]) -> float:
        """Looks at the series whose candle has closed; seconds until the clock is to be read again."""
        asked = self._clock.asking()
        try:
            now = self._exchange_time()
        except ClmError as error:
            log.warning("serving_clock_unknown", reason=str(error))
            self._trouble = str(error)
            return _RETRY_SECONDS
        self._trouble = None
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
        # What changes while this looks is seen by the next look; one that fails looks again then. Candles are
        # the other thread's to wait for: before it has any, all there is to say is who reigns.
        for series, desk in self._desks.items():
            seen = desk.seen
            known = (desk, answering.get(series), seen and now is not None)
            if self._known.get(series) == known:
                continue
            if looked(desk, now, fresh_candles=False) if seen and now is not None else introduced(desk):
                self._known[series] = known


def _series_of(desk: Desk) -> Series:
    return desk.series


def _newcomers(desks: Mapping[Series, Desk], known: Mapping[Series, Desk]) -> bool:
    """Whether there are desks that are not known, a series' new one in place of an old one included."""
    return any(known.get(series) is not desk for series, desk in desks.items())
