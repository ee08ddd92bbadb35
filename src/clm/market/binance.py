"""Candles from Binance by python-binance: paged, closed ones only, and only those that are missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clm.core.ambit import counter
from clm.core.domain import Series, utc
from clm.core.errors import (
    BadInput,
    ClmError,
    ExchangeUnavailable,
    InsufficientData,
    InvalidCandles,
    InvalidSetting,
)
from clm.core.impatient import patience
from clm.core.jumps import MAX_JUMP
from clm.core.text import mask_url
from clm.logs import logger
from clm.market.candles import CandleReport, empty_candles, find_gaps, validate
from clm.market.connections import Connections
from clm.market.failures import count_failure
from clm.market.holes import Hole
from clm.market.lanes import in_order
from clm.market.pace import Pace
from clm.market.store import Span
from clm.market.stores import Candles, candle_store
from clm.settings import Settings

if TYPE_CHECKING:
    from binance.client import Client

log = logger(__name__)
_PAGE = 1000
#: The status of a market in which orders are matched.
_TRADED = "TRADING"
#: Each write renews whole months and waits for the disk; a crash loses at most so many pages.
_PAGES_A_WRITE = 8
#: Pages asked for at once, and how many make that worth while.
_LANES, _FEW_PAGES = 16, 4
#: Newest stored candles that are read again with each look at the tail: the exchange revises them.
_REVISED = 3
#: Holes asked for at one look, at most.
_HOLES_A_LOOK = 50
#: Request weight of what is asked; by `_get` the listing of a symbol.
_WEIGHTS = {"get_server_time": 1, "get_klines": 2, "_get": 20}
#: Nanoseconds since 1970 end in 2262; no exchange lives later.
_LATEST_MS = 2**63 // 10**6


class BinanceDataClient:
    """Closed candles of one series, from Binance or whatever speaks its REST at `base_url`.

    cache_enabled: keep candles in the store under `data_dir`, a folder or the URL of an object store.
    cache_ttl: seconds after which the newest stored candles are read again for revisions; missing ones are
    always fetched. connections: shared with other series, closed by whose they are. Building it asks nobody.
    """

    def __init__(
        self,
        symbol: str = "BTCUSDT",
        interval: str = "1h",
        cache_enabled: bool = True,
        cache_ttl: float = 3600,
        *,
        base_url: str | None = None,
        data_dir: Path | str | None = None,
        pace: Pace | None = None,
        connections: Connections | None = None,
        wall: Callable[[], float] = time.time,
        max_jump: float = MAX_JUMP,
    ) -> None:
        self.series = Series(symbol, interval)
        if not cache_ttl >= 0:
            raise InvalidSetting("cache_ttl", cache_ttl, "0 or more seconds")
        settings = Settings.load() if base_url is None or data_dir is None else None
        self.base_url = (base_url or (settings.binance_url if settings else "")).rstrip("/")
        #: The same, as it may be told.
        self.shown = mask_url(self.base_url)
        self.cache_ttl = cache_ttl
        where = data_dir if data_dir is not None else (settings.data_dir if settings else Path())
        self._store = candle_store(where) if cache_enabled else None
        self._pace = pace or Pace()
        self._wall, self._max_jump = wall, max_jump
        self._step = int(self.series.step.total_seconds() * 1000)
        self._connections = connections or Connections(self.base_url)
        self._shared = connections is not None

    def server_time(self) -> datetime:
        answer = self._ask("get_server_time")
        told = answer.get("serverTime") if isinstance(answer, dict) else None
        if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told < _LATEST_MS:
            raise ExchangeUnavailable(f"{self.shown} does not tell its time")
        return datetime.fromtimestamp(told / 1000, UTC)

    def begins(self) -> datetime:
        """When the first candle of the series opened, which the exchange must be trading.

        Raises UnknownSymbol, UnknownInterval, BadInput (listed, and not traded), and what asking raises.
        """
        listed = self._ask(
            "_get", _status, path="exchangeInfo", version="v3", data={"symbol": self.series.symbol}
        )
        if listed != _TRADED:
            allowed = f"a market that {self.shown} trades; this one's status is {listed}"
            raise BadInput("symbol", self.series.symbol, allowed)
        first = self._klines(0, _ms(self.server_time()), 1)
        if first.empty:
            raise InsufficientData(f"{self.series}: {self.shown} has no candle of it yet")
        return utc(pd.DatetimeIndex(first.index)[0])

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        return self._load(start, end, self.server_time())

    def load_recent_data(self, days: float) -> pd.DataFrame:
        if not days > 0:
            raise InvalidSetting("days", days, "a positive number of days")
        now = self.server_time()
        try:
            start = now - timedelta(days=days)
        except OverflowError as exc:
            raise InvalidSetting("days", days, "no more days than there have been") from exc
        return self._load(start, now, now)

    def load_validation_data(self, days: float) -> pd.DataFrame:
        return self.load_recent_data(days)

    def close(self) -> None:
        """Closes the connections of every thread, unless they are shared; the next call opens new ones."""
        if not self._shared:
            self._connections.close()

    def clear_cache(self) -> None:
        """Forgets the stored candles of this series."""
        if self._store is not None:
            self._store.clear(self.series)

    def _load(self, start: datetime, end: datetime, now: datetime) -> pd.DataFrame:
        low = -(-_ms(utc(start)) // self._step) * self._step
        high = min(_ms(utc(end)), _ms(now)) // self._step * self._step
        if low >= high:
            return empty_candles()
        if self._store is None:
            pages = [page for page, _ in self._counted((low, high), _ms(now))]
            frame = pd.concat(pages) if pages else empty_candles()
        else:
            frame = self._through_store(self._store, (low, high), _ms(now))
        self._tell(validate(frame, self.series, self._max_jump))
        return frame

    def _through_store(self, store: Candles, span: Span, now: int) -> pd.DataFrame:
        """Fetch what the store lacks, then read it all from there."""
        for _ in range(3):
            for missing in self._to_fetch(store, span):
                self._fetch_into(store, missing, span[1], now)
            frame = store.read(self.series, span)
            if frame is not None and self._heal(store, frame):
                frame = store.read(self.series, span)
            if frame is not None:
                return frame
        raise InvalidCandles(
            f"stored candles of {self.series} under {store} stay unreadable; clear the cache"
        )

    def _heal(self, store: Candles, frame: pd.DataFrame) -> bool:
        """Asks for the holes of a stored frame that are due, the newest first; whether candles came.

        The exchange that does not answer now has answered for the frame: the hole stays due.
        """
        gaps = find_gaps(pd.DatetimeIndex(frame.index), self.series)
        if not gaps:
            return False
        noted, now = {(hole.low, hole.high): hole for hole in store.holes(self.series)}, self._wall()
        asked, came = 0, False
        for gap in reversed(gaps):
            low = _ms(gap.first)
            high = low + gap.count * self._step
            # A part of one that was filled in is as old as the whole was.
            before = next((hole for hole in noted.values() if hole.holds(low, high)), None)
            if asked == _HOLES_A_LOOK or (before is not None and not before.due(now)):
                continue
            asked += 1
            try:
                answer = self._klines(low - self._step, high + self._step, _PAGE)
            except ClmError as error:
                log.warning("hole_not_asked", series=str(self.series), hole=str(gap), error=str(error))
                break
            opens = pd.DatetimeIndex(answer.index).as_unit("ms").asi8
            inside = answer[(opens >= low) & (opens < high)]
            if len(inside):
                log.warning(
                    "candles_came_late", series=str(self.series), first=str(gap.first), rows=len(inside)
                )
                store.write(self.series, inside, (low, high))
                came = True
            if {low - self._step, high} <= set(opens.tolist()):
                noted[low, high] = Hole(low, high, before.found_at if before else now, now)
        if asked:
            store.note_holes(self.series, sorted(noted.values(), key=lambda hole: hole.low))
        return came

    def _fetch_into(self, store: Candles, missing: Span, newest: int, now: int) -> None:
        """Pages into the store, a few at a time; what had come when something broke is kept."""
        waiting: list[tuple[pd.DataFrame, Span]] = []

        def put() -> None:
            if waiting:
                known = (waiting[0][1][0], waiting[-1][1][1])
                at_tail = known[1] > newest - _REVISED * self._step
                candles = pd.concat([page for page, _ in waiting])
                store.write(self.series, candles, known, self._wall() if at_tail else None)
                waiting.clear()

        try:
            for page in self._counted(missing, now):
                waiting.append(page)
                if len(waiting) == _PAGES_A_WRITE:
                    put()
        finally:
            put()

    def _to_fetch(self, store: Candles, span: Span) -> list[Span]:
        """Spans never asked for; and the newest stored candles when they are due for another look."""
        coverage = store.coverage(self.series)
        missing = coverage.missing(span)
        known_to = max((high for _, high in coverage.spans), default=0)
        tail = (max(span[0], known_to - _REVISED * self._step), min(span[1], known_to))
        if tail[0] >= tail[1]:
            return missing
        if missing and missing[-1][0] == tail[1]:
            return [*missing[:-1], (tail[0], missing[-1][1])]
        due = self._wall() - coverage.tail_read_at > self.cache_ttl
        return [*missing, tail] if due else missing

    def _counted(self, span: Span, now: int) -> Iterator[tuple[pd.DataFrame, Span]]:
        """Pages of a span, and a word now and then on how far they are."""
        count = counter((span[1] - span[0]) // self._step, "candles")
        for page, known in self._pages(span, now):
            if count is not None:
                count((known[1] - span[0]) // self._step)
            yield page, known

    def _pages(self, span: Span, now: int) -> Iterator[tuple[pd.DataFrame, Span]]:
        """Pages of a span, each with the span it settles, in order; the open candle is never among them.

        The first page is asked for alone and tells where the series begins; of the others many at once.
        """
        low, high = span
        first = self._page(span)
        full = len(first) >= _PAGE
        begun = _after(first, self._step) if full else high
        yield from self._settled([((low, begun), first)], now)
        if not full:
            return
        size = _PAGE * self._step
        spans = [(at, min(at + size, high)) for at in range(begun, high, size)]
        if len(spans) < _FEW_PAGES:
            yield from self._settled(((each, self._page(each)) for each in spans), now)
            return
        clients: list[Client] = []
        try:
            mine = self._connections.mine
            asked = in_order(self._page, spans, _LANES, lambda: clients.append(mine(apart=True)))
            yield from self._settled(zip(spans, asked, strict=True), now)
        finally:
            for client in clients:
                client.close_connection()

    def _settled(
        self, pages: Iterable[tuple[Span, pd.DataFrame]], now: int
    ) -> Iterator[tuple[pd.DataFrame, Span]]:
        """Each page with what it settles. Nothing is settled behind a hole: there the next look goes on."""
        for (low, high), page in pages:
            # A candle may reach the exchange's archive a moment late: near now only what came is known.
            settled = max(_after(page, self._step), min(high, now - _REVISED * self._step))
            if settled > low:
                yield page, (low, settled)
            if settled < high:
                return

    def _page(self, span: Span) -> pd.DataFrame:
        """At most a page of a span, sound.

        A gap in it is asked for once more before it is believed; where there is a store, once it is there.
        """
        low, high = span
        limit = min(_PAGE, (high - low) // self._step)
        page = self._klines(low, high, limit)
        gaps = () if self._store is not None else find_gaps(pd.DatetimeIndex(page.index), self.series)
        for gap in gaps:
            first = int(gap.first.timestamp() * 1000)
            again = self._klines(first, first + gap.count * self._step, min(_PAGE, gap.count))
            if len(again):
                log.warning(
                    "candles_came_late", series=str(self.series), first=str(gap.first), rows=len(again)
                )
                page = pd.concat([page, again]).sort_index()
        return page[page.index < pd.Timestamp(high, unit="ms", tz="UTC")]

    def _klines(self, low: int, high: int, limit: int) -> pd.DataFrame:
        from clm.market.vendor import candles_of

        def checked(answer: Any) -> pd.DataFrame:
            frame = candles_of(answer, self.series, self.shown)
            validate(frame, self.series)
            if len(frame) and frame.index[0] < pd.Timestamp(low, unit="ms", tz="UTC"):
                # Believed, they would be asked for without end.
                raise ExchangeUnavailable(f"{self.shown} answers with candles nobody asked for")
            return frame

        frame: pd.DataFrame = self._ask(
            "get_klines", checked, symbol=self.series.symbol, interval=self.series.interval, startTime=low,
            endTime=high - 1, limit=limit,
        )  # fmt: skip
        return frame

    def _ask(self, method: str, check: Callable[[Any], Any] = lambda answer: answer, **params: Any) -> Any:
        """One call of the vendor's client, paced, retried while that may help, its errors made ours."""
        # python-binance takes most of a second to import; whoever only builds a client does not pay for it.
        from clm.market.vendor import TRANSLATED, limited, translate

        seconds = patience()
        pace = self._pace if seconds is None else replace(self._pace, attempts=1)
        for attempt in pace.retries():
            with attempt:
                try:
                    client = self._connections.mine()
                    self._pace.before(self.base_url, _WEIGHTS[method])
                    try:
                        with self._connections.asking(), limited(client, seconds):
                            answer = getattr(client, method)(**params)
                        self._pace.after(self.base_url, client.response.headers)
                    except TRANSLATED as exc:
                        error = translate(exc, self.series, self.base_url)
                        self._pace.refused(self.base_url, error)
                        raise error from exc
                    return check(answer)
                except ClmError as exc:
                    count_failure(method, exc)
                    raise
        raise ExchangeUnavailable(f"{self.shown} was not asked at all: no attempts are allowed")

    def _tell(self, report: CandleReport) -> None:
        if report.gaps:
            log.info(
                "candles_missing", series=str(self.series), gaps=len(report.gaps), candles=report.missing,
                longest=str(max(report.gaps, key=lambda gap: gap.count)),
            )  # fmt: skip
        if report.jumps:
            log.warning(
                "price_jumped", series=str(self.series), jumps=len(report.jumps), newest=report.jumps[-1],
                action="treated like a gap: nothing is learnt or forecast across it",
            )  # fmt: skip


def _after(page: pd.DataFrame, step: int) -> int:
    """Where the candle after a page's last opens, in milliseconds; 0 after an empty one."""
    return int(page.index[-1].timestamp() * 1000) + step if len(page) else 0


def _status(answer: Any) -> str:
    """The trading status in an answer about one symbol. Raises ExchangeUnavailable for what is none."""
    match answer:
        case {"symbols": [{"status": str(status)}]}:
            return status
    raise ExchangeUnavailable("the exchange does not say whether it trades that symbol")


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
