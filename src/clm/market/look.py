"""What the candle store holds of a series, thinned for a picture: nothing is fetched, nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd

from clm.core.domain import Series, utc
from clm.core.errors import BadInput, InvalidCandles
from clm.market.store import Span
from clm.market.stores import Candles

#: Open times, milliseconds.
Stamps = np.ndarray[tuple[int], np.dtype[np.int64]]
#: Points of a picture, and candles that are read for one.
MOST_POINTS, MOST_CANDLES = 1000, 200_000
#: Gaps that are listed.
_HOLES = 200
_LOOKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One point: `candles` neighbouring candles as one. open_time: of the first there is."""

    open_time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    candles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Neighbouring candles that are not stored. fetched: they were asked for, so the exchange has none."""

    first: datetime
    candles: int
    fetched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A window of what is stored. begins: of everything stored. newest_close: of the window's last candle.

    candles: in the window. candles_a_point: of each bar but where some are missing. gaps: how many there are,
    with so many `missing` candles; holes: the newest of them, ascending.
    """

    begins: datetime | None
    newest_close: datetime | None
    since: datetime | None
    until: datetime | None
    candles: int
    candles_a_point: int
    bars: tuple[Bar, ...]
    gaps: int
    missing: int
    holes: tuple[Hole, ...]


_NOTHING = Picture(
    begins=None,
    newest_close=None,
    since=None,
    until=None,
    candles=0,
    candles_a_point=1,
    bars=(),
    gaps=0,
    missing=0,
    holes=(),
)


def picture(store: Candles, series: Series, days: float) -> Picture:
    """The last `days` days up to the newest stored candle. Raises BadInput, StorageFailed, InvalidCandles."""
    step = int(series.step.total_seconds() * 1000)
    wanted = int(timedelta(days=days) / series.step)
    if not 1 <= wanted <= MOST_CANDLES:
        most = MOST_CANDLES * series.step / timedelta(days=1)
        allowed = f"at least one candle of {series.interval}, and at most {most:,.0f} days of them"
        raise BadInput("days", days, allowed)
    for _ in range(_LOOKS):
        spans = store.coverage(series).spans
        if not spans:
            return _NOTHING
        low, high = max(spans[0][0], spans[-1][1] - wanted * step), spans[-1][1]
        frame = store.read(series, (low, high))
        # None: a damaged file was dropped, and is known to be missing now.
        if frame is not None:
            return _picture(series, frame, spans, (low, high))
    raise InvalidCandles(f"stored candles of {series} under {store} stay unreadable; clear the cache")


def _picture(series: Series, frame: pd.DataFrame, spans: tuple[Span, ...], window: Span) -> Picture:
    step = int(series.step.total_seconds() * 1000)
    span = max(1, (window[1] - window[0]) // step)
    # One more point may begin before the window does.
    a_point = -(-span // (MOST_POINTS - 1)) if span > MOST_POINTS else 1
    opens = pd.DatetimeIndex(frame.index).as_unit("ms").asi8
    holes = _holes(opens, step, spans, window)
    newest = None if frame.empty else _utc(int(opens[-1]) + step)
    return Picture(
        begins=_utc(spans[0][0]), newest_close=newest, since=_utc(window[0]), until=_utc(window[1]),
        candles=len(frame), candles_a_point=a_point, bars=_bars(frame, opens, a_point * step),
        gaps=len(holes), missing=sum(hole.candles for hole in holes), holes=tuple(holes[-_HOLES:]),
    )  # fmt: skip


def _bars(frame: pd.DataFrame, opens: Stamps, wide: int) -> tuple[Bar, ...]:
    if frame.empty:
        return ()
    begins = np.flatnonzero(np.diff(opens // wide, prepend=-1))
    ends = [*begins[1:].tolist(), len(opens)]
    values = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    high, low = np.maximum.reduceat(values["high"], begins), np.minimum.reduceat(values["low"], begins)
    volume = np.add.reduceat(values["volume"], begins)
    return tuple(
        Bar(
            open_time=_utc(int(opens[first])), open=float(values["open"][first]), high=float(high[k]),
            low=float(low[k]), close=float(values["close"][end - 1]), volume=float(volume[k]),
            candles=end - first,
        )
        for k, (first, end) in enumerate(zip(begins.tolist(), ends, strict=True))
    )  # fmt: skip


def _holes(opens: Stamps, step: int, spans: tuple[Span, ...], window: Span) -> list[Hole]:
    """Ascending; where what was fetched and what was not are neighbours, they are two."""
    edges = [window[0] - step, *opens.tolist(), window[1]]
    found = []
    for before, after in pairwise(edges):
        if after - before <= step:
            continue
        at, end = before + step, after
        for low, high, fetched in _parts(spans, (at, end)):
            if high > low:
                found.append(Hole(first=_utc(low), candles=(high - low) // step, fetched=fetched))
    return found


def _parts(spans: tuple[Span, ...], hole: Span) -> list[tuple[int, int, bool]]:
    """A hole cut into what was asked for and what was not."""
    parts, at = [], hole[0]
    for low, high in spans:
        low, high = max(low, hole[0]), min(high, hole[1])
        if low >= high:
            continue
        parts += [(at, low, False), (low, high, True)]
        at = high
    return [*parts, (at, hole[1], False)]


def _utc(milliseconds: int) -> datetime:
    return utc(pd.Timestamp(milliseconds, unit="ms", tz="UTC"))
