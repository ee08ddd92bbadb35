"""Stored candles, replayed."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from clm.core.errors import BadInput
from clm.exchange.replay import read_market
from tests.support.candles import REAL, needs_real_candles, random_walk

HOUR = 3_600_000


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


START, LATER = milliseconds("2024-01-01"), milliseconds("2030-01-01")


def dump(candles: pd.DataFrame, *, unit: str = "ms", header: bool = False) -> bytes:
    """The candles as Binance publishes them."""
    opened = pd.DatetimeIndex(candles.index).as_unit(unit).asi8
    step = {"ms": HOUR, "us": HOUR * 1000}[unit]
    c = candles
    frame = pd.DataFrame(
        {
            "open_time": opened, "open": c["open"], "high": c["high"], "low": c["low"], "close": c["close"],
            "volume": c["volume"], "close_time": opened + step - 1, "quote_volume": c["quote_volume"],
            "count": c["trades"], "taker_buy_volume": c["taker_buy_base"], "taker_buy_quote_volume": 0,
            "ignore": 0,
        }
    )  # fmt: skip
    return frame.to_csv(index=False, header=header).encode()


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("candles.csv", content)
    return buffer.getvalue()


def test_files_of_one_series_are_merged_whatever_they_are_kept_in(tmp_path: Path) -> None:
    candles = random_walk(96)
    days = [candles.iloc[day * 24 : day * 24 + 24] for day in range(4)]
    stored = days[0].reset_index().assign(open_time=pd.DatetimeIndex(days[0].index).as_unit("ms").asi8)
    stored.to_parquet(tmp_path / "BTCUSDT-1h.parquet")
    (tmp_path / "BTCUSDT-1h-2024-01-02.zip").write_bytes(zipped(dump(days[1])))
    (tmp_path / "BTCUSDT-1h-2024-01-03.csv").write_bytes(dump(days[2], unit="us"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "BTCUSDT-1h-2024-01-04.csv").write_bytes(dump(days[3], header=True))
    (tmp_path / "README.md").write_text("not candles")

    rows = read_market(tmp_path).rows("BTCUSDT", "1h", START, None, 1000, LATER)

    assert [row[0] for row in rows] == [START + k * HOUR for k in range(96)]
    assert [float(row[4]) for row in rows] == pytest.approx(candles["close"].tolist(), abs=1e-8)


def test_several_symbols_of_a_folder_are_listed(tmp_path: Path) -> None:
    for symbol in ("ETHUSDT", "BTCUSDT"):
        (tmp_path / f"{symbol}-1h-2024-01.csv").write_bytes(dump(random_walk(24)))

    assert sorted(read_market(tmp_path).symbols()) == ["BTCUSDT", "ETHUSDT"]


def test_a_gap_stays_a_gap(tmp_path: Path) -> None:
    candles = random_walk(24)
    (tmp_path / "BTCUSDT-1h-2024-01.csv").write_bytes(dump(candles.drop(candles.index[[7, 8]])))
    market = read_market(tmp_path / "BTCUSDT-1h-2024-01.csv")

    rows = market.rows("BTCUSDT", "1h", START + 6 * HOUR, START + 9 * HOUR, 10, LATER)

    assert [row[0] for row in rows] == [START + 6 * HOUR, START + 9 * HOUR]
    assert market.rows("BTCUSDT", "1h", None, None, 1, START + 7 * HOUR + 1000)[0][0] == START + 6 * HOUR


def test_what_is_no_candle_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no candles here")
    with pytest.raises(BadInput, match="replay"):
        read_market(tmp_path)
    with pytest.raises(BadInput, match="missing"):
        read_market(tmp_path / "missing")
    broken = tmp_path / "BTCUSDT-1h-2024-01-01.zip"
    broken.write_bytes(b"PK not a zip")
    with pytest.raises(BadInput, match=broken.name):
        read_market(broken)


@needs_real_candles
def test_real_history_holds_the_values_everyone_knows() -> None:
    market = read_market(REAL / "candles" / "BTCUSDT-1h.parquet")

    def row(moment: str, interval: str = "1h") -> list[float]:
        at = milliseconds(moment)
        return [float(value) for value in market.rows("BTCUSDT", interval, at, at, 1, LATER)[0][1:5]]

    assert row("2021-01-01")[0] == 28_923.63
    assert row("2024-01-01", "1d")[0] == 42_283.58
    assert row("2021-11-10T14:00")[1] == 69_000.00
    assert row("2022-11-21", "1d")[2] == 15_476.00
    assert market.tapes["BTCUSDT"]["1h"].places[0] == 2


@needs_real_candles
def test_real_dumps_say_the_same_as_the_stored_history() -> None:
    stored, dumps = (read_market(REAL / place) for place in ("candles/BTCUSDT-1h.parquet", "binance-vision"))
    january = milliseconds("2024-01-01"), milliseconds("2024-01-31T23:00")

    rows = [market.rows("BTCUSDT", "1h", *january, 1000, LATER) for market in (stored, dumps)]

    assert len(rows[0]) == 744
    assert [row[:6] for row in rows[0]] == [row[:6] for row in rows[1]]
    assert len(dumps.rows("BTCUSDC", "1h", milliseconds("2025-01-01"), None, 1000, LATER)) == 744
