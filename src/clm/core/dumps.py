"""Binance's public dump files, and Parquet files of candles, as candle frames. Bytes in, frame out: no I/O.

A dump is a CSV of twelve columns, in a zip or bare, with or without a header line; it stamps milliseconds
and, since 2025-01-01, microseconds. The bytes may be anybody's: what they claim to hold is looked at before
it is unpacked, and a number that cannot be kept as it is written is refused, never rounded.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
import zlib

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, INTERVALS, SYMBOL, Series
from clm.core.errors import BadInput

ALLOWED = "BTCUSDT-1h.parquet, or a dump named like BTCUSDT-1h-2024-01-05.zip or .csv"
_NAME = re.compile(rf"(?P<symbol>{SYMBOL})-(?P<interval>\d+[mhd])(?:-[\d-]+)?\.(?:parquet|csv|zip)")
_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_base", "taker_buy_quote", "ignore",
)  # fmt: skip
_KEPT = ("open_time", *CANDLE_COLUMNS)
#: What a line of numbers is not made of.
_STRANGE = re.compile(rb"[^0-9eE+\-., \t\r\n]")
_NUMBER = re.compile(rb"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*")
#: No millisecond stamp reaches this before the year 5138, every microsecond stamp since 1973 exceeds it.
_FIRST_MICROSECONDS = 10**14
#: Whole numbers above are not all floats.
_LARGEST_WHOLE = 2**53
#: A year of one-minute candles unpacks to less; a bigger member is not what it says it is.
_LARGEST_MEMBER = 1 << 27
#: Nineteen years of one-minute candles. A Parquet file of a few hundred bytes may claim any number.
_MOST_ROWS = 10_000_000


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
    if file_name.endswith(".parquet"):
        raw = _parse_parquet(file_name, content)
    elif file_name.endswith(".zip"):
        raw = _parse_csv(file_name, _unzip(file_name, content))
    else:
        raw = _parse_csv(file_name, content)
    stamps = _whole(file_name, raw, "open_time")
    micro = np.where(stamps < _FIRST_MICROSECONDS, stamps * 1000, stamps)
    times = pd.DatetimeIndex(micro.astype("datetime64[us]"), name="open_time").tz_localize("UTC")
    if not (micro % 1000).any():
        times = times.as_unit("ms")
    columns = {name: raw[name] for name in CANDLE_COLUMNS[:-1]}
    return pd.DataFrame({**columns, "trades": _whole(file_name, raw, "trades")}, index=times, copy=False)


def _whole(file_name: str, raw: dict[str, np.ndarray], column: str) -> np.ndarray:
    """A column as int64. Raises BadInput for the first value that is no whole number."""
    values = raw[column]
    sound = (np.abs(values) < _LARGEST_WHOLE) & (values == np.floor(values))
    if not sound.all():
        row = int(np.argmin(sound))
        raise BadInput(f"{file_name} candle {row + 1}, {column}", float(values[row]), "a whole number")
    return values.astype("int64")


def _unzip(file_name: str, content: bytes) -> bytes:
    allowed = f"one csv file inside, of at most {_LARGEST_MEMBER >> 20} MB, plain or deflated"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".csv")]
            sound = len(members) == 1 and members[0].file_size <= _LARGEST_MEMBER
            # Of the other methods Python unpacks a whole block, whatever comes out, before it counts.
            sound = sound and members[0].compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if not sound:
                found = [f"{info.filename[:80]}, {info.file_size} bytes" for info in archive.infolist()[:5]]
                raise BadInput(file_name, found, allowed)
            with archive.open(members[0]) as member:
                # A member may be more than it says; asked for so much, it gives no more.
                return member.read(_LARGEST_MEMBER + 1)
    except BadInput:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as exc:
        raise BadInput(file_name, type(exc).__name__, f"{allowed} ({exc})") from exc


def _parse_csv(file_name: str, content: bytes) -> dict[str, np.ndarray]:
    text = content.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    header = 1 if text[:1].isalpha() else 0
    body = text.partition(b"\n")[2] if header else text
    if not body:
        raise BadInput(file_name, "no line", "at least one candle")
    for number, line in enumerate(io.BytesIO(body), start=header + 1):
        if line.count(b",") != len(_COLUMNS) - 1:
            allowed = f"{len(_COLUMNS)} values joined by commas"
            raise BadInput(f"{file_name} line {number}", _shown(line), allowed)
    if _STRANGE.search(body):
        # pandas would take some of these for numbers: `True`, for one.
        raise _wrong_number(file_name, body, header)
    try:
        frame = pd.read_csv(
            io.BytesIO(body), header=None, names=list(_COLUMNS), usecols=_COLUMNS[:-1], dtype="float64",
            quoting=csv.QUOTE_NONE, lineterminator="\n", skip_blank_lines=False, na_filter=False,
        )  # fmt: skip
    except (ValueError, OverflowError) as exc:
        raise _wrong_number(file_name, body, header) from exc
    return {name: frame[name].to_numpy() for name in _KEPT}


def _wrong_number(file_name: str, body: bytes, header: int) -> BadInput:
    """Names the first value that is no number."""
    for number, line in enumerate(io.BytesIO(body), start=header + 1):
        for column, value in zip(_COLUMNS, line.split(b","), strict=True):
            if not _NUMBER.fullmatch(value):
                return BadInput(f"{file_name} line {number}, {column}", _shown(value), "a number")
    return BadInput(file_name, _shown(body), "numbers")


def _shown(value: bytes) -> str:
    return value[:80].decode(errors="replace")


def _parse_parquet(file_name: str, content: bytes) -> dict[str, np.ndarray]:
    # pandas would read it too, but only pyarrow says how much a file claims to hold before it unpacks it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    allowed = f"{', '.join(_KEPT)} as numbers, at most {_MOST_ROWS:,} rows"
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        kinds = {name: file.schema_arrow.field(name).type for name in _KEPT}
        times = kinds["open_time"] if pa.types.is_timestamp(kinds["open_time"]) else None
        strange = [
            n for n, kind in kinds.items() if not (pa.types.is_integer(kind) or pa.types.is_floating(kind))
        ]
        if strange not in ([], ["open_time"] if times else []) or file.metadata.num_rows > _MOST_ROWS:
            raise BadInput(file_name, f"{file.metadata.num_rows} rows; {', '.join(strange)}", allowed)
        table = file.read(columns=list(_KEPT), use_threads=False)
        if times is not None:
            stamps = table["open_time"].cast(pa.timestamp("us", times.tz)).cast(pa.int64())
            table = table.set_column(table.schema.get_field_index("open_time"), "open_time", stamps)
        return {name: table[name].cast(pa.float64()).to_numpy() for name in _KEPT}
    except BadInput:
        raise
    except (pa.ArrowException, ValueError, KeyError, TypeError, OSError) as exc:
        raise BadInput(file_name, type(exc).__name__, f"{allowed} ({exc})") from exc
