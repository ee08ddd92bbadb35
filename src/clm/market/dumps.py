"""Candle files into the store: Binance's public dumps and Parquet files."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clm.core.domain import Series
from clm.core.dumps import ALLOWED, parse_candles, series_of
from clm.core.errors import BadInput, ClmError, InvalidCandles, StorageFailed
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


def import_candles(
    path: Path, store: Candles, *, mend: bool = False, executor: Executor | None = None
) -> list[Imported]:
    """Reads a file, or every candle file below a folder, and merges it into the store.

    As `import_each`; raises the first error, those of others as its notes: BadInput, InvalidCandles,
    StorageFailed.
    """
    done = import_each(path, store, mend=mend, executor=executor)
    errors = [error for error in done.values() if isinstance(error, ClmError)]
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]
    return [imported for imported in done.values() if isinstance(imported, Imported)]


def import_each(
    path: Path, store: Candles, *, mend: bool = False, executor: Executor | None = None
) -> dict[Series, Imported | ClmError]:
    """What each series of a file or folder came to. Raises BadInput where there is no candle file.

    mend: leave out rows that break the rules and name them in the report; otherwise such a row, and a file
    that cannot be read in any case, refuses the whole series: nothing of it is stored. The others are taken
    in. The span of each file counts as known, gaps included. executor: where series are taken in, each apart
    from the others; None: here, one after the other.
    """
    files: dict[Series, list[Path]] = {}
    for file, series in _named(path):
        files.setdefault(series, []).append(file)
    each = [(series, named, store, mend) for series, named in files.items()]
    if executor is None or len(each) == 1:
        return {given[0]: _tried(*given) for given in each}
    begun = {given[0]: executor.submit(_tried, *given) for given in each}
    return {series: future.result() for series, future in begun.items()}


def skipped(path: Path) -> list[tuple[Path, str]]:
    """The files below a folder that `import_candles` leaves alone, each with the reason. Raises BadInput."""
    return [
        (file, "a checksum" if file.name.endswith(".CHECKSUM") else f"not named like {ALLOWED}")
        for file in _files(path)
        if series_of(file.name) is None
    ]


def _tried(series: Series, files: list[Path], store: Candles, mend: bool) -> Imported | ClmError:
    try:
        return _take_in(series, [(file, _read(file)) for file in files], store, mend)
    except ClmError as error:
        return error


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


def _files(path: Path) -> list[Path]:
    """All below a folder, or the one. Raises BadInput."""
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        there = path.is_dir() or path.is_file()
    except OSError as exc:
        raise BadInput("path", str(path), f"an existing file or folder ({exc.strerror})") from exc
    if not there:
        raise BadInput("path", str(path), "an existing file or folder")
    return files


def _named(path: Path) -> list[tuple[Path, Series]]:
    named = [(file, series) for file in _files(path) if (series := series_of(file.name)) is not None]
    if not named:
        raise BadInput("path", str(path), f"a file named like {ALLOWED}, or a folder with such files")
    return named


def _read(file: Path) -> pd.DataFrame:
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc
    return parse_candles(file.name, content)
