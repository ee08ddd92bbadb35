"""A first history that is killed half way goes on where it was; folders are taken in side by side."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.errors import BadInput
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.market import merge
from clm.exchange.server import ExchangeServer
from clm.market.dumps import import_candles
from clm.market.store import CandleStore
from tests.support.candles import random_walk
from tests.support.exchange import NOW
from tests.support.waiting import LIMIT, eventually

EVERY = tuple(Series(symbol, "1m") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
MINUTES = 40_000
FETCH = """
import sys
from datetime import datetime
from pathlib import Path
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
url, folder, start, end, *symbols = sys.argv[1:]
pace = Pace(account=Account(Path(folder) / "weight.json"))
for symbol in symbols:
    client = BinanceDataClient(symbol, "1m", base_url=url, data_dir=Path(folder), pace=pace)
    client.load_training_data(datetime.fromisoformat(start), datetime.fromisoformat(end))
"""


def _minutes(seed: int) -> pd.DataFrame:
    return random_walk(MINUTES, seed=seed, freq="1min", start=str(_start().tz_localize(None)))


def _start() -> pd.Timestamp:
    return pd.Timestamp(NOW) - pd.Timedelta(minutes=MINUTES)


@pytest.mark.rehearse
def test_a_first_history_of_several_series_that_is_killed_half_way_fetches_nothing_stored_again(
    tmp_path: Path,
) -> None:
    frames = {series: _minutes(seed) for seed, series in enumerate(EVERY)}
    market, clock = merge(frames.items()), ExchangeClock(NOW, speed=0)
    with ExchangeServer(market, clock, latency=0.05) as server:
        symbols = [series.symbol for series in EVERY]
        command = [sys.executable, "-c", FETCH, server.url, str(tmp_path), str(_start()), str(NOW), *symbols]
        # It is given no more than these pages, so that it cannot be done before it is killed.
        server.set_faults(FaultPlan.parse("429@100-1000", retry_after=60))
        with subprocess.Popen(command) as first:
            eventually(
                lambda: CandleStore(tmp_path).coverage(EVERY[1]).spans and _asked(server) > len(EVERY) * 20,
                "half of the history",
                pause=0.005,
            )
            first.send_signal(signal.SIGKILL)
        server.set_faults("")
        asked = _asked(server)
        known = {series: CandleStore(tmp_path).coverage(series).spans for series in EVERY}

        subprocess.run(command, check=True, timeout=LIMIT)

        again = [seen.params for seen in server.requests if seen.path.endswith("klines")][asked:]
    for series in EVERY:
        spans = [(int(p["startTime"]), int(p["endTime"])) for p in again if p["symbol"] == series.symbol]
        # The newest three are read again with every look.
        settled = [(low, high - 3 * 60_000) for low, high in known[series]]
        assert not [
            (start, end) for start, end in spans for low, high in settled if start < high and end >= low
        ]
        stored = CandleStore(tmp_path).read(series, _span())
        assert stored is not None
        pd.testing.assert_frame_equal(
            stored, frames[series][list(CANDLE_COLUMNS)], check_freq=False, check_index_type=False, rtol=1e-7
        )
    assert known[EVERY[0]] == (_span(),)
    # At most what was on its way when it was killed: a write's pages, two rounds of lanes and those asked.
    assert asked + len(again) <= len(EVERY) * MINUTES // 1000 + 8 + 3 * 16 + len(EVERY)


def _asked(server: ExchangeServer) -> int:
    return sum(seen.path.endswith("klines") for seen in server.requests)


def _span() -> tuple[int, int]:
    low = int(_start().timestamp() * 1000)
    return low, low + MINUTES * 60_000


def test_a_folder_of_many_series_is_taken_in_side_by_side_as_it_is_one_after_the_other(
    tmp_path: Path,
) -> None:
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        candles = random_walk(24 * 60, seed=seed).reset_index()
        for number, part in enumerate((candles[:700], candles[650:])):
            part.to_parquet(dumps / f"{symbol}-1h-{number}.parquet")
    apart, together = CandleStore(tmp_path / "apart"), CandleStore(tmp_path / "together")

    one_by_one = import_candles(dumps, apart)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        at_once = import_candles(dumps, together, executor=executor)

    assert at_once == one_by_one
    assert [str(part.series) for part in at_once] == ["BTCUSDT 1h", "ETHUSDT 1h", "SOLUSDT 1h"]
    assert _files(tmp_path / "together") == _files(tmp_path / "apart")


@pytest.mark.parametrize("side_by_side", [False, True])
def test_one_series_that_is_wrong_is_named_and_the_others_are_taken_in(
    tmp_path: Path, side_by_side: bool
) -> None:
    random_walk(48).reset_index().to_parquet(tmp_path / "ETHUSDT-1h.parquet")
    (tmp_path / "BTCUSDT-1h.parquet").write_bytes(b"no Parquet")
    store = CandleStore(tmp_path / "store")

    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor,
        pytest.raises(BadInput, match=r"BTCUSDT-1h\.parquet") as refused,
    ):
        import_candles(tmp_path, store, executor=executor if side_by_side else None)

    assert refused.value.field == "BTCUSDT-1h.parquet"
    assert len(store.coverage(Series("ETHUSDT", "1h")).spans) == 1
    assert store.coverage(Series("BTCUSDT", "1h")).spans == ()


def _files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
