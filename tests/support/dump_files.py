"""Candle files made by hand, and an importer that holds what comes of them against the promises."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.errors import ClmError
from clm.market.dumps import import_candles
from clm.market.store import CandleStore
from tests.support.candles import random_walk
from tests.support.promises import assert_candle_frame

HOURLY = Series("BTCUSDT", "1h")
START = 1_704_067_200_000
_HOUR_MS = 3_600_000
HEADER = b"open_time,open,high,low,close,volume,close_time,quote_volume,count,buy,buy_quote,ignore"


def line(hour: int, *, micro: bool = False) -> list[bytes]:
    """The values of a sound candle."""
    factor = 1000 if micro else 1
    opened = (START + hour * _HOUR_MS) * factor
    closes = opened + _HOUR_MS * factor - 1
    return [str(v).encode() for v in (opened, 100.0, 102.5, 98.25, 101, 5.5, closes, 550.1, 42, 2.5, 250, 0)]


def text(hours: range = range(24), *, end: bytes = b"\n", micro: bool = False) -> bytes:
    """A sound dump."""
    return end.join(b",".join(line(hour, micro=micro)) for hour in hours) + end


def zipped(
    content: bytes, name: str = "BTCUSDT-1h-2024-01-01.csv", method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """`content` as the one member of a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def parquet(**columns: object) -> bytes:
    """Ten candles, some columns replaced."""
    candles = random_walk(10)
    table: dict[str, object] = {"open_time": pd.DatetimeIndex(candles.index).as_unit("ms").asi8}
    table |= {name: candles[name].to_numpy() for name in CANDLE_COLUMNS}
    buffer = io.BytesIO()
    pq.write_table(pa.table({**table, **columns}), buffer)
    return buffer.getvalue()


def take_in(name: str, content: bytes, *, mend: bool = False) -> str:
    """Imports one file: `stored`, and every promise held, or `refused`, and nothing written."""
    folder = Path(tempfile.mkdtemp())
    try:
        return _take_in(folder, name, content, mend)
    finally:
        shutil.rmtree(folder)


def _take_in(folder: Path, name: str, content: bytes, mend: bool) -> str:
    inside = folder / "in" / "the" / "middle"
    inside.mkdir(parents=True)
    (inside / name).write_bytes(content)
    before = set(folder.rglob("*"))
    store = CandleStore(folder / "in" / "store")
    try:
        (imported,) = import_candles(inside / name, store, mend=mend)
    except ClmError as error:
        said = str(error)
    else:
        said = ""
    written = set(folder.rglob("*")) - before
    if said:
        assert len(said) < 5000
        assert written == set()
        return "refused"
    (span,) = store.coverage(HOURLY).spans
    stored = store.read(HOURLY, span)
    assert stored is not None
    assert len(stored) == imported.report.rows
    assert_candle_frame(stored, HOURLY)
    assert all(store.root in (path, *path.parents) for path in written)
    return "stored"
