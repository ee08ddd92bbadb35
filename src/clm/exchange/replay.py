"""A market out of stored candles: Parquet files and Binance's dump files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, INTERVALS
from clm.core.errors import BadInput
from clm.exchange.market import Market, merge

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9]{2,20})-(?P<interval>\d+[mhd])(?:-[\d-]+)?\.(?P<kind>parquet|csv|zip)"
)
_DUMP_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_base", "taker_buy_quote", "ignore",
)  # fmt: skip
_ALLOWED = "files named like BTCUSDT-1h.parquet, BTCUSDT-1h-2024-01-05.zip or .csv"
#: Since 2025-01-01 the dumps stamp microseconds; no millisecond stamp reaches this before the year 5138.
_FIRST_MICROSECONDS = 10**14


def read_market(path: Path, seed: int = 0) -> Market:
    """Every candle file at `path` (a file, or a folder searched recursively). Raises BadInput."""
    if not path.exists():
        raise BadInput("replay", str(path), "an existing file or folder")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    tapes = list(_read_all(files))
    if not tapes:
        raise BadInput("replay", str(path), _ALLOWED)
    return merge(tapes, seed)


def _read_all(files: list[Path]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for file in files:
        named = _NAME.fullmatch(file.name)
        if named and named["interval"] in INTERVALS:
            yield named["symbol"], named["interval"], _read(file, named["kind"])


def _read(file: Path, kind: str) -> pd.DataFrame:
    try:
        if kind == "parquet":
            raw = pd.read_parquet(file)
        else:
            raw = _read_dump(file.read_bytes(), zipped=kind == "zip")
        stamps = raw["open_time"].astype("int64")
        stamps = stamps.where(stamps < _FIRST_MICROSECONDS, stamps // 1000)
        raw.index = pd.DatetimeIndex(pd.to_datetime(stamps, unit="ms", utc=True), name="open_time")
        return raw[list(CANDLE_COLUMNS)].astype("float64")
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as exc:
        raise BadInput("replay", str(file), f"candles as Binance publishes them ({exc})") from exc


def _read_dump(content: bytes, *, zipped: bool) -> pd.DataFrame:
    if zipped:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(archive.namelist()[0])
    header = 0 if content[:1].isalpha() else None
    frame = pd.read_csv(io.BytesIO(content), header=header)
    frame.columns = pd.Index(_DUMP_COLUMNS)
    return frame
