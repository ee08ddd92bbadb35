"""The candle store in an object store, where nobody can hold a lock: objects that are never changed.

    URL/BTCUSDT/1h/2024-12/1733011200000-1733097600000-0-1733097611042-5f0c2a.parquet

An object, a segment, holds all candles of one span: its name says from when until when (milliseconds, half
open), when the newest were read where they were (0: they were not), and its order in time. A listing thus
says all that is known, and an object that is there is there as a whole. Each row has the time it was written
at; of rows of the same candle the newest counts. So segments may overlap, be read twice and be joined in any
order by anybody: the result is the same, and two writers at once lose nothing of each other.

A write adds a segment and takes in the small ones it touches; those are deleted once the new one is there.
Killed in between, both stay, which says the same. What cannot be read is deleted, said so in the log, and
fetched again.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.objects import Objects
from clm.logs import logger
from clm.market.candles import empty_candles
from clm.market.holes import Hole, read_holes, to_json
from clm.market.store import Coverage, Span, frame_of, month_span, months

log = logger(__name__)
_NAME = re.compile(r".*/\d{4}-\d{2}/(\d+)-(\d+)-(\d+)-(\d+)-[0-9a-f]+\.parquet")
_WRITTEN, _HOLES = "written_at", "holes.json"
_COLUMNS = ("open_time", *CANDLE_COLUMNS, _WRITTEN)
#: A segment takes in those it touches as long as they are at most so many times as long as it has become: a
#: candle a minute does not rewrite a month a minute, and the segments of a month stay few.
_GREED = 4
#: How often a listing is taken anew because somebody joined segments meanwhile.
_LOOKS = 20
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Segment:
    """An object by what its name says. read_at, written_at: milliseconds. bytes: its length."""

    name: str
    low: int
    high: int
    read_at: int
    written_at: int
    bytes: int

    @classmethod
    def named(cls, name: str, size: int) -> Self | None:
        """None for a name that is none of ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        low, high, read_at, written_at = map(int, found.groups())
        return cls(name, low, high, read_at, written_at, size)

    def meets(self, span: Span) -> bool:
        """Whether it has a moment in common with a span."""
        return self.low < span[1] and self.high > span[0]


