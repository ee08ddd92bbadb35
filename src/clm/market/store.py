"""The candle store in a folder: one Parquet file per series and month, and a note of the times asked for.

    DIR/BTCUSDT/1h/2024-12.parquet     candles of December 2024
    DIR/BTCUSDT/1h/coverage.json       times known: what is not there does not exist (outage, late listing)
    DIR/BTCUSDT/1h/holes.json          what does not exist, and when it was asked for last

Files are replaced atomically (written aside, fsynced, renamed); one writer per series at a time. It is a
cache of the exchange's word: what cannot be read is dropped, said so in the log, and fetched again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.errors import StorageFailed
from clm.logs import logger
from clm.market.candles import empty_candles
from clm.market.holes import Hole, read_holes, to_json

log = logger(__name__)
#: Half-open range of open times, milliseconds.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """spans: ascending, apart from one another. tail_read_at: machine seconds when the newest were read."""

    spans: tuple[Span, ...] = ()
    tail_read_at: float = 0.0

    def adding(self, span: Span) -> tuple[Span, ...]:
        """The spans with one more, neighbours joined."""
        joined: list[Span] = []
        for low, high in sorted((*self.spans, span)):
            if joined and low <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], high))
            else:
                joined.append((low, high))
        return tuple(joined)

    def without(self, span: Span) -> tuple[Span, ...]:
        """The spans with a part forgotten."""
        cut, back = span
        pieces = [
            piece for low, high in self.spans for piece in ((low, min(high, cut)), (max(low, back), high))
        ]
        return tuple((low, high) for low, high in pieces if low < high)

    def missing(self, span: Span) -> list[Span]:
        """The parts of a span that nobody asked for yet."""
        holes, at = [], span[0]
        for low, high in self.spans:
            if high <= at or low >= span[1]:
                continue
            if low > at:
                holes.append((at, low))
            at = max(at, high)
        if at < span[1]:
            holes.append((at, span[1]))
        return holes


class CandleStore:
    """Candles under `root`; created when first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def coverage(self, series: Series) -> Coverage:
        """Which times are known. An unreadable note counts as none: everything is fetched again."""
        file = self._folder(series) / "coverage.json"
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            spans = tuple((int(low), int(high)) for low, high in read["spans"])
            return Coverage(spans, float(read["tail_read_at"]))
        except FileNotFoundError:
            return Coverage()
        except (ValueError, KeyError, TypeError) as exc:
            log.warning("coverage_unreadable", file=str(file), error=str(exc), action="fetching again")
            return Coverage()
        except OSError as exc:
            raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc

    def read(self, series: Series, span: Span) -> pd.DataFrame | None:
        """Candles with open times in the span, ascending; None when a damaged file was dropped meanwhile."""
        parts = []
        for month in months(span):
            file = self._file(series, month)
            if not file.exists():
                continue
            part = self._read_month(series, month, file)
            if part is None:
                return None
            parts.append(part)
        if not parts:
            return empty_candles()
        table = pa.concat_tables(parts)
        opens = table["open_time"].to_numpy()
        low, high = np.searchsorted(opens, span)
        return frame_of(table.slice(int(low), int(high - low)))

    def write(
        self, series: Series, candles: pd.DataFrame, known: Span, tail_read_at: float | None = None
    ) -> None:
        """Merge candles (newer values win), then note that the times in `known` were asked for.

        Raises StorageFailed; then at worst some months are newer than the note says, which is fetched again.
        """
        with self._writing(series) as folder:
            if len(candles):
                opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
                months = opens.astype("datetime64[ms]").astype("datetime64[M]").astype(str)
                for month, part in candles.groupby(months, sort=True):
                    self._merge_month(series, folder, str(month), part)
            before = self.coverage(series)
            self._note(folder, Coverage(before.adding(known), tail_read_at or before.tail_read_at))

    def holes(self, series: Series) -> tuple[Hole, ...]:
        """See `Candles`."""
        file = self._folder(series) / "holes.json"
        try:
            return read_holes(file.read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc

    def note_holes(self, series: Series, holes: Sequence[Hole]) -> None:
        """See `Candles`."""
        with self._writing(series) as folder, _replacing(folder / "holes.json") as aside:
            aside.write_text(json.dumps({"holes": to_json(holes)}))

    def clear(self, series: Series) -> None:
        """Forget everything about a series."""
        folder = self._folder(series)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise StorageFailed(f"{folder} cannot be cleared: {exc.strerror}") from exc

    def _merge_month(self, series: Series, folder: Path, month: str, candles: pd.DataFrame) -> None:
        file = self._file(series, month)
        stored = self._read_month(series, month, file) if file.exists() else None
        if stored is not None:
            candles = pd.concat([frame_of(stored), candles])
            candles = candles[~candles.index.duplicated(keep="last")].sort_index()
        columns = {"open_time": pd.DatetimeIndex(candles.index).as_unit("ms").asi8}
        columns |= {name: candles[name].to_numpy() for name in CANDLE_COLUMNS}
        table = pa.table(columns)
        with _replacing(file) as aside:
            pq.write_table(table, aside)

    def _read_month(self, series: Series, month: str, file: Path) -> pa.Table | None:
        try:
            return pq.read_table(file, columns=["open_time", *CANDLE_COLUMNS], memory_map=False)
        except (pa.ArrowException, OSError, KeyError) as exc:
            log.warning("candles_unreadable", file=str(file), error=str(exc), action="fetching again")
        folder = self._folder(series)
        with self._writing(series):
            file.unlink(missing_ok=True)
            before = self.coverage(series)
            self._note(folder, Coverage(before.without(month_span(month)), before.tail_read_at))
        return None

    def _note(self, folder: Path, coverage: Coverage) -> None:
        text = json.dumps({"spans": coverage.spans, "tail_read_at": coverage.tail_read_at})
        with _replacing(folder / "coverage.json") as aside:
            aside.write_text(text, encoding="utf-8")

    @contextmanager
    def _writing(self, series: Series) -> Iterator[Path]:
        """The series' folder, ours alone while inside; the lock may be taken again by the same store."""
        folder = self._folder(series)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", is_singleton=True):
                yield folder
        except OSError as exc:
            raise StorageFailed(
                f"candles of {series} cannot be stored in {folder}: {exc.strerror or exc}"
            ) from exc

    def _folder(self, series: Series) -> Path:
        return self.root / series.symbol / series.interval

    def _file(self, series: Series, month: str) -> Path:
        return self._folder(series) / f"{month}.parquet"


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `file` at once and for good, or not at all."""
    # Not tempfile's: those are closed to the group, whatever the umask says.
    aside = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        yield aside
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def frame_of(table: pa.Table) -> pd.DataFrame:
    opens = table["open_time"].to_numpy().astype("datetime64[ms]")
    index = pd.DatetimeIndex(opens, name="open_time").tz_localize("UTC")
    return pd.DataFrame({name: table[name].to_numpy() for name in CANDLE_COLUMNS}, index=index, copy=False)


def months(span: Span) -> list[str]:
    """`2024-11`, `2024-12`, … of every month the span touches."""
    first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (span[0], span[1] - 1))
    count = (last.year - first.year) * 12 + last.month - first.month
    return [
        f"{first.year + (first.month - 1 + k) // 12:04d}-{(first.month - 1 + k) % 12 + 1:02d}"
        for k in range(count + 1)
    ]


def month_span(month: str) -> Span:
    year, number = (int(part) for part in month.split("-"))
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    low, high = datetime(year, number, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
    return int(low.timestamp() * 1000), int(high.timestamp() * 1000)
