"""Candle files into the store: Binance's public dumps and Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clm.core.domain import Series
from clm.core.dumps import ALLOWED, parse_candles, series_of
from clm.core.errors import BadInput, InvalidCandles, StorageFailed
from clm.market.candles import CandleReport, repair, validate
from clm.market.stores import Candles


@dataclass(frozen=True, slots=True)
class Imported:
    """What one series gained. files: how many; report: over all of its imported candles."""

    series: Series
    files: int
    first: pd.Timestamp
    last: pd.Timestamp
    report: CandleReport


def import_candles(path: Path, store: Candles, *, mend: bool = False) -> list[Imported]:
    """Reads a file, or every candle file below a folder, and merges it into the store.

    mend: leave out rows that break the rules and name them in the report; otherwise such a row refuses the
    whole series and nothing of it is stored. The span of each file counts as known, gaps included. Raises
    BadInput, InvalidCandles, StorageFailed.
    """
    gathered: dict[Series, list[tuple[Path, pd.DataFrame]]] = {}
    for file, series in _named(path):
        gathered.setdefault(series, []).append((file, _read(file)))
    return [_take_in(series, parts, store, mend) for series, parts in gathered.items()]


def _take_in(series: Series, parts: list[tuple[Path, pd.DataFrame]], store: Candles, mend: bool) -> Imported:
    sound: list[tuple[pd.DataFrame, CandleReport]] = []
    for file, frame in parts:
        try:
            sound.append(repair(frame, series) if mend else (frame, validate(frame, series)))
        except InvalidCandles as error:
            raise InvalidCandles(f"{file.name}: {error}", error.rows) from error
    dropped = tuple(line for _, report in sound for line in report.dropped)
    step = int(series.step.total_seconds() * 1000)
    for frame, _ in sound:
        if len(frame):
            opens = pd.DatetimeIndex(frame.index).as_unit("ms").asi8
            store.write(series, frame, (int(opens[0]), int(opens[-1]) + step))
    joined = pd.concat([frame for frame, _ in sound])
    joined = joined[~joined.index.duplicated(keep="last")].sort_index()
    if joined.empty:
        raise InvalidCandles(f"{series}: no candle of {len(parts)} files keeps the rules", dropped)
    whole = validate(joined, series)
    report = CandleReport(whole.rows, whole.gaps, whole.without_trades, dropped)
    return Imported(series, len(parts), joined.index[0], joined.index[-1], report)


def _named(path: Path) -> list[tuple[Path, Series]]:
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        there = path.is_dir() or path.is_file()
    except OSError as exc:
        raise BadInput("path", str(path), f"an existing file or folder ({exc.strerror})") from exc
    if not there:
        raise BadInput("path", str(path), "an existing file or folder")
    named = [(file, series) for file in files if (series := series_of(file.name)) is not None]
    if not named:
        raise BadInput("path", str(path), f"a file named like {ALLOWED}, or a folder with such files")
    return named


def _read(file: Path) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc
    return parse_candles(file.name, content)