class SegmentStore:
    """Candles below one URL. It connects nothing before it is used; threads may share it."""

    def __init__(self, url: str) -> None:
        self._objects = Objects(url)
        #: What this store has seen to be known; a reading that lacks some of it saw a joining half done.
        self._seen: dict[Series, Coverage] = {}
        self._seeing = threading.Lock()

    def __str__(self) -> str:
        return self._objects.url

    def coverage(self, series: Series) -> Coverage:
        """Which times are known; one listing."""
        known = _known(self._segments(series))
        self._see(series, known.spans)
        return known

    def read(self, series: Series, span: Span) -> pd.DataFrame | None:
        """Candles with open times in the span; None where something known is gone: damaged, or cleared.

        Every segment of one listing was read, and nothing this store ever saw to be known is missing there.
        """
        for look in range(_LOOKS):
            time.sleep(_PAUSE_SECONDS if look else 0)
            listed = self._segments(series)
            if self._lacks(series, _known(listed), span):
                continue
            wanted = [segment for segment in listed if segment.meets(span)]
            found = self._objects.get_all(segment.name for segment in wanted)
            if len(found) < len(wanted):
                continue
            tables = [self._unpacked(name, raw) for name, raw in found.items()]
            sound = [table for table in tables if table is not None]
            if len(sound) < len(tables):
                break
            return _between(_joined(sound), span) if sound else empty_candles()
        with self._seeing:
            self._seen.pop(series, None)
        return None

    def write(
        self, series: Series, candles: pd.DataFrame, known: Span, tail_read_at: float | None = None
    ) -> None:
        """Adds candles, all of them in `known`. Raises StorageFailed; then at worst a part of it is known."""
        listed = self._segments(series)
        # Never before what it was made from, whatever this machine's clock says.
        now = max([int(time.time() * 1000), *(segment.written_at + 1 for segment in listed)])
        rows = _table(candles, now)
        for low, high in _pieces(rows, known):
            read_at = int((tail_read_at or 0) * 1000) if high == known[1] else 0
            self._add(series, listed, _cut(rows, (low, high)), Segment("", low, high, read_at, now, 0))
        self._see(series, (known,))

    def holes(self, series: Series) -> tuple[Hole, ...]:
        """See `Candles`."""
        return read_holes(self._objects.get(f"{_folder(series)}/{_HOLES}"))

    def note_holes(self, series: Series, holes: Sequence[Hole]) -> None:
        """See `Candles`."""
        raw = json.dumps({"holes": to_json(holes)}).encode()
        self._objects.put(f"{_folder(series)}/{_HOLES}", raw)

    def clear(self, series: Series) -> None:
        """Forgets everything about a series."""
        with self._seeing:
            self._seen.pop(series, None)
        self._objects.delete(f"{_folder(series)}/{_HOLES}")
        for segment in self._segments(series):
            self._objects.delete(segment.name)

    def _add(self, series: Series, listed: Sequence[Segment], rows: pa.Table, new: Segment) -> None:
        """One new segment, with the small ones that it touches in it."""
        month = months((new.low, new.low + 1))[0]
        first, last = month_span(month)
        raw = _packed(rows)
        size, small = len(raw), []
        for segment in sorted(listed, key=lambda each: each.bytes):
            touches = segment.low <= new.high and segment.high >= new.low
            if touches and first <= segment.low and segment.high <= last and new.high <= last:
                if segment.bytes > _GREED * size:
                    break
                small.append(segment)
                size += segment.bytes
        tables, joined = [rows], [new]
        found = self._objects.get_all(segment.name for segment in small)
        for segment in small:
            # One that is gone is in a segment of somebody else's by now.
            table = self._unpacked(segment.name, found[segment.name]) if segment.name in found else None
            if table is not None:
                tables.append(table)
                joined.append(segment)
        if len(joined) > 1:
            raw = _packed(_joined(tables))
        low, high = min(each.low for each in joined), max(each.high for each in joined)
        name = f"{low}-{high}-{_read_at(joined)}-{new.written_at}-{secrets.token_hex(3)}"
        self._objects.put(f"{_folder(series)}/{month}/{name}.parquet", raw)
        for segment in joined[1:]:
            self._objects.delete(segment.name)

    def _segments(self, series: Series) -> list[Segment]:
        listed = self._objects.sizes(_folder(series)).items()
        return [segment for each in listed if (segment := Segment.named(*each)) is not None]

    def _see(self, series: Series, spans: Sequence[Span]) -> None:
        with self._seeing:
            seen = self._seen.get(series, Coverage())
            for span in spans:
                seen = Coverage(seen.adding(span))
            self._seen[series] = seen

    def _lacks(self, series: Series, known: Coverage, span: Span) -> bool:
        with self._seeing:
            seen = self._seen.get(series, Coverage()).spans
        clipped = [(max(low, span[0]), min(high, span[1])) for low, high in seen]
        return any(known.missing(each) for each in clipped if each[0] < each[1])

    def _unpacked(self, name: str, raw: bytes) -> pa.Table | None:
        """None for one that cannot be read, which is deleted: then its times count as unknown."""
        try:
            return pq.read_table(pa.BufferReader(raw), columns=list(_COLUMNS)).select(_COLUMNS)
        except (pa.ArrowException, OSError, KeyError) as exc:
            log.warning(
                "candles_unreadable",
                file=f"{self._objects.url}/{name}",
                error=str(exc),
                action="fetching again",
            )
        self._objects.delete(name)
        return None


def _folder(series: Series) -> str:
    return f"{series.symbol}/{series.interval}"


def _known(segments: Sequence[Segment]) -> Coverage:
    known = Coverage()
    for segment in segments:
        known = Coverage(known.adding((segment.low, segment.high)))
    return Coverage(known.spans, _read_at(segments) / 1000)


def _read_at(segments: Sequence[Segment]) -> int:
    """When the newest candles were last read."""
    looked = [segment for segment in segments if segment.read_at]
    return max(looked, key=lambda segment: segment.written_at).read_at if looked else 0


def _pieces(rows: pa.Table, known: Span) -> list[Span]:
    """The span by months, but months without a candle in one with their neighbours."""
    opens = rows["open_time"].to_numpy()
    pieces: list[Span] = []
    empty_before = False
    for month in months(known):
        first, last = month_span(month)
        low, high = max(first, known[0]), min(last, known[1])
        begin, end = np.searchsorted(opens, (low, high))
        empty = bool(begin == end)
        if empty and empty_before:
            low = pieces.pop()[0]
        pieces.append((low, high))
        empty_before = empty
    return pieces


def _table(candles: pd.DataFrame, written_at: int) -> pa.Table:
    columns = {"open_time": pd.DatetimeIndex(candles.index).as_unit("ms").asi8}
    columns |= {name: candles[name].to_numpy() for name in CANDLE_COLUMNS}
    columns[_WRITTEN] = np.full(len(candles), written_at)
    return _joined([pa.table(columns)])


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All candles once, ascending; of those there are twice the one written last."""
    table = pa.concat_tables(tables)
    opens, written = table["open_time"].to_numpy(), table[_WRITTEN].to_numpy()
    order = np.lexsort((written, opens))
    last = np.append(opens[order][1:] != opens[order][:-1], np.ones(min(1, len(order)), bool))
    return table.take(order[last])


def _cut(table: pa.Table, span: Span) -> pa.Table:
    low, high = np.searchsorted(table["open_time"].to_numpy(), span)
    return table.slice(int(low), int(high - low))


def _between(table: pa.Table, span: Span) -> pd.DataFrame:
    return frame_of(_cut(table, span))


def _packed(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()
