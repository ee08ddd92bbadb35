"""Binance's public dump files, and Parquet files of candles, as candle frames. Bytes in, frame out: no I/O.

A dump is a CSV of twelve columns, in a zip or bare, with or without a header line; it stamps
milliseconds and,
since 2025-01-01, microseconds.
"""

from __future__ import annotations

import io
import re
import zipfile

import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, INTERVALS, Series
from clm.core.errors import BadInput

ALLOWED = "BTCUSDT-1h.parquet, or a dump named like BTCUSDT-1h-2024-01-05.zip or .csv"
_NAME = re.compile(r"(?P<symbol>[A-Z0-9]{2,20})-(?P<interval>\d+[mhd])(?:-[\d-]+)?\.(?:parquet|csv|zip)")
_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_base", "taker_buy_quote", "ignore",
)  # fmt: skip
#: No millisecond stamp reaches this before the year 5138, every microsecond stamp since 1973 exceeds it.
_FIRST_MICROSECONDS = 10**14
#: A month of one-second candles unpacks to less; a bigger member is not what it says it is.
_LARGEST_MEMBER = 1 << 30


def series_of(file_name: str) -> Series | None:
    """The series a file's name speaks of; None when it is not named like a candle file."""
    named = _NAME.fullmatch(file_name)
    if named is None or named["interval"] not in INTERVALS:
        return None
    return Series(named["symbol"], named["interval"])


def parse_candles(file_name: str, content: bytes) -> pd.DataFrame:
    """The candles of one file, in its own order, not yet validated.

    Raises BadInput naming the file and, for a CSV, the first line that is wrong.
    """
    try:
        if file_name.endswith(".parquet"):
            raw = pd.read_parquet(io.BytesIO(content))
        elif file_name.endswith(".zip"):
            raw = _parse_csv(file_name, _unzip(file_name, content))
        else:
            raw = _parse_csv(file_name, content)
        stamps = raw["open_time"].astype("int64")
        stamps = stamps.where(stamps < _FIRST_MICROSECONDS, stamps // 1000)
        raw.index = pd.DatetimeIndex(pd.to_datetime(stamps, unit="ms", utc=True), name="open_time")
        frame = raw[list(CANDLE_COLUMNS)].astype("float64")
        return frame.assign(trades=frame["trades"].astype("int64"))
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile, NotImplementedError) as exc:
        if isinstance(exc, BadInput):
            raise
        raise BadInput(file_name, type(exc).__name__, f"candles as Binance publishes them ({exc})") from exc


def _unzip(file_name: str, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".csv")]
        if len(members) != 1 or members[0].file_size > _LARGEST_MEMBER:
            raise BadInput(file_name, [info.filename for info in archive.infolist()], "one csv file inside")
        return archive.read(members[0])


def _parse_csv(file_name: str, content: bytes) -> pd.DataFrame:
    lines = content.splitlines()
    header = 1 if lines and lines[0][:1].isalpha() else 0
    for number, line in enumerate(lines[header:], start=header + 1):
        if line.count(b",") != len(_COLUMNS) - 1:
            allowed = f"{len(_COLUMNS)} values joined by commas"
            raise BadInput(f"{file_name} line {number}", line[:80].decode(errors="replace"), allowed)
    if len(lines) == header:
        raise BadInput(file_name, "no line", "at least one candle")
    frame = pd.read_csv(io.BytesIO(content), header=None, skiprows=header, names=list(_COLUMNS))
    for column in _COLUMNS[:-1]:
        numbers = pd.to_numeric(frame[column], errors="coerce")
        if numbers.isna().any():
            row = int(numbers.isna().to_numpy().argmax())
            where = f"{file_name} line {row + header + 1}, {column}"
            raise BadInput(where, frame[column].iloc[row], "a number")
    return frame
