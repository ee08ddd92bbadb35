"""Binance's dump files: zip or csv, header or none, milliseconds or microseconds; nothing wrong gets in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from clm.core.domain import Series
from clm.core.errors import BadInput, InvalidCandles
from clm.market.binance import BinanceDataClient
from clm.market.dumps import import_candles
from clm.market.store import CandleStore
from tests.support.candles import REAL, needs_real_candles, random_walk
from tests.support.exchange import QUICK, market_of, serving
from tests.support.shell import Shell

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
CANDLES = random_walk(48)
HOURLY = Series("BTCUSDT", "1h")


def _csv(candles: pd.DataFrame, *, header: bool = False, micro: bool = False) -> bytes:
    factor = 1000 if micro else 1
    lines = [HEADER] if header else []
    for stamp, c in candles.iterrows():
        ms = int(pd.Timestamp(str(stamp)).timestamp() * 1000)
        values = (
            ms * factor, c["open"], c["high"], c["low"], c["close"], c["volume"],
            (ms + 3_600_000) * factor - 1, c["quote_volume"], int(c["trades"]), c["taker_buy_base"], 0, 0,
        )  # fmt: skip
        lines.append(",".join(str(value) for value in values))
    return "\n".join(lines).encode()


def _zip(content: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names or ("BTCUSDT-1h-2024-01-01.csv",):
            archive.writestr(name, content)
    return buffer.getvalue()


def _stored(store: CandleStore, series: Series = HOURLY) -> pd.DataFrame:
    (span,) = store.coverage(series).spans
    frame = store.read(series, span)
    assert frame is not None
    return frame


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("BTCUSDT-1h-2024-01.csv", _csv(CANDLES)),
        ("BTCUSDT-1h-2024-01.csv", _csv(CANDLES, header=True)),
        ("BTCUSDT-1h-2024-01.csv", _csv(CANDLES, micro=True)),
        ("BTCUSDT-1h-2024-01-01.zip", _zip(_csv(CANDLES))),
        ("BTCUSDT-1h-2024-01-01.zip", _zip(_csv(CANDLES, header=True, micro=True))),
    ],
    ids=["plain", "header", "microseconds", "zip", "zip with header in microseconds"],
)
def test_every_form_of_dump_gives_the_same_candles(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    store = CandleStore(tmp_path / "store")

    (imported,) = import_candles(tmp_path / name, store)

    assert (imported.series, imported.report.rows) == (HOURLY, 48)
    pd.testing.assert_frame_equal(_stored(store), CANDLES, check_freq=False, check_index_type=False)


@needs_real_candles
def test_the_real_dumps_of_january_2024_and_2025(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)

    by_series = {str(part.series): part for part in import_candles(REAL / "binance-vision", store)}

    bitcoin, usdc = by_series["BTCUSDT 1h"], by_series["BTCUSDC 1h"]
    assert (bitcoin.files, bitcoin.report.rows, bitcoin.report.gaps) == (31, 744, ())
    assert _stored(store).loc["2024-01-01 00:00", "open"].item() == 42_283.58
    assert (usdc.files, usdc.report.rows) == (1, 744)
    assert usdc.first == pd.Timestamp("2025-01-01", tz="UTC")
    assert usdc.last == pd.Timestamp("2025-01-31 23:00", tz="UTC")


@needs_real_candles
def test_known_prices_of_six_years(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    import_candles(REAL / "candles" / "BTCUSDT-1h.parquet", store)
    frame = _stored(store)

    opens = {year: frame.loc[f"{year}-01-01 00:00", "open"].item() for year in (2021, 2022, 2023, 2024)}
    assert opens == {2021: 28_923.63, 2022: 46_216.93, 2023: 16_541.77, 2024: 42_283.58}
    assert frame.loc["2021-11-10 14:00", "high"].item() == 69_000.00
    assert frame.loc["2022-11-21", "low"].min() == 15_476.00


@needs_real_candles
def test_the_anomalies_are_refused_whole_or_mended_with_a_report(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)

    with pytest.raises(InvalidCandles, match=r"BTCUSDT-1h-2018\.parquet.*43 of 8699") as refused:
        import_candles(REAL / "anomalies", store)
    assert store.coverage(HOURLY).spans == ()
    (mended,) = import_candles(REAL / "anomalies", store, mend=True)

    assert mended.report.dropped == refused.value.rows
    assert (mended.report.rows, mended.report.missing) == (8656, 104)


def test_what_was_imported_is_not_fetched_again(tmp_path: Path) -> None:
    candles = random_walk(24 * 40)
    (tmp_path / "BTCUSDT-1h-2024-01.csv").write_bytes(_csv(candles.iloc[: 24 * 30]))
    import_candles(tmp_path / "BTCUSDT-1h-2024-01.csv", CandleStore(tmp_path / "data"))
    now = datetime(2024, 2, 8, tzinfo=UTC)
    with serving(market_of(candles), now) as server:
        client = BinanceDataClient(base_url=server.url, data_dir=tmp_path / "data", pace=QUICK)

        frame = client.load_training_data(datetime(2024, 1, 1, tzinfo=UTC), now)

        asked = [seen.params["limit"] for seen in server.requests if "klines" in seen.path]
    assert len(frame) == 38 * 24
    assert asked == [str(8 * 24 + 3)]


def test_files_of_many_days_join_and_the_later_of_two_wins(tmp_path: Path) -> None:
    for day in (1, 2):
        part = CANDLES.iloc[24 * (day - 1) : 24 * day]
        (tmp_path / f"BTCUSDT-1h-2024-01-0{day}.zip").write_bytes(_zip(_csv(part)))
    (tmp_path / "notes.txt").write_text("not a dump")
    (tmp_path / "ETHUSDT-5s-2024-01-01.zip").write_bytes(b"an interval we do not know")

    (imported,) = import_candles(tmp_path, CandleStore(tmp_path / "store"))

    assert (imported.files, imported.report.rows) == (2, 48)


SPOILT: list[tuple[str, bytes, str]] = [
    ("BTCUSDT-1h-2024-01-01.zip", b"no zip", "BTCUSDT-1h-2024-01-01.zip"),
    ("BTCUSDT-1h-2024-01-01.zip", _zip(_csv(CANDLES))[:200], "BTCUSDT-1h-2024-01-01.zip"),
    ("BTCUSDT-1h-2024-01-01.zip", _zip(_csv(CANDLES), "a.csv", "b.csv"), "one csv file inside"),
    ("BTCUSDT-1h-2024-01-01.zip", _zip(b"", "readme.txt"), "one csv file inside"),
    ("BTCUSDT-1h-2024-01-01.csv", b"", "at least one candle"),
    ("BTCUSDT-1h-2024-01-01.csv", HEADER.encode(), "at least one candle"),
    ("BTCUSDT-1h-2024-01-01.csv", b"1,2,3", "line 1"),
    ("BTCUSDT-1h-2024-01-01.csv", _csv(CANDLES) + b"\n1704240000000,1,2", "line 49"),
    ("BTCUSDT-1h-2024-01-01.csv", _csv(CANDLES, header=True).replace(b",4", b",four", 1), "a number"),
    ("BTCUSDT-1h.parquet", b"not parquet", r"BTCUSDT-1h\.parquet"),
]


@pytest.mark.parametrize(("name", "content", "said"), SPOILT)
def test_a_file_that_is_no_dump_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    store = CandleStore(tmp_path / "store")

    with pytest.raises(BadInput, match=said):
        import_candles(tmp_path / name, store)

    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "spoil",
    [lambda c: c.assign(high=1.0), lambda c: c.iloc[::-1], lambda c: c.assign(volume=-1.0)],
    ids=["high below close", "out of order", "negative volume"],
)
def test_candles_that_break_the_rules_store_nothing(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    (tmp_path / "BTCUSDT-1h-2024-01-01.csv").write_bytes(_csv(CANDLES.iloc[:24]))
    (tmp_path / "BTCUSDT-1h-2024-01-02.csv").write_bytes(_csv(spoil(CANDLES.iloc[24:])))
    store = CandleStore(tmp_path / "store")

    with pytest.raises(InvalidCandles, match=r"BTCUSDT-1h-2024-01-02\.csv"):
        import_candles(tmp_path, store)

    assert not (tmp_path / "store").exists()


def test_nothing_to_import_is_said_with_what_could_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"BTCUSDT-1h\.parquet"):
        import_candles(tmp_path, CandleStore(tmp_path / "store"))
    with pytest.raises(BadInput, match="an existing file"):
        import_candles(tmp_path / "nowhere", CandleStore(tmp_path / "store"))


def test_the_command_names_every_file_that_it_leaves_out_and_every_series_that_fails(tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    (folder / "deeper").mkdir(parents=True)
    (folder / "BTCUSDT-1h-2024-01.csv").write_bytes(_csv(CANDLES))
    left = [
        "notes.txt",
        "BTCUSDT-1h-2024-01.zip.CHECKSUM",
        "BTCUSDT-7h-2024-01.csv",
        "btcusdt-1h.csv",
        "x.zip",
    ]
    for name in left:
        (folder / "deeper" / name).write_text("x")
    for symbol in ("ETHUSDT", "SOLUSDT"):
        (folder / f"{symbol}-1h-2024-01.csv").write_text("nonsense")

    done = Shell(tmp_path, {"CLM_DATA_DIR": str(tmp_path / "data")})("import", str(folder))

    assert done.returncode == 2
    for name in left:
        assert f"skipped {folder}/deeper/{name}: " in done.stderr
    assert "ETHUSDT-1h-2024-01.csv" in done.stderr
    assert "SOLUSDT-1h-2024-01.csv" in done.stderr
    assert (tmp_path / "data" / "BTCUSDT").is_dir()
