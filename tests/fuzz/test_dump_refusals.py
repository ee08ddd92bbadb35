"""Candle files that are refused: by the place of what is wrong, without rounding, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clm.core.domain import CANDLE_COLUMNS
from clm.core.errors import BadInput, ClmError
from clm.market.dumps import import_candles
from clm.market.store import CandleStore
from tests.support.dump_files import line, parquet, take_in, text, zipped
from tests.support.waiting import LIMIT


def _with(column: int, value: bytes) -> bytes:
    rows = [line(hour) for hour in range(3)]
    rows[1][column] = value
    return b"\n".join(map(b",".join, rows))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_with(0, b"1704070800000.5"), r"candle 2, open_time.*a whole number"),
        (_with(0, b"99999999999999999999999999"), r"candle 2, open_time.*a whole number"),
        (_with(0, b"1e400"), r"candle 2, open_time.*a whole number"),
        (_with(0, b"-1704067200000"), "before 1970"),
        (_with(0, b"9223372036854775"), "before 1970 or after 2261|off the 1h grid|whole number"),
        (_with(0, b"1704070800000123"), "off the 1h grid"),
        (_with(0, b"99999999999999"), "after 2261"),
        (_with(8, b"41.5"), r"candle 2, trades.*a whole number"),
        (_with(8, b"1e300"), r"candle 2, trades.*a whole number"),
        (_with(8, b"-1"), "negative"),
        (_with(1, b"True"), "line 2, open.*a number"),
        (_with(1, b"1_000"), "line 2, open.*a number"),
        (_with(1, b"1\x002"), "line 2, open.*a number"),
        (_with(1, b"nan"), "line 2, open.*a number"),
        (_with(1, b""), "line 2, open.*a number"),
        (_with(1, b"1e400"), "not finite"),
        (_with(1, b"\xff\xfe"), "line 2, open.*a number"),
        (_with(11, b"\x00"), "line 2, ignore.*a number"),
        (text().decode().encode("utf-16"), "12 values|a number"),
        (text(range(3, 0, -1)), "out of order"),
        (text(range(2)) + text(range(2)), "like an earlier"),
        (text(end=b"\r"), "12 values"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_as_it_is_written_is_refused_by_its_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "BTCUSDT-1h-2024-01-01.csv").write_bytes(content)

    with pytest.raises(ClmError, match=said):
        import_candles(tmp_path, CandleStore(tmp_path / "store"))

    assert not (tmp_path / "store").exists()


def _encrypted() -> bytes:
    raw = bytearray(zipped(text()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + offset] |= 1
    return bytes(raw)


def _lying_about_its_size(content: bytes, claimed: int) -> bytes:
    raw = bytearray(zipped(content))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = raw.index(mark) + offset
        raw[at : at + 4] = claimed.to_bytes(4, "little")
    return bytes(raw)


def _many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.csv", b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _encrypted(), zipped(text(), method=zipfile.ZIP_BZIP2), zipped(text(), method=zipfile.ZIP_LZMA),
        _lying_about_its_size(text(), 10), _lying_about_its_size(text(), 2**31), _many_members(),
        zipped(text(), "BTCUSDT.txt"), zipped(b""), zipped(b"", "directory.csv/"),
    ],
    ids=[
        "encrypted", "bzip2", "lzma", "claims less", "claims more", "many members", "no csv", "empty",
        "a folder",
    ],
)  # fmt: skip
def test_a_zip_that_is_no_dump(content: bytes) -> None:
    assert take_in("BTCUSDT-1h-2024-01-01.zip", content) == "refused"


def _table(names: list[str], columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), buffer)
    return buffer.getvalue()


def _rows_by_the_million() -> bytes:
    """Eleven million equal rows in a few kilobytes."""
    part = pa.table({name: pa.array(np.ones(500_000)) for name in ("open_time", *CANDLE_COLUMNS)})
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, part.schema, compression="zstd") as writer:
        for _ in range(22):
            writer.write_table(part)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: parquet(open=["1"] * 10),
        lambda: parquet(open=[{"a": 1}] * 10),
        lambda: parquet(open=[[1]] * 10),
        lambda: parquet(open=[None] * 10),
        lambda: parquet(open_time=[None] * 9 + [1]),
        lambda: parquet(trades=[1.5] * 10),
        lambda: parquet(open=[True] * 10),
        lambda: parquet(open=[b"1"] * 10),
        lambda: parquet(open_time=["2024-01-01"] * 10),
        lambda: parquet(open_time=pa.array([1] * 10, pa.date32())),
        lambda: parquet(close=pa.array([1] * 10, pa.timestamp("us"))),
        lambda: _table(["open"], [[1.0]]),
        lambda: _table(["open_time", *CANDLE_COLUMNS, "open"], [[1.0]] * 10),
        lambda: _table([], []),
        _rows_by_the_million,
    ],
    ids=[
        "texts", "structs", "lists", "nulls", "stamps missing", "half a trade", "booleans", "bytes",
        "stamps as texts", "stamps as dates", "prices as times", "columns missing", "a column twice",
        "nothing", "rows by the million",
    ],
)  # fmt: skip
def test_a_parquet_file_that_holds_no_candles(make: Callable[[], bytes]) -> None:
    assert take_in("BTCUSDT-1h.parquet", make()) == "refused"


@pytest.mark.rehearse
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("BTCUSDT-1h-2024-01-01.zip", lambda: zipped(bytes(1 << 30))),
        ("BTCUSDT-1h-2024-01-01.zip", lambda: _lying_about_its_size(bytes(1 << 30), 1000)),
        ("BTCUSDT-1h-2024-01-01.zip", lambda: zipped(b"\n" * (120 << 20))),
        ("BTCUSDT-1h-2024-01-01.csv", lambda: b"\n" * (60 << 20)),
        ("BTCUSDT-1h.parquet", _rows_by_the_million),
    ],
    ids=["a gigabyte of zeros", "the same, said to be small", "empty lines", "empty lines bare", "rows"],
)
def test_a_bomb_is_refused_in_bounded_memory(name: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    """A process that may take 700 MB more than its imports did is enough."""
    (tmp_path / name).write_bytes(make())
    program = (
        "import resource, sys, psutil, pyarrow.parquet, pandas.io.parsers\n"
        "from pathlib import Path\n"
        "from clm.core.dumps import parse_candles\n"
        "from clm.core.errors import BadInput\n"
        "content = Path(sys.argv[1]).read_bytes()\n"
        "limit = psutil.Process().memory_info().vms + (700 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try:\n    parse_candles(Path(sys.argv[1]).name, content)\n"
        "except BadInput as error:\n    print(str(error)[:300])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / name)], capture_output=True, text=True, timeout=LIMIT
    )

    assert done.returncode == 0, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "nowhere"])
def test_a_path_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="an existing file or folder"):
        import_candles(tmp_path / name, CandleStore(tmp_path / "store"))
