"""A market out of stored candles: Parquet files and Binance's dump files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from clm.core.domain import Series
from clm.core.dumps import ALLOWED, parse_candles, series_of
from clm.core.errors import BadInput, StorageFailed
from clm.exchange.market import Market, merge


def read_market(path: Path, seed: int = 0) -> Market:
    """Every candle file at `path` (a file, or a folder searched recursively). Raises BadInput."""
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        there = path.is_dir() or path.is_file()
    except OSError as exc:
        raise BadInput("replay", str(path), f"an existing file or folder ({exc.strerror})") from exc
    if not there:
        raise BadInput("replay", str(path), "an existing file or folder")
    named = [(file, series) for file in files if (series := series_of(file.name)) is not None]
    if not named:
        raise BadInput("replay", str(path), ALLOWED)
    return merge((_read(file, series) for file, series in named), seed)


def _read(file: Path, series: Series) -> tuple[Series, pd.DataFrame]:
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc
    return series, parse_candles(file.name, content)
